//! What is said about configurations that are wrong, whole.

use super::complaint;

/// The messages alone, with their places.
pub(super) fn messages(text: &str) -> Vec<String> {
    let complaint = complaint(text);
    let lines = complaint
        .lines()
        .filter_map(|line| line.strip_prefix("orch.yaml:"));
    lines.map(str::to_owned).collect()
}

/// A text without its mark, and the `line:column` at which the mark stood.
pub(super) fn marked(text: &str) -> (String, String) {
    let (before, after) = text.split_once('§').unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (format!("{before}{after}"), format!("{line}:{column}"))
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = "\
setings: {}
settings:
  timeout: 5m
  max_retries: -1
  timeout: 3
agents:
  reviewer:
    modle: gpt4o
    provider: cluade
    tools: [read, bsh]
    servers: [prod]
  ../evil:
    role: x
    tools: bash
";
    assert_eq!(
        complaint(text),
        "\
orch.yaml:1:1: unknown key `setings`
  1 | setings: {}
    | ^
  did you mean `settings`?

orch.yaml:3:12: `timeout` must be a number of seconds, not `5m`
  3 |   timeout: 5m
    |            ^
  write 300

orch.yaml:4:16: `max_retries` must be a whole number from 0 to 4294967295, not `-1`
  4 |   max_retries: -1
    |                ^

orch.yaml:5:3: `timeout` is given twice
  5 |   timeout: 3
    |   ^
  it is already on line 3

orch.yaml:8:5: unknown key `modle`
  8 |     modle: gpt4o
    |     ^
  did you mean `model`?

orch.yaml:9:15: unknown provider `cluade`
  9 |     provider: cluade
    |               ^
  did you mean `claude`?

orch.yaml:10:19: unknown tool `bsh`
  10 |     tools: [read, bsh]
     |                   ^
  did you mean `bash`?

orch.yaml:11:15: unknown server `prod`
  11 |     servers: [prod]
     |               ^
  no server is defined

orch.yaml:12:3: `../evil` cannot be the name of an agent: it holds a slash
  12 |   ../evil:
     |   ^
  files are named after it; letters, digits, `_` and `-` are safe

orch.yaml:14:12: `tools` must be a list, not `bash`
  14 |     tools: bash
     |            ^
  write `tools: [bash]`"
    );
}

#[test]
fn values_that_make_no_sense_are_found() {
    for (text, expected) in [
        (
            "settings: {max_tool_iterations: §0}",
            "`max_tool_iterations` must be at least 1",
        ),
        (
            "settings: {circuit_breaker_threshold: §0}",
            "`circuit_breaker_threshold` must be at least 1",
        ),
        (
            "settings: {timeout: §-1}",
            "`timeout` must be between 0 and 1000000000 seconds",
        ),
        (
            "settings: {timeout: §.nan}",
            "`timeout` must be a number of seconds, not `.nan`",
        ),
        (
            "settings: {timeout: §.inf}",
            "`timeout` must be a number of seconds, not `.inf`",
        ),
        (
            "settings: {timeout: §1e300}",
            "`timeout` must be between 0 and 1000000000 seconds",
        ),
        (
            "settings: {timeout: §\"\"}",
            "`timeout` must be a number of seconds, not ``",
        ),
        (
            "settings: {clocks: {idle: §soon}}",
            "`idle` must be a number of seconds, not `soon`",
        ),
        (
            "settings: {max_retries: §1.5}",
            "`max_retries` must be a whole number, not `1.5`",
        ),
        (
            "settings: {max_retries: §4294967296}",
            "`max_retries` must be a whole number from 0 to 4294967295, not `4294967296`",
        ),
        (
            "settings: {temperature: §3}",
            "`temperature` must be between 0 and 2",
        ),
        (
            "settings: {budget: {warn_at: §80}}",
            "`warn_at` must be between 0 and 1",
        ),
        (
            "settings: {budget: {run_usd: §-1}}",
            "`run_usd` must not be negative",
        ),
        (
            "settings: {budget: {run_usd: §lots}}",
            "`run_usd`: `lots` is not an amount in US dollars such as 0.50",
        ),
        (
            "settings: {budget: {run_usd: §[1]}}",
            "`run_usd` must be an amount in US dollars, not a list",
        ),
        (
            "settings: {budget: {on_unpriced: §refuse}}",
            "`on_unpriced` must be `deny`, `warn` or `allow`, not `refuse`",
        ),
        (
            "settings: {sandbox_paths: §\"false\"}",
            "`sandbox_paths` must be `true` or `false`, not the text `false`",
        ),
        (
            "settings: {sandbox: {tier: §ful}}",
            "`tier` must be `full`, `landlock` or `off`, not `ful`",
        ),
        (
            "settings: {sandbox: {write: [§\"\"]}}",
            "an item of `write` is empty",
        ),
        (
            "settings: {http: {allow: [§localhost]}}",
            "`localhost` is not a host and a port",
        ),
        (
            "settings: {approvals: {rules: [{tool: §bsh, action: ask}]}}",
            "unknown tool `bsh`",
        ),
        (
            "settings: {approvals: {rules: [§{tool: bash}]}}",
            "item 1 of `rules` needs `action`",
        ),
        (
            "settings: {default_provider: §cluade}",
            "unknown provider `cluade`",
        ),
        (
            "settings: {default_model: §true}",
            "`default_model` must be a text, not `true`",
        ),
        (
            "settings: {default_model: §\" \"}",
            "`default_model` is empty",
        ),
        ("settings: §[1]", "`settings` must be a mapping, not a list"),
        ("agents: §[a]", "`agents` must be a mapping of names"),
        ("agents: {a: §b}", "`a` must be a mapping, not `b`"),
        (
            "agents: {a: {max_turns: §0}}",
            "`max_turns` must be at least 1",
        ),
        (
            "agents: {a: {role: §[x]}}",
            "`role` must be a text, not a list",
        ),
        (
            "agents: {a: {tools: [§[]]}}",
            "item 1 of `tools` must be a text, not a list",
        ),
        (
            "agents: {a: {tools: [§~]}}",
            "item 1 of `tools` must be a text, and nothing is there",
        ),
        (
            "agents: {a: {output_schema: §text}}",
            "`output_schema` must be a JSON Schema, a mapping",
        ),
        (
            "agents: {a: {output_schema: {type: §objekt}}}",
            "`output_schema` is no JSON Schema: `type` cannot be \"objekt\"",
        ),
        (
            "agents: {a: {output_schema: {type: §5}}}",
            "`output_schema` is no JSON Schema: `type` cannot be 5",
        ),
        (
            "agents: {a: {output_schema: {properties: {\"a/b\": {anyOf: [{type: string}, {type: §no}]}}}}}",
            "`output_schema` is no JSON Schema: `type` cannot be \"no\"",
        ),
        (
            "agents: {a: {output_schema: {properties: §[1]}}}",
            "`output_schema` is no JSON Schema: [1] is not of type \"object\"",
        ),
        (
            "agents: {a: {output_schema: {pattern: §\"(\"}}}",
            "`output_schema` is no JSON Schema: \"(\" is not a \"regex\"",
        ),
        (
            "agents: {a: {output_schema: {type: object, properties: {p: {$ref: §\"#/nope\"}}}}}",
            "`output_schema` is no JSON Schema: Pointer '/nope' does not exist",
        ),
        (
            "agents: {a: {output_schema: {$ref: §\"http://x/y\"}}}",
            "`output_schema` is no JSON Schema: Resource 'http://x/y' is none that is known here",
        ),
        (
            "agents: {a: {role: x}}\ntasks: {t: {steps: [{agent: a, prompt: x, output_schema: {required: §5}}]}}",
            "`output_schema` is no JSON Schema: 5 is not of type \"array\"",
        ),
        ("agents: {a: {model: §\"\"}}", "`model` is empty"),
        (
            "agents: {a: {fallback: [sonnet, §\" \"]}}",
            "an item of `fallback` is empty",
        ),
        (
            "agents: {a: {fallback: [§nope/x]}}",
            "unknown provider `nope` in `nope/x`",
        ),
        (
            "agents: {a: {provider: litellm, model: §nope/x}}",
            "unknown provider `nope` in `nope/x`",
        ),
        (
            "settings: {default_provider: litellm, default_model: §lba/x}\nagents: {a: {role: x}, b: {role: x}}\nproviders: {lab: {base_url: \"http://x\"}}",
            "unknown provider `lba` in `lba/x`",
        ),
        (
            "agents: {a: {provider: §nope, model: nope/x}}",
            "unknown provider `nope`",
        ),
        ("agents: {a: {delegates: [§b]}}", "unknown agent `b`"),
        ("agents: {a: {delegates: [§b]}, b: }", "unknown agent `b`"),
        ("agents: {a: {mcp_servers: [§b]}}", "unknown MCP server `b`"),
        ("agents: {a: {grant: {§b: [read]}}}", "unknown agent `b`"),
        (
            "agents: {a: {grant: {§b: [read]}}, b: {role: x}}",
            "`b` is granted tools and is no delegate",
        ),
        (
            "agents: {a: {delegates: [b], grant: {b: [§fly]}}, b: {role: x}}",
            "unknown tool `fly`",
        ),
        (
            "agents: {§\"\": {role: x}}",
            "`` cannot be the name of an agent: it is empty",
        ),
        (
            "agents: {§-rf: {role: x}}",
            "`-rf` cannot be the name of an agent: it begins with `.` or `-`",
        ),
        ("servers: {§a: {user: x}}", "`a` needs `host`"),
        (
            "servers: {a: {host: h, port: §0}}",
            "`port` must be at least 1",
        ),
        (
            "servers: {a: {host: h, port: §70000}}",
            "`port` must be a whole number from 0 to 65535, not `70000`",
        ),
        (
            "servers: {a: {host: §-oProxyCommand=x}}",
            "`host` must be one word that does not begin with `-`",
        ),
        (
            "servers: {a: {host: h, user: §\"a b\"}}",
            "`user` must be one word that does not begin with `-`",
        ),
        ("providers: {§lab: {}}", "`lab` needs `base_url`"),
        (
            "providers: {lab: {base_url: §nowhere}}",
            "`base_url` is no URL: relative URL without a base",
        ),
        (
            "providers: {lab: {base_url: §\"ftp://x\"}}",
            "`base_url` must begin with `http://` or `https://`",
        ),
        (
            "providers: {openai: {api_key_env: §\"a b\"}}",
            "`api_key_env` must be the name of a variable",
        ),
        (
            "providers: {openai: {headers: {§\"a b\": c}}}",
            "`a b` is no name of a header",
        ),
        ("providers: {§t: {kind: replay}}", "`t` needs `recording`"),
        (
            "providers: {claude: {headers: §{a: b}}}",
            "`headers` has no effect on a provider of kind `claude`",
        ),
        (
            "providers: {mine: {kind: claude, recording: §r}}",
            "`recording` has no effect on a provider of kind `claude`",
        ),
        (
            "providers: {openai: {cli_path: §c}}",
            "`cli_path` has no effect on a provider of kind `openai`",
        ),
        (
            "providers: {anthropic: {native_tools: §true}}",
            "`native_tools` has no effect on a provider of kind `anthropic`",
        ),
        (
            "providers: {t: {kind: replay, recording: r, base_url: §\"http://x\"}}",
            "`base_url` has no effect on a provider of kind `replay`",
        ),
        (
            "providers: {§hosted_vllm: {base_url: \"http://x\"}}",
            "`hosted_vllm` is another name of `vllm`",
        ),
        (
            "providers: {§a/b: {base_url: \"http://x\"}}",
            "`a/b` cannot be the name of a provider",
        ),
        (
            "providers: {§litellm: {base_url: \"http://x\"}}\nagents: {a: {provider: litellm}}",
            "`litellm` cannot be the name of a provider",
        ),
        (
            "providers: {openai: {prices: {§m: {input: 1}}}}",
            "`m` needs `output`",
        ),
        (
            "providers: {openai: {prices: {m: {input: 1, output: §-1}}}}",
            "`output` must not be negative",
        ),
        (
            "mcp_servers: {§a: {timeout: 3}}",
            "`a` needs `command` or `url`",
        ),
        (
            "mcp_servers: {§a: {command: [x], url: \"http://x\"}}",
            "`a` has both a `command` and a `url`",
        ),
        (
            "mcp_servers: {a: {command: §[]}}",
            "`command` names no program",
        ),
        (
            "mcp_servers: {§a__b: {command: [x]}}",
            "`a__b` cannot be the name of an MCP server",
        ),
        (
            "mcp_servers: {a: {command: [x], env: {DEBUG: §true}}}",
            "`DEBUG` must be a text, not `true`",
        ),
        ("engine: §restate", "the engine `restate` is not built yet"),
        (
            "engine: §temporal",
            "`engine` must be `local` or `restate`, not `temporal`",
        ),
        ("§[a]", "a configuration is a mapping"),
        ("§text", "a configuration is a mapping"),
        (
            "settings: !include §x",
            "the tag `!include` means nothing in a configuration",
        ),
        ("? §[a]\n: b", "a key must be a name"),
    ] {
        let (text, at) = marked(text);
        let messages = messages(&text);
        assert_eq!(
            messages.first().cloned(),
            Some(format!("{at}: {expected}")),
            "{text}\n{messages:#?}"
        );
        if !text.contains("!include") && !text.contains("? [a]") {
            assert_eq!(messages.len(), 1, "{text}\n{messages:#?}");
        }
    }
}

#[test]
fn models_that_only_their_provider_knows_are_allowed() {
    let providers = "providers: {lab: {base_url: \"http://x/v1\"}}\n";
    for agent in [
        "{provider: openai, model: nosuchmodel, fallback: [nosuchmodel]}",
        "{provider: litellm, model: nosuchmodel}",
        "{provider: openai, model: my-org/my-model}",
        "{provider: openrouter, model: maker/model, fallback: [openrouter/maker/model]}",
        "{provider: groq, model: openai/gpt-oss-120b, fallback: [groq/openai/gpt-oss-120b]}",
        "{provider: lab, model: meta-llama/Llama-3, fallback: [lab/meta-llama/Llama-3]}",
        "{provider: litellm, model: lab/meta-llama/Llama-3, fallback: [hosted_vllm/a/b, ollama/a]}",
        "{provider: claude, model: arn/of/a/model, fallback: [opus, claude/sonnet, gemini-pro]}",
        "{provider: replay, recording: r, model: nope/x, fallback: [nope/x]}",
    ] {
        let text = format!("{providers}agents: {{a: {agent}}}");
        let (document, _) = super::document(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(document.agents.len(), 1);
    }
    // Nobody uses it.
    let unused = "settings: {default_model: nope/x}\nagents: {a: {model: sonnet}}";
    assert!(super::document(unused).is_ok());
    let azure = super::complaint("agents: {a: {provider: litellm, model: azure/gpt-x}}");
    assert!(azure.contains("`base_url: https://RESOURCE"), "{azure}");
}

#[test]
fn bombs_end_quickly() {
    let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        lines.push(format!(
            "a{level}: &a{level} [{}]",
            vec![below; 10].join(", ")
        ));
    }
    let started = std::time::SystemTime::now();
    let messages = messages(&lines.join("\n"));
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].ends_with(
            "the file holds more than 1000000 values, its aliases counted as what they stand for"
        ),
        "{messages:?}"
    );
    let mut chain = vec!["a0: &a0 [x]".to_owned()];
    chain.extend((1..100_000).map(|level| format!("a{level}: &a{level} [*a{}]", level - 1)));
    let deep = super::complaint(&chain.join("\n"));
    assert!(
        deep.starts_with("orch.yaml:100:11: values lie in one another more than 100 deep"),
        "{deep}"
    );
    let flow = format!("a: {}", "[".repeat(100_000));
    assert!(super::complaint(&flow).starts_with("orch.yaml:1:"));
    let own = super::complaint("a: &a [*a]");
    assert!(
        own.starts_with("orch.yaml:1:8: this alias lies in the value that it stands for"),
        "{own}"
    );
    assert!(started.elapsed().unwrap().as_secs() < 10);
}

#[test]
fn thousands_of_problems_are_counted_and_found_fast() {
    let mut text = "agents:\n".to_owned();
    for index in 0..5_000 {
        text.push_str(&format!(
            "  a{index}: {{delegates: [nobody{index}], modle: x}}\n"
        ));
    }
    let complaint = complaint(&text);
    assert!(
        complaint.ends_with("\n\nand 9950 more"),
        "{}",
        &complaint[complaint.len() - 200..]
    );
}

#[test]
fn secrets_are_never_echoed() {
    let key = "sk-abcdefghijklmnop0123456789";
    for text in [
        format!("providers: {{openai: {{api_key: {key}}}}}"),
        format!("providers: {{openai: {{api_key_env: {key}}}}}"),
        format!("providers:\n  openai:\n    api_key_env: hunter2-{key}\n"),
        format!("agents: {{a: {{provider: {key}}}}}"),
        format!("agents: {{a: {{tools: [{key}]}}}}"),
        format!("agents: {{a: {{{key}: x}}}}"),
        format!("providers: {{openai: {{headers: {{Authorization: [{key}]}}}}}}"),
        format!("mcp_servers: {{a: {{command: [x], env: {{API_TOKEN: [{key}]}}}}}}"),
        format!("settings: {{timeout: {key}}}"),
        format!("settings: {{budget: {{run_usd: {key}}}}}"),
        format!("a: b: {key}\n"),
    ] {
        let complaint = complaint(&text);
        assert!(
            !complaint.contains("abcdefghijklmnop0123456789"),
            "{complaint}"
        );
    }
    for text in [
        "providers: {openai: {password: hunter2, heders: {}}}",
        "providers:\n  openai:\n    headers: {Authorization: hunter2, x y: 1}\n",
        "mcp_servers: {a: {command: [x], env: {DB_PASSWORD: {a: hunter2}}}}",
        "providers: {lab: {base_url: \"http://me:hunter2@host/v1\"}}",
        "providers: {lab: {base_url: \"me:hunter2@host/v1 x\"}}",
        "providers: {openai: {api_key_env: hunter2!}}",
        "settings:\n  password: hunter2: 3\n",
        "settings:\n  password:\n    'hunter2\n",
    ] {
        let complaint = complaint(text);
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
}
