//! `orch init`: a configuration for what this machine has.

use std::path::Path;

use super::found::{self, Found};
use crate::cli::{Call, load};
use crate::config;
use crate::error::{ErrorClass, OrchError};

const NOTHING: &str = "\
no key, no Claude Code CLI and no model of Ollama were found: copy .env.example to .env and put a key there,
or change `default_provider` in orch.yaml
";

/// Writes `orch.yaml` and `.env.example` here.
pub(in crate::cli) async fn init(call: &Call, force: bool) -> Result<u8, OrchError> {
    // It would be read no more, and its agents would be gone without a word.
    let hidden = config::hidden_by_ours(Path::new("."));
    let is_first = Path::new("orch.yaml").symlink_metadata().is_err();
    if let Some(name) = hidden.filter(|_| is_first && !force) {
        let message = format!("`{name}` has agents here, and `orch.yaml` would come before it");
        return Err(OrchError::new(ErrorClass::Config, message).with_hint(format!(
            "`orch` uses `{name}` as it is; for a new configuration in its place: orch init --force"
        )));
    }
    let env = load::environment(call);
    let found = found::all(&env).await;
    let yaml = configuration(found.first());
    let mut said = String::new();
    for (name, content) in [("orch.yaml", yaml.as_str()), (".env.example", ENVIRONMENT)] {
        match write(Path::new(name), content, force) {
            Ok(()) => said.push_str(&format!("wrote {name}\n")),
            // An example that is there already is as good as ours.
            Err(error)
                if error.kind() == std::io::ErrorKind::AlreadyExists && name != "orch.yaml" => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(OrchError::new(
                    ErrorClass::Config,
                    format!("`{name}` is there already"),
                )
                .with_hint("overwrite it with `orch init --force`"));
            }
            Err(error) => {
                return Err(
                    OrchError::new(ErrorClass::Config, format!("cannot write `{name}`"))
                        .caused_by(&error)
                        .with_hint("go to a directory that you may write to"),
                );
            }
        }
    }
    if let Some(name) = hidden {
        said.push_str(&format!(
            "{name} is not read any more: orch.yaml comes before it\n"
        ));
    }
    said.push('\n');
    match found.split_first() {
        Some((first, others)) => {
            said.push_str(&format!("the agents use {}\n", first.why));
            for other in others {
                let Found {
                    provider,
                    model,
                    why,
                } = other;
                said.push_str(&format!(
                    "also there: {why}; an agent uses it with `provider: {provider}`, `model: {model}`\n"
                ));
            }
        }
        None => said.push_str(NOTHING),
    }
    said.push_str("try it:  orch --agent assistant --prompt \"What is in this directory?\"\n");
    Ok(call.list(&said))
}

/// A new file with a temporary name first, so that it is there whole or not at all.
fn write(path: &Path, content: &str, force: bool) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() && !force {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    crate::files::write_whole(path, content.as_bytes(), 0o644)
}

fn configuration(found: Option<&Found>) -> String {
    let (provider, model) = found.map_or(("openai", "gpt"), |found| (found.provider, &found.model));
    format!(
        "# Agents, and what they may do. `orch check` tells what is wrong here.
# Editors complete this file after `orch schema > orch.schema.json`, with this as its first line:
# `# yaml-language-server: $schema=orch.schema.json`

settings:
  default_provider: {provider}
  default_model: {model}
  # What agents may touch: this directory. Commands run in a sandbox without a network.
  working_dir: .
  # What may be spent; a call that could go over is not made.
  budget: {{run_usd: 1.00, day_usd: 10.00}}

agents:
  assistant:
    role: |
      You are a careful assistant for the files of this directory.
      Look before you answer, and say what you looked at.
    tools: [read, write, edit, glob, grep, list_dir, bash]

  reviewer:
    role: |
      You are a demanding but constructive code reviewer.
      You look for bugs first and for style last.
    tools: [read, glob, grep, list_dir]
",
        model = serde_json::Value::from(model)
    )
}

const ENVIRONMENT: &str = "\
# Copy to .env and keep it out of version control. Only keys belong here.
ANTHROPIC_API_KEY=
OPENAI_API_KEY=
GEMINI_API_KEY=
MISTRAL_API_KEY=
GROQ_API_KEY=
DEEPSEEK_API_KEY=
XAI_API_KEY=
OPENROUTER_API_KEY=
TOGETHER_API_KEY=
FIREWORKS_API_KEY=
CEREBRAS_API_KEY=
COHERE_API_KEY=

# The ssh tool: the key for servers that name none, and whether unknown hosts are refused.
# SSH_KEY_PATH=~/.ssh/id_ed25519
# SSH_KNOWN_HOSTS_CHECK=true
";
