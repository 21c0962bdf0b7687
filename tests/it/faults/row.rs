//! One row of the table: what a server does, and what must come of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::server::{Secure, Server, Step};
use crate::support::{Context, Ran, ran};

/// The key that no output may show.
const KEY: &str = "sk-rows-0123456789abcdef";

/// A run that waits for a clock where it need not takes longer: the clocks of a row that are not to run out have
/// 20 s, and such a wait is followed by another attempt. Shorter bounds would measure the machine.
const WITHIN: Duration = Duration::from_secs(35);

/// USD a token, so that amounts can be read: 10 + 5 tokens are 0.015 USD.
const PRICES: &str = "{m: {input: 1000, output: 1000}}";

/// What an attempt was charged.
#[derive(Clone, Copy, Debug)]
pub enum Charged {
    /// Nothing.
    Nothing,
    /// What the vendor told: 10 + 5 tokens.
    Told,
    /// An estimate between nothing and what was held for it.
    Estimate,
    /// An estimate of more than was asked for.
    Beyond,
    /// Nobody knows what it cost: it stays at what was held for it.
    Held,
    /// Nothing or what was held for it: it depends on who was faster.
    Unsure,
}

/// What a server does, and what must come of it.
#[derive(Clone)]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// What is done with each connection; the last script serves all that come later.
    pub script: Vec<Vec<Step>>,
    /// How connections are secured.
    pub secure: Secure,
    /// Settings in place of those of every row.
    pub settings: &'static [(&'static str, &'static str)],
    /// The protocol.
    pub kind: &'static str,
    /// Arguments after the prompt.
    pub args: &'static [&'static str],
    /// The exit code.
    pub code: i32,
    /// The outcome of each attempt, and what it was charged, as the ledger has them.
    pub ledger: Vec<(&'static str, Charged)>,
    /// Connections, where they are not one an attempt.
    pub connections: Option<RangeInclusive<usize>>,
    /// Milliseconds that lie between two attempts at least.
    pub apart: u64,
    /// What the output says.
    pub says: Vec<&'static str>,
    /// Another base URL than the server's.
    pub url: Option<String>,
    /// Mebibytes of memory that are enough.
    pub memory: Option<usize>,
    /// Bytes of a file that stands before the prompt.
    pub context: usize,
}

/// A row whose run ends with the answer.
pub fn answered(name: impl Into<String>, script: Vec<Vec<Step>>) -> Row {
    Row {
        name: name.into(),
        script,
        secure: Secure::No,
        settings: &[],
        kind: "openai",
        args: &["--json"],
        code: 0,
        ledger: vec![("answered", Charged::Told)],
        connections: None,
        apart: 0,
        says: vec![r#""output": "yes""#],
        url: None,
        memory: None,
        context: 0,
    }
}

/// A row whose run ends with an exit code, after attempts that ended so.
pub fn failed<const N: usize>(
    name: impl Into<String>,
    script: Vec<Vec<Step>>,
    code: i32,
    ledger: [(&'static str, Charged); N],
) -> Row {
    Row {
        code,
        ledger: ledger.to_vec(),
        says: vec![r#""ok": false"#],
        ..answered(name, script)
    }
}

/// Runs rows, several at a time, and tells of all that differ.
pub fn check_all(rows: &[Row]) {
    let next = Mutex::new(rows.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                loop {
                    let row = next.lock().unwrap().next();
                    let Some(row) = row else { return };
                    let differences = check(row);
                    if !differences.is_empty() {
                        wrong.lock().unwrap().push(differences);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

/// What differs from the row; empty when nothing does.
pub fn check(row: &Row) -> String {
    let server = Server::start(&row.script, row.secure);
    let context = Context::new();
    let url = row.url.clone().unwrap_or_else(|| server.url());
    context.write("orch.yaml", configuration(row, &url));
    let started = Instant::now();
    let result = run(row, &context, &server);
    let took = started.elapsed();
    let mut differences = Vec::new();
    let mut differ = |what: &str, is: String, expected: String| {
        if is != expected {
            differences.push(format!("  {what}: {is}, expected {expected}"));
        }
    };
    differ("exit code", result.code.to_string(), row.code.to_string());
    let outcomes = entries(&context, &row.ledger);
    let ledger = ledger(&context);
    differ(
        "ledger",
        format!("{outcomes:?}"),
        format!("{:?}", row.ledger),
    );
    let attempts = row.ledger.len();
    let connections = row.connections.clone().unwrap_or(attempts..=attempts);
    let seen = server.connections().len();
    if !connections.contains(&seen) {
        differ("connections", seen.to_string(), format!("{connections:?}"));
    }
    if row.code != 2 && row.args.contains(&"--json") && !ledger.is_empty() {
        let total: i64 = ledger.iter().map(|entry| entry.cost).sum();
        let told = result.json()["cost_usd"].as_str().map(str::to_owned);
        let told = told.and_then(|told| told.parse::<orch::usage::Usd>().ok());
        let total = Some(orch::usage::Usd::from_pico(total));
        differ(
            "cost in the result",
            format!("{told:?}"),
            format!("{total:?}"),
        );
    }
    let gap = server.least_gap().unwrap_or(Duration::MAX);
    if gap < Duration::from_millis(row.apart) {
        differ(
            "apart",
            format!("{gap:?}"),
            format!("{} ms at least", row.apart),
        );
    }
    if took > WITHIN {
        differ("time", format!("{took:?}"), format!("{WITHIN:?} at most"));
    }
    let output = format!("{}{}", result.stdout, result.stderr);
    for words in &row.says {
        if !output.contains(words) {
            differ("output", "without it".to_owned(), format!("{words:?}"));
        }
    }
    for never in [KEY, "panicked"] {
        if output.contains(never) {
            differ("output", never.to_owned(), "without it".to_owned());
        }
    }
    if differences.is_empty() {
        return String::new();
    }
    let shown: String = output.chars().take(2000).collect();
    format!("{}:\n{}\n  {shown}", row.name, differences.join("\n"))
}

fn configuration(row: &Row, url: &str) -> String {
    let mut settings = BTreeMap::from([
        ("max_retries", "2"),
        ("retry_delay", "0.05"),
        ("enable_circuit_breaker", "false"),
        ("clocks", "{connect: 20, first_event: 20, idle: 20}"),
        ("timeout", "60"),
    ]);
    settings.extend(row.settings.iter().copied());
    let settings: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!(
        "settings: {{{}}}\n\
         providers:\n  lab: {{kind: {}, base_url: \"{url}\", api_key_env: LAB_KEY, prices: {PRICES}}}\n\
         agents:\n  a: {{role: R, provider: lab, model: m, tools: [list_dir], max_output_tokens: 100}}\n",
        settings.join(", "),
        row.kind
    )
}

fn run(row: &Row, context: &Context, server: &Server) -> Ran {
    let mut args = vec!["--config", "orch.yaml", "--agent", "a", "--prompt", "x"];
    args.extend(row.args);
    if row.context > 0 {
        context.write("context.txt", "word ".repeat(row.context / 5));
        args.extend(["--context", "context.txt"]);
    }
    let mut command = match row.memory {
        None => context.command(&args),
        Some(most) => {
            let limited = format!("ulimit -d {} && exec \"$0\" \"$@\"", most << 10);
            context.wrapped(&["/bin/sh", "-c", &limited], &args)
        }
    };
    command.env("LAB_KEY", KEY);
    if row.secure != Secure::No {
        context.write("authority.pem", server.authority());
        command.env("SSL_CERT_FILE", context.work().join("authority.pem"));
    }
    ran(command.output().expect("orch runs"))
}

/// The outcome of each attempt, and what it was charged, as `expected` names it where that is open.
pub fn entries(context: &Context, expected: &[(&str, Charged)]) -> Vec<(String, Charged)> {
    let ledger = ledger(context).into_iter().enumerate();
    ledger
        .map(|(number, entry)| {
            let expected = expected.get(number).map(|(_, charged)| *charged);
            let charged = entry.charged(expected);
            (entry.outcome, charged)
        })
        .collect()
}

/// An attempt as the ledger has it.
struct Entry {
    outcome: String,
    state: String,
    source: String,
    cost: i64,
    held: i64,
}

impl Entry {
    fn charged(&self, expected: Option<Charged>) -> Charged {
        let unsure = matches!(expected, Some(Charged::Unsure));
        match (self.state.as_str(), self.source.as_str(), self.cost) {
            ("held", ..) | (_, _, 0) if unsure => Charged::Unsure,
            ("held", ..) => Charged::Held,
            (_, _, 0) => Charged::Nothing,
            (_, "computed", 1_005_000_000_000) => Charged::Told,
            (_, "estimated", cost) if cost < self.held => Charged::Estimate,
            (_, "estimated", _) => Charged::Beyond,
            _ => panic!("{} pico of {} by {}", self.cost, self.held, self.source),
        }
    }
}

fn ledger(context: &Context) -> Vec<Entry> {
    let path = context.state().join("orch.db");
    if !path.exists() {
        return Vec::new();
    }
    let store = rusqlite::Connection::open(path).expect("the store");
    let mut statement = store
        .prepare("SELECT outcome, state, cost_source, cost, held FROM attempts ORDER BY id")
        .expect("the ledger");
    let rows = statement.query_map([], |row| {
        Ok(Entry {
            outcome: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
            state: row.get(1)?,
            source: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            cost: row.get(3)?,
            held: row.get(4)?,
        })
    });
    rows.expect("the ledger")
        .collect::<Result<_, _>>()
        .expect("the ledger")
}
