//! What a step does once it is clear that it is done: one round of one attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::around::{Around, Halt, Halted, Place, failed};
use super::command::{self, Ran};
use super::template::TemplateError;
use super::{InputSettings, Step, Work, block, candidates, inputs, template};
use crate::agents::journal::Recorded;
use crate::agents::{self, Ask, ErrorReport, RunResult, Team};
use crate::costs::Purpose;
use crate::error::ErrorClass;
use crate::event::EventKind;
use crate::providers::Delivery;
use crate::redact::Redactor;
use crate::store::Durability;
use crate::tools::{Verdict, visible};

/// The tool under which gates and commands are asked about.
const GATE: &str = "gate";

/// The kind of result that a step gives.
pub(super) fn kind(work: &Work) -> &'static str {
    match work {
        Work::Agent { .. } | Work::Candidates(_) => "agent",
        Work::Run { .. } => "run",
        Work::Gate { .. } => "gate",
        Work::Block { .. } | Work::Task { .. } => "task",
    }
}

/// Who or what does it; empty where that is not one.
pub(super) fn name(work: &Work) -> &str {
    match work {
        Work::Agent { agent, .. } => agent,
        Work::Task { task, .. } => task,
        _ => "",
    }
}

/// The steps within, as far as templates may name them from outside.
pub(super) fn inner_ids(work: &Work, ids: &mut Vec<String>) {
    if let Work::Block { steps } = work {
        for step in steps {
            ids.push(step.id.clone());
            if step.for_each.is_none() {
                inner_ids(&step.work, ids);
            }
        }
    }
}

/// Does it.
pub(super) async fn run(
    around: &Around<'_>,
    step: &Step,
    place: &Place,
) -> Result<RunResult, Halted> {
    let start = Instant::now();
    let done = match &step.work {
        Work::Agent {
            agent,
            prompt,
            output_schema,
        } => match template::text(prompt, &place.scope) {
            Ok(prompt) => {
                let asked = Asked {
                    agent,
                    prompt,
                    output_schema: output_schema.clone(),
                    purpose: Purpose::Agent,
                };
                ask(around, asked, place).await
            }
            Err(error) => Ok(bad_template(around, step, "prompt", &error)),
        },
        Work::Candidates(asked) => candidates::run(around, step, asked, place).await,
        Work::Run { command } => match template::command(command, &place.scope) {
            Ok(command) => run_command(around, step, &command, place).await,
            Err(error) => Ok(bad_template(around, step, "run", &error)),
        },
        Work::Gate { question } => match template::text(question, &place.scope) {
            Ok(question) => gate(around, &question, place).await,
            Err(error) => Ok(bad_template(around, step, "gate", &error)),
        },
        Work::Block { steps } => block::run(around, steps, place, step.max_parallel)
            .await
            .map(|block| block.into_result(around, "task", "")),
        Work::Task {
            task,
            inputs,
            declared,
            steps,
        } => match passed(task, inputs, declared, place) {
            Ok(inputs) => {
                let place = Place {
                    journal: place.journal.clone(),
                    label: place.label.clone(),
                    spent: Arc::clone(&place.spent),
                    among: place.among,
                    name: place.name.clone(),
                    ..Place::top(around, task, inputs)
                }
                .until(place.deadline);
                block::run(around, steps, &place, step.max_parallel)
                    .await
                    .map(|block| block.into_result(around, "task", task))
            }
            Err(error) => Ok(failed(around, "task", task, error)),
        },
    };
    let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let timed = |mut result: RunResult| {
        result.duration_ms = result.duration_ms.max(ms);
        result
    };
    done.map(timed)
}

pub(super) fn bad_template(
    around: &Around<'_>,
    step: &Step,
    key: &str,
    error: &TemplateError,
) -> RunResult {
    let error = ErrorReport::new(ErrorClass::Failed, format!("`{key}`: {error}"));
    failed(around, kind(&step.work), name(&step.work), error)
}

/// What an agent is asked within a step.
pub(super) struct Asked<'a> {
    pub(super) agent: &'a str,
    pub(super) prompt: String,
    pub(super) output_schema: Option<Value>,
    pub(super) purpose: Purpose,
}

/// Asks an agent; its turns are kept below the place.
pub(super) async fn ask(
    around: &Around<'_>,
    asked: Asked<'_>,
    place: &Place,
) -> Result<RunResult, Halted> {
    let Some(agent) = around.agents.get(asked.agent) else {
        let words = format!("there is no agent `{}` in the plan", asked.agent);
        let error = ErrorReport::new(ErrorClass::Config, words);
        return Ok(failed(around, "agent", asked.agent, error));
    };
    let own;
    let agent = match asked.output_schema {
        Some(schema) => {
            own = agents::Agent {
                output_schema: Some(schema),
                ..agent.clone()
            };
            &own
        }
        None => agent,
    };
    let ask = Ask {
        run_id: Arc::clone(around.run_id),
        task: Some(Arc::clone(around.task)),
        step: Some(place.label.as_str().into()),
        prompt: asked.prompt,
        purpose: asked.purpose,
        deadline: place.deadline,
        delivery: Delivery::Buffered,
        siblings: true,
        charged_session: around.charged_session.cloned(),
        among: place.among,
        journal: place.journal.clone(),
        spent: Arc::clone(&place.spent),
        ..Ask::default()
    };
    let team = Team::new(around.resolve, around.delegation);
    let events = around.events.for_step(&place.label).for_agent(&agent.name);
    let finished = agents::run(agent, ask, around.resilience, &team, &events, around.cancel).await;
    let mut result = masked(finished.result, &agent.tools.redactor);
    result.step = Some(place.name.clone());
    match around.cancel.cause() {
        Some(cause) if !result.ok => Err(Halted::new(Halt::Stopped(cause)).with(result)),
        _ => Ok(result),
    }
}

/// A part of a step that an agent is asked for, as earlier processes have left it.
pub(super) enum Part {
    /// It is finished.
    Done(Box<RunResult>),
    /// It is asked for here.
    Open(Box<Place>),
}

/// How a part of a step stands whose result is kept in this place. Where the step is gone on with after a
/// failure, a part that has led to no good answer is asked for anew, beside what it was.
pub(super) fn part(place: &Place) -> Result<Part, Halted> {
    let mut at = place.clone();
    for number in 2_u32.. {
        match at.journal.recall::<RunResult>()? {
            Recorded::Done(result) if result.ok || !place.again => {
                return Ok(Part::Done(Box::new(result)));
            }
            Recorded::Done(failed) if is_no_good(&failed) => {
                at.journal = place.journal.beside(&format!("#{number}"));
            }
            _ => break,
        }
    }
    Ok(Part::Open(Box::new(at)))
}

/// Whether an agent answered, but not as it should: what is kept of it leads there again.
pub(super) fn is_no_good(failed: &RunResult) -> bool {
    let class = failed.error.as_ref().map(|error| error.class);
    matches!(class, Some(ErrorClass::Failed | ErrorClass::TurnLimit))
}

/// What an agent said as later steps, the journal and the results see it: without known secrets.
fn masked(mut result: RunResult, redactor: &Redactor) -> RunResult {
    result.output = redactor.mask_owned(result.output);
    if let Some(structured) = &mut result.structured {
        redactor.mask_json(structured);
    }
    result
}

/// Runs a command of the configuration once, even if an earlier process was cut off in the middle of it.
async fn run_command(
    around: &Around<'_>,
    step: &Step,
    script: &str,
    place: &Place,
) -> Result<RunResult, Halted> {
    let record = place.journal.under("run");
    let mut warnings = Vec::new();
    let ran = match record.recall::<Ran>()? {
        Recorded::Done(ran) if ran.failure.is_none() || !place.again => ran,
        known => {
            if known == Recorded::Begun {
                let words = format!(
                    "`{script}` was running when the run was interrupted, and may have done its work"
                );
                around
                    .events
                    .for_step(&place.label)
                    .notice(words.clone())
                    .await;
                // Whoever allows new attempts of a step says that it can be done again.
                if step.retries == 0 {
                    let question = format!("{words}; run it again?");
                    if let Some(refused) = confirm(around, &question, place).await? {
                        return Ok(refused);
                    }
                }
                warnings.push(format!("{words}; it was run again"));
            }
            record.begin(Durability::Full).await?;
            let events = around.events.for_step(&place.label);
            let ran = stoppable(around, async {
                command::run(around.commands, script, None, place.deadline, &events).await
            })
            .await?;
            record.keep(Durability::Full, &ran).await?;
            ran
        }
    };
    let mut result = RunResult::empty(around.run_id, "run", "", "");
    result.ok = ran.failure.is_none();
    result.output = ran.output;
    result.exit_code = ran.exit_code;
    result.duration_ms = ran.ms;
    result.warnings = warnings;
    result.error = ran
        .failure
        .map(|(class, words)| ErrorReport::new(class, words));
    Ok(result)
}

/// Does something that knows nothing of the run, until it is done or the run is stopped.
pub(super) async fn stoppable<T>(
    around: &Around<'_>,
    work: impl Future<Output = T>,
) -> Result<T, Halted> {
    tokio::select! {
        biased;
        cause = around.cancel.cancelled() => Err(Halted::new(Halt::Stopped(cause))),
        done = work => Ok(done),
    }
}

/// Waits for a person's yes.
async fn gate(around: &Around<'_>, question: &str, place: &Place) -> Result<RunResult, Halted> {
    let record = place.journal.under(GATE);
    let said_yes = matches!(record.recall::<bool>()?, Recorded::Done(true));
    if !said_yes {
        if let Some(refused) = confirm(around, question, place).await? {
            return Ok(refused);
        }
        record.keep(Durability::Full, &true).await?;
    }
    let mut result = RunResult::empty(around.run_id, "gate", "", "");
    result.ok = true;
    "yes".clone_into(&mut result.output);
    Ok(result)
}

/// Asks a person; gives a result when the answer was no. Where nobody can be asked the run parks.
async fn confirm(
    around: &Around<'_>,
    question: &str,
    place: &Place,
) -> Result<Option<RunResult>, Halted> {
    let action = visible(&around.commands.redactor.mask(question));
    let events = around.events.for_step(&place.label);
    let told = |granted| EventKind::Approval {
        tool: GATE.to_owned(),
        action: action.clone(),
        granted,
    };
    let approver = &around.commands.approver;
    if approver.is_a_person() {
        events.emit_shown(told(None)).await;
    } else {
        events.emit(told(None)).await;
    }
    let asking = approver.ask(&place.scope.task, GATE, &action);
    let over = async {
        match place.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let verdict = stoppable(around, async {
        tokio::select! {
            biased;
            verdict = asking => Some(verdict),
            () = over => None,
        }
    })
    .await?;
    let no = |class, words: &str| Some(failed(around, "gate", "", ErrorReport::new(class, words)));
    Ok(match verdict {
        Some(Verdict::Nobody) => return Err(Halted::new(Halt::Parked { question: action })),
        Some(Verdict::Yes) => {
            events.emit(told(Some(true))).await;
            None
        }
        Some(Verdict::No) => {
            events.emit(told(Some(false))).await;
            no(ErrorClass::Denied, "the user said no")
        }
        None => no(ErrorClass::Timeout, "nobody answered in time"),
    })
}

/// The inputs of a task that is a step.
fn passed(
    task: &str,
    written: &BTreeMap<String, Value>,
    declared: &BTreeMap<String, InputSettings>,
    place: &Place,
) -> Result<Map<String, Value>, ErrorReport> {
    let mut given = Map::new();
    for (name, value) in written {
        let value = rendered(value, place)
            .map_err(|error| ErrorReport::new(ErrorClass::Failed, format!("`{name}`: {error}")))?;
        given.insert(name.clone(), value);
    }
    inputs::resolve(task, declared, given)
        .map_err(|error| ErrorReport::new(ErrorClass::Failed, error.to_string()))
}

fn rendered(value: &Value, place: &Place) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(source) => template::value(source, &place.scope)?,
        Value::Array(items) => items
            .iter()
            .map(|item| rendered(item, place))
            .collect::<Result<_, _>>()?,
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), rendered(value, place)?)))
                .collect::<Result<_, _>>()?,
        ),
        plain => plain.clone(),
    })
}
