//! Several agents answer one question; one answer is made of theirs.

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};

use super::around::{Around, Halt, Halted, Place, failed};
use super::block::add_up;
use super::command::{self, Ran};
use super::judge::{self, Candidate};
use super::work::{self, Asked, Part};
use super::{Candidates, Join, OnBadVerdict, Step, template};
use crate::agents::journal::Recorded;
use crate::agents::{ErrorReport, RunResult};
use crate::costs::Purpose;
use crate::error::ErrorClass;
use crate::store::Durability;

/// Asks every candidate and joins their answers.
pub(super) async fn run(
    around: &Around<'_>,
    step: &Step,
    asked: &Candidates,
    place: &Place,
) -> Result<RunResult, Halted> {
    let Candidates {
        agents,
        prompt,
        output_schema,
        check,
        join,
    } = asked;
    let question = match template::text(prompt, &place.scope) {
        Ok(question) => question,
        Err(error) => return Ok(work::bad_template(around, step, "prompt", &error)),
    };
    let most = usize::try_from(step.max_parallel.unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    let at_once = agents.len().min(most).max(1);
    let beside = place.side_by_side(at_once);
    let asking: Vec<_> = agents
        .iter()
        .enumerate()
        .map(|(index, agent)| {
            let asked = Asked {
                agent,
                prompt: question.clone(),
                output_schema: output_schema.clone(),
                purpose: Purpose::Agent,
            };
            let place = beside.part(around, &format!(".{}", index + 1));
            one(around, asked, check.as_deref(), place)
        })
        .collect();
    let mut running = stream::iter(asking).buffered(at_once);
    let mut results = Vec::with_capacity(agents.len());
    let mut halted = None;
    while let Some(outcome) = running.next().await {
        match outcome {
            Ok(result) => results.push(result),
            Err(mut halt) => {
                results.extend(halt.so_far.take().map(|so_far| *so_far));
                halted.get_or_insert(halt);
            }
        }
    }
    drop(running);
    if let Some(halt) = halted {
        return Err(halt.with(with_parts(
            RunResult::empty(around.run_id, "agent", "", ""),
            results,
        )));
    }
    let usable: Vec<usize> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.ok)
        .map(|(index, _)| index)
        .collect();
    let joined = match (usable.as_slice(), join) {
        ([], _) => nobody(around, &results),
        // One answer that holds is the best of those that hold.
        ([only], Join::Judge { .. } | Join::Vote) => chosen(&results, *only),
        (usable, Join::Vote) => voted(around, &results, usable),
        (
            usable,
            Join::Judge {
                agent,
                criteria,
                seed,
                on_bad_verdict,
            },
        ) => {
            let criteria = criteria
                .as_deref()
                .map(|text| template::text(text, &place.scope));
            let criteria = match criteria.transpose() {
                Ok(criteria) => criteria,
                Err(error) => {
                    let failed = work::bad_template(around, step, "criteria", &error);
                    return Ok(with_parts(failed, results));
                }
            };
            let bench = Bench {
                agent,
                authors: agents,
                question: &question,
                criteria: criteria.as_deref(),
                seed: seed.unwrap_or_else(|| judge::seed_of(&question)),
                on_bad_verdict: *on_bad_verdict,
            };
            bench.judged(around, &mut results, usable, place).await?
        }
        (usable, Join::Synthesise { agent }) => {
            let shown = judge::shown(candidates(&results, usable), judge::seed_of(&question));
            let asked = Asked {
                agent,
                prompt: shown.synthesis_prompt(&question),
                output_schema: output_schema.clone(),
                purpose: Purpose::Synthesis,
            };
            let place = place.part(around, ".synthesis");
            let result = match last_word(around, asked, &place).await {
                Ok(result) => result,
                Err(halt) => return Err(stopped(halt, &results)),
            };
            results.push(result.clone());
            // What it took stands among the parts.
            RunResult {
                retries: 0,
                turns: 0,
                ..result
            }
        }
    };
    Ok(with_parts(joined, results))
}

/// One candidate: its answer, and whether it holds.
async fn one(
    around: &Around<'_>,
    asked: Asked<'_>,
    check: Option<&str>,
    place: Place,
) -> Result<RunResult, Halted> {
    let place = match work::part(&place)? {
        Part::Done(result) => return Ok(*result),
        Part::Open(place) => *place,
    };
    let mut result = work::ask(around, asked, &place).await?;
    if let Some(check) = check
        && result.ok
    {
        let words = match checked(around, check, &result, &place).await {
            Ok(words) => words,
            Err(halt) => return Err(halt.with(result)),
        };
        if let Err(words) = words {
            result.ok = false;
            result.error = Some(ErrorReport::new(ErrorClass::Failed, words));
        }
    }
    place.journal.keep(Durability::Normal, &result).await?;
    Ok(result)
}

/// Asks a judge or a synthesiser. Its answer is kept turn by turn; that it was no good is kept as well, so
/// that whoever goes on with the step asks it anew.
async fn last_word(
    around: &Around<'_>,
    asked: Asked<'_>,
    place: &Place,
) -> Result<RunResult, Halted> {
    let place = match work::part(place)? {
        Part::Done(result) => return Ok(*result),
        Part::Open(place) => *place,
    };
    let result = work::ask(around, asked, &place).await?;
    if !result.ok {
        place.journal.keep(Durability::Normal, &result).await?;
    }
    Ok(result)
}

/// Whether the command of the step accepts an answer, which it finds as `{{ answer }}` and on its
/// standard input. A check that was cut off is made again.
async fn checked(
    around: &Around<'_>,
    check: &str,
    result: &RunResult,
    place: &Place,
) -> Result<Result<(), String>, Halted> {
    let mut scope = place.scope.clone();
    scope.also = Some(("answer", Value::from(result.output.as_str()).into()));
    let script = match template::command(check, &scope) {
        Ok(script) => script,
        Err(error) => return Ok(Err(format!("`check`: {error}"))),
    };
    let record = place.journal.under("check");
    let ran = match record.recall::<Ran>()? {
        Recorded::Done(ran) => ran,
        Recorded::Never | Recorded::Begun => {
            let events = around.events.for_step(&place.label);
            let input = Some(result.output.as_str());
            let ran = work::stoppable(
                around,
                command::run(around.commands, &script, input, place.deadline, &events),
            )
            .await?;
            record.keep(Durability::Normal, &ran).await?;
            ran
        }
    };
    Ok(match ran.failure {
        None => Ok(()),
        Some((_, words)) => {
            let said = ran.output.lines().map(str::trim);
            let last = said.rev().find(|line| !line.is_empty());
            let said = last.map(|line| format!(": {line}")).unwrap_or_default();
            Err(format!("the check refused the answer: {words}{said}"))
        }
    })
}

fn candidates<'a>(results: &'a [RunResult], usable: &[usize]) -> Vec<Candidate<'a>> {
    let usable = usable
        .iter()
        .filter_map(|index| Some((*index, results.get(*index)?)));
    usable
        .map(|(place, result)| Candidate {
            place,
            answer: &result.output,
        })
        .collect()
}

/// The answer of one candidate as that of the step. What it cost stands among the parts.
fn chosen(results: &[RunResult], index: usize) -> RunResult {
    let Some(winner) = results.get(index) else {
        return RunResult::empty("", "agent", "", "");
    };
    let mut result = RunResult::empty(&winner.run_id, "agent", &winner.agent, "");
    result.ok = true;
    result.output.clone_from(&winner.output);
    result.structured.clone_from(&winner.structured);
    result.finish_reason = winner.finish_reason;
    result.requested_model.clone_from(&winner.requested_model);
    result.model.clone_from(&winner.model);
    result
}

fn with_parts(mut whole: RunResult, parts: Vec<RunResult>) -> RunResult {
    add_up(&mut whole, &parts);
    whole.results = Some(parts);
    whole
}

/// The error of a step of which no candidate gave an answer that holds.
fn nobody(around: &Around<'_>, results: &[RunResult]) -> RunResult {
    let mut classes = results
        .iter()
        .filter_map(|result| Some(result.error.as_ref()?.class));
    let first = classes.next().unwrap_or(ErrorClass::Failed);
    let class = if classes.all(|class| class == first) {
        first
    } else {
        ErrorClass::Failed
    };
    let words: Vec<String> = results
        .iter()
        .filter_map(|result| {
            Some(format!(
                "{}: {}",
                result.agent,
                result.error.as_ref()?.message
            ))
        })
        .collect();
    let message = format!(
        "no candidate gave an answer that holds: {}",
        words.join("; ")
    );
    failed(around, "agent", "", ErrorReport::new(class, message))
}

fn voted(around: &Around<'_>, results: &[RunResult], usable: &[usize]) -> RunResult {
    let answers: Vec<(usize, &str, Option<&Value>)> = usable
        .iter()
        .filter_map(|index| {
            let result = results.get(*index)?;
            Some((*index, result.output.as_str(), result.structured.as_ref()))
        })
        .collect();
    match judge::vote(&answers) {
        Some((winner, count)) => {
            let mut result = chosen(results, winner);
            if count * 2 <= answers.len() {
                result.warnings.push(format!(
                    "no answer has most of the votes: the winner has {count} of {}",
                    answers.len()
                ));
            }
            result
        }
        None => nobody(around, results),
    }
}

/// A judge and what it judges.
struct Bench<'a> {
    agent: &'a str,
    authors: &'a [String],
    question: &'a str,
    criteria: Option<&'a str>,
    seed: u64,
    on_bad_verdict: OnBadVerdict,
}

impl Bench<'_> {
    async fn judged(
        &self,
        around: &Around<'_>,
        results: &mut Vec<RunResult>,
        usable: &[usize],
        place: &Place,
    ) -> Result<RunResult, Halted> {
        if self.authors.iter().any(|author| author == self.agent) {
            let words = format!("`{}` cannot judge an answer of its own", self.agent);
            return Ok(failed(
                around,
                "agent",
                "",
                ErrorReport::new(ErrorClass::Config, words),
            ));
        }
        let shown = judge::shown(candidates(results, usable), self.seed);
        let asked = Asked {
            agent: self.agent,
            prompt: shown.judge_prompt(self.question, self.criteria),
            output_schema: Some(shown.verdict_schema()),
            purpose: Purpose::Judge,
        };
        let place = place.part(around, ".judge");
        let mut said = match last_word(around, asked, &place).await {
            Ok(said) => said,
            Err(halt) => return Err(stopped(halt, results)),
        };
        let verdict = match (&said.error, &said.structured) {
            (None, Some(value)) => shown.verdict(value),
            (None, None) => Err("it is no JSON".to_owned()),
            (Some(error), _) => Err(error.message.clone()),
        };
        drop(shown);
        let class = said
            .error
            .as_ref()
            .map_or(ErrorClass::Failed, |error| error.class);
        let joined = match verdict {
            Ok(verdict) => {
                // The letters mean nothing to anybody else.
                let marks: serde_json::Map<String, Value> = verdict
                    .marks
                    .iter()
                    .filter_map(|(index, mark)| {
                        let step = results.get(*index)?.step.clone()?;
                        Some((step, json!(mark)))
                    })
                    .collect();
                let winner = results
                    .get(verdict.winner)
                    .and_then(|result| result.step.clone());
                said.structured =
                    Some(json!({"winner": winner, "marks": marks, "reason": verdict.reason}));
                chosen(results, verdict.winner)
            }
            Err(words) => self.without_verdict(around, results, usable, class, &words),
        };
        results.push(said);
        Ok(joined)
    }

    fn without_verdict(
        &self,
        around: &Around<'_>,
        results: &[RunResult],
        usable: &[usize],
        class: ErrorClass,
        words: &str,
    ) -> RunResult {
        let words = format!(
            "the judge `{}` gave no verdict that can be used: {words}",
            self.agent
        );
        match (self.on_bad_verdict, usable.first()) {
            (OnBadVerdict::First, Some(first)) if class != ErrorClass::Budget => {
                let mut result = chosen(results, *first);
                result
                    .warnings
                    .push(format!("{words}; the first answer was taken"));
                result
            }
            _ => failed(around, "agent", "", ErrorReport::new(class, words)),
        }
    }
}

/// A judge or a synthesiser that was stopped, with the answers that it had before it.
fn stopped(mut halt: Halted, results: &[RunResult]) -> Halted {
    let Halt::Stopped(_) = halt.why else {
        return halt;
    };
    let mut parts = results.to_vec();
    parts.extend(halt.so_far.take().map(|so_far| *so_far));
    let run_id = parts
        .first()
        .map(|part| part.run_id.clone())
        .unwrap_or_default();
    halt.with(with_parts(
        RunResult::empty(&run_id, "agent", "", ""),
        parts,
    ))
}
