//! `orch init`: a configuration for what this machine has.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::cli::Call;
use crate::config::Env;
use crate::error::{ErrorClass, OrchError};

/// Where Ollama listens.
const OLLAMA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 11434);

/// A provider that this machine can use, and how that was found out.
struct Found {
    provider: &'static str,
    model: &'static str,
    why: String,
}

/// Keys that may be set, the provider each opens and a model of it for daily work.
const KEYS: &[(&str, &str, &str)] = &[
    ("ANTHROPIC_API_KEY", "anthropic", "sonnet"),
    ("OPENAI_API_KEY", "openai", "gpt"),
    ("GEMINI_API_KEY", "gemini", "gemini-pro"),
    ("GOOGLE_API_KEY", "gemini", "gemini-pro"),
    ("MISTRAL_API_KEY", "mistral", "mistral-large"),
    ("GROQ_API_KEY", "groq", "groq"),
    ("DEEPSEEK_API_KEY", "deepseek", "deepseek-pro"),
    ("XAI_API_KEY", "xai", "grok"),
    (
        "OPENROUTER_API_KEY",
        "openrouter",
        "openrouter/anthropic/claude-sonnet-5.5",
    ),
];

/// Writes `orch.yaml` and `.env.example` here.
pub(in crate::cli) fn init(call: &Call, force: bool) -> Result<u8, OrchError> {
    let found = find(&call.env);
    let yaml = configuration(&found);
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
                        .caused_by(&error),
                );
            }
        }
    }
    said.push_str(&format!("\n{}\n", found.why));
    said.push_str("try it:  orch --agent assistant --prompt \"What is in this directory?\"\n");
    Ok(call.print(&said))
}

fn find(env: &Env) -> Found {
    for (variable, provider, model) in KEYS {
        if env.get(variable).is_some() {
            return Found {
                provider,
                model,
                why: format!("the agent uses {provider}: `{variable}` is set"),
            };
        }
    }
    if installed(env, "claude") {
        return Found {
            provider: "claude",
            model: "sonnet",
            why: "the agent uses the Claude Code CLI, which is installed".to_owned(),
        };
    }
    if TcpStream::connect_timeout(&OLLAMA, Duration::from_millis(200)).is_ok() {
        return Found {
            provider: "ollama",
            model: "local",
            why: format!("the agent uses Ollama, which answers at {OLLAMA}"),
        };
    }
    Found {
        provider: "openai",
        model: "gpt",
        why: "no key, no Claude Code CLI and no Ollama were found: copy .env.example to .env and put a \
              key there,\nor change `provider` in orch.yaml"
            .to_owned(),
    }
}

fn installed(env: &Env, program: &str) -> bool {
    let Some(path) = env.process("PATH") else {
        return false;
    };
    std::env::split_paths(path).any(|directory| {
        directory
            .join(program)
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// A new file with a temporary name first, so that it is there whole or not at all.
fn write(path: &Path, content: &str, force: bool) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() && !force {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    crate::files::write_whole(path, content.as_bytes(), 0o644)
}

fn configuration(found: &Found) -> String {
    format!(
        "# Agents, and what they may do. `orch check` tells what is wrong here; `orch schema` prints the schema.

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
        provider = found.provider,
        model = found.model
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

# The ssh tool: the key for servers that name none, and whether unknown hosts are refused.
# SSH_KEY_PATH=~/.ssh/id_ed25519
# SSH_KNOWN_HOSTS_CHECK=true
";
