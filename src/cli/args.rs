//! The command line. Doc comments are the help.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// A test runs them.
const EXAMPLES: &str = "\
Examples:
  orch init
  orch --agent reviewer --prompt \"Review src/lib.rs\"
  git diff | orch --agent reviewer --prompt \"Review this\" --budget 0.50
  orch --all --prompt \"What would you change first?\" --json
  orch --task feature --input what=\"a --version flag\" --dry-run";

/// Run teams of LLM agents from a shell script or an interactive session.
///
/// Without an action an interactive session starts.
#[derive(Debug, Parser)]
#[command(
    name = "orch",
    version,
    max_term_width = 100,
    after_help = EXAMPLES
)]
#[command(group = ArgGroup::new("action").args([
    "all", "task", "resume", "agents", "models", "status", "health", "costs", "tasks", "runs", "logs",
]))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) actions: Actions,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) house: Option<House>,
}

/// What to do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Actions")]
pub(crate) struct Actions {
    /// Run this agent once on the prompt and print its answer; in a session, start with it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all", "task", "resume", "logs"])]
    pub(crate) agent: Option<String>,
    /// Run every agent in parallel on the prompt
    #[arg(long)]
    pub(crate) all: bool,
    /// With --all: only these agents
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "all")]
    pub(crate) agents_only: Vec<String>,
    /// Run a task of the configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// With --task: an input of the task
    #[arg(long, value_name = "KEY=VALUE", requires = "task")]
    pub(crate) input: Vec<String>,
    /// Continue an interrupted run; finished work is neither repeated nor paid again
    #[arg(long, value_name = "RUN_ID")]
    pub(crate) resume: Option<String>,
    /// List the agents
    #[arg(long)]
    pub(crate) agents: bool,
    /// List the models and their aliases
    #[arg(long)]
    pub(crate) models: bool,
    /// Show configuration, limits, breakers and costs
    #[arg(long)]
    pub(crate) status: bool,
    /// Check every agent's provider without spending tokens; exit 1 when one is unhealthy
    #[arg(long)]
    pub(crate) health: bool,
    /// With --health: ask each model for one word, which costs
    #[arg(long, requires = "health")]
    pub(crate) deep: bool,
    /// Show what was spent
    #[arg(long)]
    pub(crate) costs: bool,
    /// With --costs: from this day (2026-11-24, or 7d, 24h)
    #[arg(long, value_name = "DAY", requires = "costs")]
    pub(crate) since: Option<String>,
    /// With --costs: up to and with this day
    #[arg(long, value_name = "DAY", requires = "costs")]
    pub(crate) until: Option<String>,
    /// With --costs: of this run alone
    #[arg(long = "run", value_name = "RUN_ID", requires = "costs")]
    pub(crate) run_id: Option<String>,
    /// With --costs: every attempt as CSV
    #[arg(long, requires = "costs")]
    pub(crate) csv: bool,
    /// With --costs: as the original program exported it
    #[arg(long, requires = "costs", conflicts_with = "csv")]
    pub(crate) export: bool,
    /// List the tasks
    #[arg(long)]
    pub(crate) tasks: bool,
    /// List the runs
    #[arg(long)]
    pub(crate) runs: bool,
    /// Show the last five entries of an agent's log
    #[arg(long, value_name = "NAME")]
    pub(crate) logs: Option<String>,
}

/// What the agents are asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// The prompt; `-` reads it from standard input. Piped input is appended in a block of its own
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// `-`: the prompt is standard input alone
    #[arg(value_name = "-", hide = true, value_parser = ["-"], conflicts_with_all = ["prompt", "prompt_file"])]
    pub(crate) stdin: Option<String>,
    /// Leave standard input alone (in loops)
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Put a file before the prompt, parted by a rule
    #[arg(long, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Keep the conversation of this name across invocations
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Go on with the agent's last conversation
    #[arg(long = "continue", conflicts_with = "session")]
    pub(crate) continue_last: bool,
}

/// How the run is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    /// Another model for this run
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Cap of what this run may cost
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    pub(crate) budget: Option<String>,
    /// Deadline of this run, every wait included
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: Option<f64>,
    /// Print the plan with lowest and highest cost; call nobody
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write every model reply to a recording
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Answer from a recording; tools still run
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Tier of the tool sandbox
    #[arg(long, value_name = "TIER")]
    pub(crate) sandbox: Option<TierArg>,
    /// Answer approval prompts with yes
    #[arg(long, conflicts_with = "no_input")]
    pub(crate) yes: bool,
    /// Refuse approval prompts; ask nothing
    #[arg(long)]
    pub(crate) no_input: bool,
    /// Write no log
    #[arg(long)]
    pub(crate) no_log: bool,
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// The form of the output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) output: OutputForm,
    /// The same as --output json
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the answer under outputs/
    #[arg(long)]
    pub(crate) save: bool,
    /// Print the answer and errors, nothing else
    #[arg(long)]
    pub(crate) quiet: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorArg,
}

/// What every form of call takes.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// The configuration; else $ORCH_CONFIG, ./orch.yaml, ./config.yaml or ./config.yml with a top-level `agents:`, the
    /// user's
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Say what is done; twice for more. `RUST_LOG` chooses more finely
    #[arg(short, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Write what is done as JSON, one object a line; full files become FILE.1 to FILE.4
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) log_file: Option<PathBuf>,
}

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// The answer as it comes
    Text,
    /// One object at the end
    Json,
    /// One event a line, the result last
    StreamJson,
    /// With --dry-run --task: a drawing of the graph
    Mermaid,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On terminals
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Tiers of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierArg {
    /// Namespaces, a root of its own, Landlock and seccomp
    Full,
    /// Landlock and seccomp only
    Landlock,
    /// Nothing
    Off,
}

/// The house: never runs an agent.
#[derive(Debug, Subcommand)]
pub(crate) enum House {
    /// Write orch.yaml and .env.example here
    Init {
        /// Overwrite what is there
        #[arg(long)]
        force: bool,
    },
    /// Validate the configuration; show versions, paths and rights
    Check {
        /// Print an agent's effective rights and the rule behind each
        #[arg(long, value_name = "AGENT")]
        explain: Option<String>,
        /// Verify the store and repair what can be rebuilt
        #[arg(long)]
        store: bool,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run one tool under an agent's policy, without a model
    Tool {
        /// The tool
        name: String,
        /// Its parameters as a JSON object; `-` reads them from stdin
        #[arg(default_value = "{}", allow_hyphen_values = true)]
        params: String,
        /// The agent whose policy applies; else the first agent's with every tool
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// Tier of the sandbox
        #[arg(long, value_name = "TIER")]
        sandbox: Option<TierArg>,
        /// Answer approval prompts with yes
        #[arg(long)]
        yes: bool,
        /// Print the outcome as JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust a configuration that was found, not named
    Trust {
        /// The configuration
        file: PathBuf,
    },
    /// Show the price of a model, or where prices come from
    Prices {
        /// The model or alias
        model: Option<String>,
        /// Take prices from a file
        #[arg(long, value_name = "FILE")]
        update: Option<PathBuf>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration, or of the tools
    Schema {
        /// The tools in a vendor's form
        #[arg(long, value_name = "VENDOR")]
        tools: Option<SchemaForm>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a command
    Man {
        /// The command
        command: Option<String>,
    },
}

/// Whose form of tool schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaForm {
    /// OpenAI function calling
    Openai,
    /// Anthropic
    Anthropic,
    /// Gemini function declarations
    Gemini,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| "it is no number of seconds".to_owned())
}
