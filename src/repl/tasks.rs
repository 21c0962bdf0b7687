//! Tasks in a session.

use super::commands::unreadable;
use super::turn::{in_session, stoppable};
use super::{Next, Repl};
use crate::agents::RunResult;
use crate::cancel::{Cancel, switch};
use crate::cli;
use crate::cli::signals::show;
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::message::Message;
use crate::orchestrator::{Orchestrator, ResumeOptions, deadline, new_run_id};
use crate::providers::Delivery;
use crate::render::{self, Form, View};
use crate::sessions::{self, Session};
use crate::store::Store;

impl Repl<'_> {
    /// `/task NAME [k=v]`.
    pub(super) async fn task(&mut self, arguments: &str) -> Result<Next, OrchError> {
        let Some(words) = words(arguments) else {
            return Err(OrchError::new(ErrorClass::Usage, "a quote is not closed")
                .with_hint("a value with blanks stands in quotes, as in `name=\"two words\"`"));
        };
        let mut words = words.into_iter();
        let Some(name) = words.next() else {
            return Err(OrchError::new(ErrorClass::Usage, "`/task` needs a name")
                .with_hint("`/tasks` lists them"));
        };
        let inputs: Vec<String> = words.collect();
        let plan = self.orchestrator.task_plan(&name, &inputs)?;
        let run_id = new_run_id();
        let id = &run_id;
        self.watched((id, false), async |orchestrator, events, cancel| {
            orchestrator.run_task(id, &plan, None, events, cancel).await
        })
        .await
    }

    /// `/resume ID`.
    pub(super) async fn resume(&mut self, id: &str) -> Result<Next, OrchError> {
        if id.is_empty() {
            return Err(
                OrchError::new(ErrorClass::Usage, "`/resume` needs the id of a run")
                    .with_hint("`/runs` lists them"),
            );
        }
        let run = self.orchestrator.find_run(id)?;
        let run_id = run.listed.run_id.clone();
        let screen = self.call.screen;
        let one_by_one = run.listed.kind == "all";
        let options = ResumeOptions {
            deadline: deadline(self.limit),
            at_once: cli::at_once(),
            delivery: Delivery::Live,
        };
        let is_alone = run.listed.kind == "agent";
        let next = self
            .watched((&run_id, is_alone), async |orchestrator, events, cancel| {
                let mut finished = |result: &RunResult| {
                    if one_by_one {
                        let result = in_session(result.clone());
                        _ = render::answer(&result, screen, orchestrator.redactor());
                    }
                };
                orchestrator
                    .resume(run, options, events, cancel, &mut finished)
                    .await
            })
            .await?;
        self.read_conversations_again()?;
        Ok(next)
    }

    /// The run may have gone on with a conversation that is open here.
    fn read_conversations_again(&mut self) -> Result<(), OrchError> {
        let Some(store) = self.orchestrator.store() else {
            return Ok(());
        };
        for (agent, open) in &mut self.conversations {
            if let Some(session) = stored(store, agent, &open.0)? {
                *open = with_history(store, session)?;
            }
        }
        Ok(())
    }

    /// Reads the conversation with an agent again, and says so, where another session went on with it.
    pub(super) fn catch_up(&mut self, agent: &str) -> Result<(), OrchError> {
        let open = self.conversations.get_mut(agent);
        let (Some(store), Some(open)) = (self.orchestrator.store(), open) else {
            return Ok(());
        };
        let Some(session) = stored(store, agent, &open.0)? else {
            return Ok(());
        };
        if session.turns > open.0.turns {
            *open = with_history(store, session)?;
            let count = open.1.len();
            self.aside(&format!(
                "the conversation went on elsewhere: {count} messages"
            ));
        }
        Ok(())
    }

    /// `/runs`.
    pub(super) fn runs(&self) -> Result<(), OrchError> {
        self.say(cli::runs_text(&self.orchestrator)?.trim_end());
        Ok(())
    }

    /// Does a run with somebody watching. The answer of one that is an agent's alone streams.
    async fn watched(
        &mut self,
        (run_id, is_alone): (&str, bool),
        work: impl AsyncFnOnce(&Orchestrator, &Events, &Cancel) -> Result<RunResult, OrchError>,
    ) -> Result<Next, OrchError> {
        let (canceller, cancel) = switch();
        let charging;
        let (orchestrator, charged) = if is_alone {
            // Its own conversation is charged.
            (&self.orchestrator, None)
        } else {
            charging = self.charging()?;
            (&charging.0, Some(&*charging.1))
        };
        let redactor = orchestrator.redactor();
        let left = orchestrator.left(&run_id.into(), None, charged);
        let mut view = View::new(Form::Text, self.call.screen, redactor).with_left(left);
        if !is_alone {
            view = view.of_task();
        }
        let (events, receiver) = Events::channel(run_id);
        let running = async {
            let events = events;
            work(orchestrator, &events, &cancel).await
        };
        let watching = show(&mut view, receiver, &canceller);
        let work = async { tokio::join!(running, watching) };
        let (done, watched) = match stoppable(work, &mut self.signals, &canceller).await {
            Ok((done, watched)) => (done?, watched),
            Err(code) => return Ok(Next::Leave(code)),
        };
        _ = watched.and_then(|()| view.finish(&in_session(done)));
        Ok(Next::Prompt)
    }
}

/// A conversation as the store has it. One with a name is found by it: who began it elsewhere may have given it
/// another id.
fn stored(store: &Store, agent: &str, open: &Session) -> Result<Option<Session>, OrchError> {
    let name = open.name.as_ref().unwrap_or(&open.id);
    sessions::find(store, agent, name).map_err(|error| unreadable(&error))
}

fn with_history(store: &Store, session: Session) -> Result<(Session, Vec<Message>), OrchError> {
    let history = sessions::history(store, &session).map_err(|error| unreadable(&error))?;
    Ok((session, history))
}

/// The words of a line; quotes keep blanks together. `None` where one is left open: half a value is not meant.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if character == '\'' || character == '"' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        for (line, expected) in [
            ("", &[][..]),
            ("deploy", &["deploy"]),
            ("deploy  v=1.0 w=x", &["deploy", "v=1.0", "w=x"]),
            ("t what='a b' x=\"it's\"", &["t", "what=a b", "x=it's"]),
            ("t x=''", &["t", "x="]),
        ] {
            let found = words(line).unwrap();
            assert_eq!(found, expected, "{line}");
        }
        assert_eq!(words("t x='open "), None);
    }
}
