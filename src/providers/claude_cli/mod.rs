//! The Claude Code CLI as a provider: a child process that takes its own turns.
//!
//! Its command line, its lines, its outcomes and its costs are as measured on version 2.1.330. One
//! call is one run: the prompt goes to standard input, text and tool calls are told while they come,
//! and when the call is over no process of it is left. Its tools are ours, served over a bridge,
//! unless it is given its own back.

pub mod argv;
mod child;
mod clock;
mod confine;
pub mod faults;
mod files;
mod gate;
mod health;
pub mod heard;
mod lines;
pub mod money;
pub mod outcome;
pub mod prompt;
mod proxy;
mod reset;
mod run;
pub mod sessions;
mod spec;
pub mod stream;
mod version;

pub use spec::{ClaudeSpec, inherited};

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::ZonedDateTime;

use crate::event::{EventKind, Events};
use crate::files::private_dir;
use crate::providers::{
    BoxFuture, Endpoint, FaultKind, Provider, ProviderError, Reply, Request, Seat,
};
use crate::sandbox::SandboxError;
use crate::store::{Durability, Store};
use crate::usage::{Meter, Usd};

use argv::{SessionChoice, Spec};
use child::{Child, Pipes, Start};
use confine::Seen;
use files::RunFiles;
use gate::Gate;
use money::Bill;
use outcome::{Circumstances, decide};
use proxy::{Serving, Way};
use run::{Ran, Watching, drive};
use version::{Binary, Version};

/// The Claude Code CLI.
#[derive(Debug)]
pub struct ClaudeCli {
    spec: ClaudeSpec,
    endpoint: Endpoint,
    gate: Gate,
    told_of_version: AtomicBool,
}

impl ClaudeCli {
    /// A provider; nothing is started or looked at yet. Agents share one, since it holds the places
    /// for CLIs.
    pub fn new(spec: ClaudeSpec) -> Self {
        Self {
            endpoint: spec.endpoint(),
            gate: Gate::new(spec.max_concurrency),
            told_of_version: AtomicBool::new(false),
            spec,
        }
    }

    async fn call(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, Box<ProviderError>> {
        let max_budget = self.cap(request)?;
        let binary = version::find(&self.spec)?;
        let mut version = self.version(&binary).await?;
        let key = self.spec.store.as_ref().zip(sessions::key(request));
        // Before the turn: whoever has a seat may wait for a turn, but not the other way round.
        let _seat = match &request.own_loop.seat {
            Some(_) => None,
            None => self.free_seat(request, events).await,
        };
        let _turn = match &request.session {
            Some(session) => Some(self.turn(session, &request.agent, events).await?),
            None => None,
        };
        let known = match &key {
            Some((store, key)) => {
                sessions::load(store, key, &request.agent).map_err(|error| self.internal(&error))?
            }
            None => None,
        };
        let fresh = || uuid::Uuid::new_v4().to_string();
        let mut start = sessions::start(request, known.as_ref(), fresh());
        loop {
            if let Some((store, key)) = &key {
                let known = sessions::at_start(request, &start);
                self.keep(store, key, request, known, Durability::Normal)
                    .await?;
            }
            let attempt = Attempt {
                request,
                binary: &binary,
                version: &version,
                start: &start,
                max_budget,
            };
            let (outcome, bill, began) = self.run(&attempt, meter, events).await?;
            match outcome {
                Err(error)
                    if is_unknown_conversation(&error)
                        && matches!(start.choice, SessionChoice::Resume(_)) =>
                {
                    // The CLI has forgotten it: a new one begins with what we know.
                    start = sessions::start(request, None, fresh());
                }
                Err(error) if let Some(flag) = unknown_flag(&error, &version) => {
                    version.without.push(flag);
                    self.remember(&binary, &version);
                }
                Err(error) => {
                    if let Some((store, key)) = &key {
                        let known = sessions::after_failure(request, &start, began, bill).or(known);
                        self.keep(store, key, request, known, Durability::Full)
                            .await?;
                    }
                    return Err(error);
                }
                Ok(mut reply) => {
                    if let Some((store, key)) = &key {
                        let known = sessions::after_answer(request, &start, &reply.message, bill);
                        self.keep(store, key, request, known, Durability::Full)
                            .await?;
                    }
                    reply.warnings.extend(self.version_warnings(&version));
                    return Ok(reply);
                }
            }
        }
    }

    /// The CLI's own cap: what the run may cost less one reply, since it is looked at after replies.
    fn cap(&self, request: &Request) -> Result<Option<Usd>, Box<ProviderError>> {
        let Some(budget) = request.own_loop.budget else {
            return Ok(None);
        };
        let cap = budget - request.own_loop.worst_reply;
        if cap > Usd::ZERO {
            return Ok(Some(cap));
        }
        let message = format!(
            "{budget} USD are left and one reply may cost {} USD",
            request.own_loop.worst_reply
        );
        Err(Box::new(
            ProviderError::new(&self.spec.name, FaultKind::Budget, message)
                .with_hint("raise the budget, or lower `max_output_tokens` of the agent"),
        ))
    }

    /// Waits until no other run writes to the conversation.
    async fn turn(
        &self,
        session: &str,
        agent: &str,
        events: &Events,
    ) -> Result<sessions::Turn, Box<ProviderError>> {
        let locks = self.spec.state_dir.join("claude").join("locks");
        let waiting = || {
            events.try_emit(EventKind::Throttled {
                reason: "another run goes on with this conversation".to_owned(),
                wait_ms: None,
                endpoint: self.spec.name.clone(),
            });
        };
        sessions::lock(&locks, session, agent, waiting)
            .await
            .map_err(|error| self.internal(&error))
    }

    async fn free_seat(&self, request: &Request, events: &Events) -> Option<Seat> {
        if request.own_loop.nested {
            // It is waited for by a run that has a seat: to wait for one could be for ever.
            return None;
        }
        let tell = async |places| self.tell_of_wait(places, events).await;
        self.gate.enter(tell).await.map(Seat::from)
    }

    async fn tell_of_wait(&self, places: u32, events: &Events) {
        events
            .emit(EventKind::Throttled {
                reason: format!("for a free CLI ({places} of {places} in use)"),
                wait_ms: None,
                endpoint: self.spec.name.clone(),
            })
            .await;
    }

    /// One run of the CLI, and whether the model said anything in it.
    async fn run(
        &self,
        attempt: &Attempt<'_>,
        meter: &Meter,
        events: &Events,
    ) -> Result<(Result<Reply, Box<ProviderError>>, Option<Bill>, bool), Box<ProviderError>> {
        let request = attempt.request;
        let home = self.directory()?;
        let files = RunFiles::new(&home).map_err(|error| self.internal(&error))?;
        let spec = self
            .command(attempt, &files)
            .map_err(|error| self.internal(&error))?;
        let directory = if self.spec.native_tools {
            request.own_loop.workspace.clone()
        } else {
            let empty = home.join("empty");
            private_dir(&empty).map_err(|error| self.internal(&error))?;
            empty
        };
        let prompt = prompt::escape(&attempt.start.prompt, |path| directory.join(path).exists());
        let arguments = argv::arguments(&spec);
        let mut environment =
            argv::fixed_environment(request.max_output_tokens, clock::TOOL_SECONDS);
        let config = if self.spec.brings_login() {
            let own = home.join("config");
            private_dir(&own).map_err(|error| self.internal(&error))?;
            let path = own.to_string_lossy().into_owned();
            environment.push(("CLAUDE_CONFIG_DIR".to_owned(), path));
            Some(own)
        } else {
            None
        };
        let native = self.spec.native_tools;
        let seen = Seen {
            binary: &attempt.binary.path,
            read: std::iter::once(files.path())
                .chain((!native).then_some(directory.as_path()))
                .collect(),
            config: config.as_deref(),
            bridge: request.own_loop.bridge.as_ref(),
            workspace: native,
        };
        let start = Start {
            program: &attempt.binary.path,
            arguments: &arguments,
            inherited: &self.spec.environment,
            environment: &environment,
            directory: &directory,
        };
        let (child, pipes, _serving) = self.start(start, &seen).await?;
        let watching = Watching {
            clocks: &request.clocks,
            bridge: request.own_loop.bridge.as_ref(),
            may_subscribe: self.spec.may_subscribe(),
            before: attempt.start.before,
            meter,
            events,
            endpoint: &self.spec.name,
            redactor: &self.spec.redactor,
        };
        let Ran {
            heard,
            ended,
            stderr,
            limit,
        } = drive(child, pipes, &prompt, &watching)
            .await
            .map_err(|error| self.internal(&error))?;
        let began = heard.began();
        let circumstances = Circumstances {
            provider: &self.spec.name,
            stderr: &stderr,
            before: attempt.start.before,
            may_subscribe: self.spec.may_subscribe(),
            limit,
            now: &ZonedDateTime::now(),
        };
        let (outcome, bill) = decide(heard, &ended, &circumstances);
        Ok((outcome, bill, began))
    }

    /// Starts the CLI, in a sandbox where there is one; its way out is open as long as what is given last.
    async fn start(
        &self,
        start: Start<'_>,
        seen: &Seen<'_>,
    ) -> Result<(Child, Pipes, Option<Serving>), Box<ProviderError>> {
        let Some(policy) = confine::is_confined(&self.spec) else {
            let (child, pipes) = Child::spawn(&start).map_err(|error| self.cannot_start(&error))?;
            return Ok((child, pipes, None));
        };
        let way = Way::of(&self.spec);
        let own = start.environment.iter().cloned();
        let environment: Vec<_> = own.chain(way.variables(&self.spec)).collect();
        let start = Start {
            environment: &environment,
            ..start
        };
        let command = confine::command(&self.spec, policy, &start, seen);
        let mut child = command
            .spawn()
            .await
            .map_err(|error| self.not_confined(&error))?;
        let door = child.listener.take();
        let serving = door.map(|door| proxy::serve(door, way)).transpose();
        let serving = serving.map_err(|error| self.internal(&error))?;
        let (child, pipes) = Child::confined(child).map_err(|error| self.cannot_start(&error))?;
        Ok((child, pipes, serving))
    }

    fn command(&self, attempt: &Attempt<'_>, files: &RunFiles) -> std::io::Result<Spec> {
        let request = attempt.request;
        let own = &request.own_loop;
        let system_prompt_file = match request.system.as_str() {
            "" => None,
            system => Some(files.write("system.md", system)?),
        };
        let mcp_config_file = match &own.bridge {
            Some(bridge) => Some(files.write("mcp.json", &argv::mcp_config(bridge).to_string())?),
            None => None,
        };
        Ok(Spec {
            model: request.model.clone(),
            session: attempt.start.choice.clone(),
            system_prompt_file,
            native_tools: if self.spec.native_tools {
                argv::native(&request.tools)
            } else {
                Vec::new()
            },
            mcp_config_file,
            max_turns: own.max_turns,
            max_budget: attempt.max_budget,
            fallback_model: own.fallback_model.clone(),
            output_schema: request.output_schema.clone(),
            without: attempt.version.without.clone(),
        })
    }

    async fn keep(
        &self,
        store: &Store,
        key: &str,
        request: &Request,
        known: Option<sessions::Known>,
        durability: Durability,
    ) -> Result<(), Box<ProviderError>> {
        sessions::save(store, (key, &request.agent), known, durability)
            .await
            .map_err(|error| self.internal(&error))
    }

    /// What is worth telling about the CLI's version, once.
    fn version_warnings(&self, version: &Version) -> Vec<String> {
        let lacks = version
            .without
            .iter()
            .map(|flag| format!("claude {} does not know `{flag}`", version.version));
        let mut warnings: Vec<String> = lacks.collect();
        if version::is_older(&version.version) {
            let (major, minor, patch) = version::MEASURED;
            warnings.push(format!(
                "claude {} is older than {major}.{minor}.{patch}, which is what its driver was made for",
                version.version
            ));
        }
        if !warnings.is_empty() && self.told_of_version.swap(true, Ordering::Relaxed) {
            warnings.clear();
        }
        warnings
    }

    /// Where its files are kept.
    fn directory(&self) -> Result<PathBuf, Box<ProviderError>> {
        let directory = self.spec.state_dir.join("claude");
        private_dir(&directory).map_err(|error| self.internal(&error))?;
        Ok(directory)
    }

    fn remember(&self, binary: &Binary, version: &Version) {
        if let Some(store) = &self.spec.store {
            version::remember(store, binary, version);
        }
    }

    /// What the CLI says goes through the redactor: it may repeat a part of a key.
    fn masked(&self, mut error: ProviderError) -> ProviderError {
        if let Cow::Owned(masked) = self.spec.redactor.mask(&error.message) {
            error.message = masked;
        }
        error
    }

    fn cannot_start(&self, error: &std::io::Error) -> Box<ProviderError> {
        let message = format!(
            "the CLI `{}` cannot be started: {error}",
            self.spec.cli_path
        );
        let error = ProviderError::new(&self.spec.name, FaultKind::Unavailable, message);
        Box::new(error.with_hint(version::INSTALL))
    }

    fn not_confined(&self, error: &SandboxError) -> Box<ProviderError> {
        let kind = match error {
            SandboxError::NotStarted { .. } => FaultKind::Unavailable,
            _ => FaultKind::Denied,
        };
        let mut message = format!("the CLI cannot run in its sandbox: {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            message = format!("{message}: {next}");
            cause = next.source();
        }
        let error = ProviderError::new(&self.spec.name, kind, message);
        Box::new(error.with_hint("`--sandbox off` runs it with all your rights"))
    }

    /// A failure of this machine: a disk that is full, a store that cannot be read.
    fn internal(&self, error: &dyn std::error::Error) -> Box<ProviderError> {
        let message = format!("the run of the CLI cannot be kept: {error}");
        Box::new(ProviderError::new(
            &self.spec.name,
            FaultKind::Unavailable,
            message,
        ))
    }
}

/// One run to be made.
struct Attempt<'a> {
    request: &'a Request,
    binary: &'a Binary,
    version: &'a Version,
    start: &'a sessions::Start,
    max_budget: Option<Usd>,
}

fn is_unknown_conversation(error: &ProviderError) -> bool {
    error.kind == FaultKind::BadRequest && error.message.starts_with("No conversation found")
}

/// The flag that the CLI does not know, if a run can do without it and did not yet.
fn unknown_flag(error: &ProviderError, version: &Version) -> Option<String> {
    if error.kind != FaultKind::Unavailable {
        return None;
    }
    let told = error.message.split("unknown option '").nth(1)?;
    let flag = told.split(['\'', ' ']).next()?;
    let optional = argv::OPTIONAL_FLAGS.contains(&flag);
    (optional && !version.without.iter().any(|known| known == flag)).then(|| flag.to_owned())
}

impl Provider for ClaudeCli {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn runs_own_tools(&self) -> bool {
        true
    }

    fn seat<'a>(&'a self, request: &'a Request, events: &'a Events) -> BoxFuture<'a, Option<Seat>> {
        Box::pin(self.free_seat(request, events))
    }

    fn complete<'a>(
        &'a self,
        request: &'a Request,
        meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(async move {
            self.call(request, meter, events)
                .await
                .map_err(|error| self.masked(*error))
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move { self.check().await.map_err(|error| self.masked(*error)) })
    }
}
