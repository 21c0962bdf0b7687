//! One run of the CLI: the prompt goes in, lines come out, clocks watch, and at the end no process
//! is left.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use crate::event::{EventKind, Events};
use crate::providers::{Clocks, ToolBridge};
use crate::redact::Redactor;
use crate::usage::Meter;

use super::argv::SERVER;
use super::child::{Child, Pipes};
use super::clock::{self, Watch};
use super::heard::{Heard, News};
use super::lines::{LONGEST, Lines, Next};
use super::money::{Bill, ModelUsage, bill};
use super::outcome::{Ended, Stopped};
use super::stream::{self, Line};

/// How long a CLI that was asked to end may take to tell what it cost.
const GRACE: Duration = Duration::from_secs(5);

/// How long the output is read after the CLI itself is gone: a descendant may hold it open.
const AFTER_EXIT: Duration = Duration::from_millis(300);

/// How much of standard error is kept, bytes: its end says why.
const STDERR_KEPT: usize = 16 << 10;

/// Everything a run is watched with.
pub(super) struct Watching<'a> {
    /// The time limits.
    pub clocks: &'a Clocks,
    /// Our tools, where it gets them.
    pub bridge: Option<&'a ToolBridge>,
    /// Whether `none` as the source of its key means a subscription login.
    pub may_subscribe: bool,
    /// What the conversation had cost before.
    pub before: ModelUsage,
    /// Is kept up to date.
    pub meter: &'a Meter,
    /// Is told.
    pub events: &'a Events,
    /// The name for retries that are told.
    pub endpoint: &'a str,
    /// Keeps secrets out of events.
    pub redactor: &'a Redactor,
}

/// What a run gave.
#[derive(Debug)]
pub(super) struct Ran {
    /// What it said.
    pub heard: Heard,
    /// How it ended.
    pub ended: Ended,
    /// The end of its standard error.
    pub stderr: String,
    /// The clock that ended it.
    pub limit: Option<Duration>,
}

/// What a question to the CLI gave.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its standard output, at most a megabyte of it.
    pub stdout: String,
    /// Whether it exited with 0.
    pub success: bool,
}

/// Takes the answer to a question that needs no input, and ends the CLI.
///
/// # Errors
/// When its output cannot be read or its end cannot be seen.
pub(super) async fn ask(mut child: Child, pipes: Pipes) -> io::Result<Answer> {
    drop(pipes.stdin);
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let mut limited = pipes.stdout.take(1 << 20);
    let mut complaints = pipes.stderr.take(1 << 20);
    let (read, complained) = tokio::join!(
        limited.read_to_end(&mut stdout),
        complaints.read_to_end(&mut stderr)
    );
    read.and(complained)?;
    let status = child.wait().await?;
    child.end().await;
    Ok(Answer {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        success: status.success(),
    })
}

/// What comes next in a run.
enum Happened {
    Line(io::Result<Next>),
    Stderr(io::Result<usize>),
    Fed,
    Exited(io::Result<std::process::ExitStatus>),
    Time,
}

/// Drives a run to its end; every descendant is gone when this returns. Dropping the future ends the
/// run as well.
///
/// # Errors
/// When the CLI's output cannot be read or its end cannot be seen.
pub(super) async fn drive(
    mut child: Child,
    pipes: Pipes,
    prompt: &str,
    watching: &Watching<'_>,
) -> io::Result<Ran> {
    let Pipes {
        stdin,
        stdout,
        mut stderr,
    } = pipes;
    let mut lines = Lines::new(stdout, LONGEST);
    let mut complaints = Vec::new();
    let mut heard = Heard::default();
    let mut watch = Watch {
        started: Instant::now(),
        progress: None,
        result: None,
        waits_until: None,
        in_tool: false,
    };
    // The pipe is closed when everything is written: an open one is waited for. A CLI that ends
    // without reading it all is no failure here.
    let mut feed = std::pin::pin!(async move {
        let mut stdin = stdin;
        drop(stdin.write_all(prompt.as_bytes()).await);
    });
    let (mut fed, mut stderr_open, mut output_open) = (false, true, true);
    let mut stopped: Option<(Stopped, Duration)> = None;
    // When it is over whatever happens: after we asked it to end, or after it exited.
    let mut last_call: Option<Instant> = None;
    let mut status = None;
    while output_open || status.is_none() {
        let due = match last_call {
            Some(at) => Some(at),
            None => clock::due(&watch, watching.clocks).map(|(at, ..)| at),
        };
        let happened = tokio::select! {
            biased;
            next = lines.next(), if output_open => Happened::Line(next),
            read = stderr.read_buf(&mut complaints), if stderr_open => Happened::Stderr(read),
            () = &mut feed, if !fed => Happened::Fed,
            exited = child.wait(), if status.is_none() => Happened::Exited(exited),
            () = until(due) => Happened::Time,
        };
        match happened {
            Happened::Fed => fed = true,
            Happened::Stderr(read) => {
                stderr_open = read.is_ok_and(|count| count > 0);
                if complaints.len() > 2 * STDERR_KEPT {
                    complaints.drain(..complaints.len() - STDERR_KEPT);
                }
            }
            Happened::Exited(exited) => {
                status = Some(exited?);
                let soon = Instant::now() + AFTER_EXIT;
                last_call = Some(last_call.map_or(soon, |at| at.min(soon)));
            }
            Happened::Line(next) => match next? {
                Next::End => output_open = false,
                Next::TooLong => {
                    stopped.get_or_insert((Stopped::EndlessLine, Duration::ZERO));
                    output_open = false;
                    last_call = Some(Instant::now());
                }
                Next::Line(line) => {
                    let line = stream::parse(&line);
                    let reason = take(line, &mut heard, &mut watch, watching).await;
                    if heard.is_too_much() {
                        stopped.get_or_insert((Stopped::TooMuch, Duration::ZERO));
                        output_open = false;
                        last_call = Some(Instant::now());
                    } else if let (Some(reason), None) = (reason, last_call) {
                        stopped = Some((reason, Duration::ZERO));
                        child.interrupt();
                        last_call = Some(Instant::now() + GRACE);
                    }
                }
            },
            Happened::Time => {
                if last_call.is_some() {
                    break;
                }
                if watching.bridge.is_some_and(|bridge| bridge.running.any())
                    && watch.result.is_none()
                    && !is_late(&watch, watching.clocks)
                {
                    // A tool of ours runs: its own limit watches it.
                    watch.progress = Some(Instant::now());
                    continue;
                }
                if let Some((_, reason, limit)) = clock::due(&watch, watching.clocks) {
                    stopped = Some((reason, limit));
                    if reason == Stopped::AfterResult {
                        child.terminate();
                    } else {
                        child.interrupt();
                    }
                    last_call = Some(Instant::now() + GRACE);
                }
            }
        }
    }
    child.end().await;
    for warning in child.take_warnings() {
        let warning = watching.redactor.mask_owned(warning);
        watching.events.notice(warning.clone()).await;
        heard.left.push(warning);
    }
    if let Some(Bill { run, .. }) = bill(&heard.results, watching.before, heard.usage()) {
        watching.meter.reported(run.usage);
        if let Some(cost) = run.cost {
            watching.meter.reported_cost(cost);
        }
    }
    Ok(Ran {
        heard,
        ended: Ended {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| {
                use std::os::unix::process::ExitStatusExt as _;
                status.signal()
            }),
            stopped: stopped.map(|(reason, _)| reason),
        },
        stderr: String::from_utf8_lossy(&complaints).into_owned(),
        limit: stopped
            .map(|(_, limit)| limit)
            .filter(|limit| !limit.is_zero()),
    })
}

/// Takes one line in; a reason to end the run may be in it.
async fn take(
    line: Line,
    heard: &mut Heard,
    watch: &mut Watch,
    watching: &Watching<'_>,
) -> Option<Stopped> {
    let now = Instant::now();
    let reason = reason_to_stop(&line, heard, watching.bridge.is_some());
    match &line {
        Line::Init(init) => {
            watch.result = None;
            if watching.may_subscribe && init.is_on_subscription() {
                watching.meter.subscription();
            }
        }
        Line::Result(_) => watch.result = Some(now),
        Line::ApiRetry(retry) => {
            watch.waits_until = Some(now + Duration::from_millis(retry.delay_ms));
            if reason.is_none() {
                watching
                    .events
                    .emit(retry_event(retry, watching.endpoint))
                    .await;
            }
        }
        _ => {}
    }
    let before = heard.output_bytes;
    let News { events, progress } = heard.note(line, now);
    if progress {
        watch.progress = Some(now);
        watching.meter.answered();
    }
    if let Some(model) = &heard.model {
        watching.meter.answers(model);
    }
    watch.in_tool = heard.in_tool();
    let bytes = heard.output_bytes.saturating_sub(before);
    if bytes > 0 {
        watching
            .meter
            .received(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let usage = heard.usage();
    if !usage.is_empty() {
        watching.meter.reported(usage);
    }
    for event in events {
        watching.events.emit(masked(event, watching.redactor)).await;
    }
    reason
}

/// Whether a line says that there is no point in going on: the relay to our tools did not start, or
/// the first request failed and would be sent again, which is not for the CLI to decide.
fn reason_to_stop(line: &Line, heard: &Heard, has_bridge: bool) -> Option<Stopped> {
    match line {
        Line::Init(init) if has_bridge => {
            let connected = init
                .mcp_servers
                .iter()
                .any(|(name, status)| name == SERVER && status == "connected");
            (!connected).then_some(Stopped::NoTools)
        }
        Line::ApiRetry(retry) if retry.max_retries <= 1 && !heard.began() => Some(Stopped::Retry),
        _ => None,
    }
}

/// News of tools without secrets; the text of the model is for others to mask, in whole.
fn masked(mut event: EventKind, redactor: &Redactor) -> EventKind {
    match &mut event {
        EventKind::ToolStarted { arguments, .. } => redactor.mask_json(arguments),
        EventKind::ToolFinished { summary, .. } => {
            if let Cow::Owned(masked) = redactor.mask(summary) {
                *summary = masked;
            }
        }
        _ => {}
    }
    event
}

fn retry_event(retry: &stream::ApiRetry, endpoint: &str) -> EventKind {
    EventKind::Retry {
        attempt: retry.attempt,
        of: retry.max_retries.saturating_add(1),
        class: retry.error.clone(),
        status: retry.status,
        code: None,
        delay_ms: retry.delay_ms,
        told_by: "body",
        request_id: None,
        endpoint: endpoint.to_owned(),
    }
}

/// Whether the clock of the whole run is over.
fn is_late(watch: &Watch, clocks: &Clocks) -> bool {
    clocks
        .total
        .is_some_and(|total| Instant::now() >= watch.started + total)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
