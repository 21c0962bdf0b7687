//! The table of tools: a tool is one file and one entry here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::definition::{Effect, Subject, ToolDef};
use super::http::{self, web_fetch};
use super::{Server, bash, edit, glob, grep, list_dir, read, ssh, write};
use crate::message::ToolSpec;

/// For tools that touch only files: far more than they need.
const FILES: Option<Duration> = Some(Duration::from_secs(30));

/// The built-in tools, in the order in which they are offered.
pub static TOOLS: &[ToolDef] = &[
    ToolDef {
        name: "bash",
        about: "Run a bash command in the workspace, in a sandbox. Returns its output and exit code.",
        effect: Effect::Execute,
        limit: None,
        schema: bash::schema,
        subject: Subject::Command("command"),
        run: bash::run,
    },
    ToolDef {
        name: "read",
        about: "Read a text file, or some of its lines.",
        effect: Effect::Read,
        limit: FILES,
        schema: read::schema,
        subject: Subject::Text("path"),
        run: read::run,
    },
    ToolDef {
        name: "write",
        about: "Write a file: create it, replace it, or add to its end.",
        effect: Effect::Write,
        limit: FILES,
        schema: write::schema,
        subject: Subject::Text("path"),
        run: write::run,
    },
    ToolDef {
        name: "edit",
        about: "Replace an exact piece of text in a file.",
        effect: Effect::Write,
        limit: FILES,
        schema: edit::schema,
        subject: Subject::Text("path"),
        run: edit::run,
    },
    ToolDef {
        name: "glob",
        about: "Find files by a pattern of their path, without what ignore files leave out.",
        effect: Effect::Read,
        limit: FILES,
        schema: glob::schema,
        subject: Subject::Text("pattern"),
        run: glob::run,
    },
    ToolDef {
        name: "grep",
        about: "Find lines that match a regular expression, in a file or below a directory, without \
                what ignore files leave out. Returns `path:line:text`.",
        effect: Effect::Read,
        limit: FILES,
        schema: grep::schema,
        subject: Subject::Text("path"),
        run: grep::run,
    },
    ToolDef {
        name: "list_dir",
        about: "List a directory: `[d]` marks directories, `[f]` files, `[l]` symbolic links.",
        effect: Effect::Read,
        limit: FILES,
        schema: list_dir::schema,
        subject: Subject::Text("path"),
        run: list_dir::run,
    },
    ToolDef {
        name: "http_request",
        about: "Send an HTTP request. Returns the status, the headers and the body. Local addresses are \
                closed unless the user allowed them.",
        effect: Effect::Network,
        limit: None,
        schema: http::schema,
        subject: Subject::Text("url"),
        run: http::run,
    },
    ToolDef {
        name: "web_fetch",
        about: "Fetch a web page as readable text.",
        effect: Effect::Network,
        limit: None,
        schema: web_fetch::schema,
        subject: Subject::Text("url"),
        run: web_fetch::run,
    },
    ToolDef {
        name: "ssh",
        about: "Run a command on one of the configured servers. Returns its output and exit code.",
        effect: Effect::Network,
        limit: None,
        schema: ssh::schema,
        subject: Subject::Command("command"),
        run: ssh::run,
    },
];

/// The tool of a name, in whatever case it is written: `WebFetch`, `webfetch`, `web_fetch`.
pub(super) fn find(name: &str) -> Option<&'static ToolDef> {
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|character| !matches!(character, '_' | '-' | ' '))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wanted = plain(name);
    TOOLS.iter().find(|tool| plain(tool.name) == wanted)
}

/// The name under which the table knows a tool, however it is written.
pub fn canonical_name(name: &str) -> Option<&'static str> {
    find(name).map(|tool| tool.name)
}

/// The names of all tools.
pub fn names() -> Vec<&'static str> {
    TOOLS.iter().map(|tool| tool.name).collect()
}

/// A tool as it is offered to a model.
pub fn spec(name: &str) -> Option<ToolSpec> {
    find(name).map(|tool| ToolSpec {
        name: tool.name.to_owned(),
        description: tool.about.to_owned(),
        parameters: (tool.schema)(),
    })
}

/// The tools of an agent as they are offered to a model; unknown names are left out. The ssh tool
/// names the servers.
pub fn specs(names: &[String], servers: &BTreeMap<String, Server>) -> Vec<ToolSpec> {
    let mut specs: Vec<ToolSpec> = names.iter().filter_map(|name| spec(name)).collect();
    for spec in specs
        .iter_mut()
        .filter(|spec| spec.name == "ssh" && !servers.is_empty())
    {
        if let Some(Value::Object(host)) = spec.parameters.pointer_mut("/properties/host") {
            host.insert("enum".to_owned(), servers.keys().cloned().collect());
        }
    }
    specs
}

/// The forms in which vendors take tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaForm {
    /// `tools` of a chat completion.
    Openai,
    /// `tools` of the Messages API.
    Anthropic,
    /// `tools` of `generateContent`.
    Gemini,
}

/// Tools in the form of a vendor, as it stands in a request.
pub fn describe(form: SchemaForm, specs: &[ToolSpec]) -> Value {
    let each = |describe: fn(&ToolSpec) -> Value| specs.iter().map(describe).collect::<Value>();
    match form {
        SchemaForm::Openai => each(|spec| {
            json!({"type": "function", "function": {
                "name": spec.name, "description": spec.description, "parameters": spec.parameters}})
        }),
        SchemaForm::Anthropic => each(
            |spec| json!({"name": spec.name, "description": spec.description, "input_schema": spec.parameters}),
        ),
        SchemaForm::Gemini => {
            let declarations = each(|spec| {
                let mut parameters = spec.parameters.clone();
                without_maps(&mut parameters);
                json!({"name": spec.name, "description": spec.description, "parameters": parameters})
            });
            json!([{"function_declarations": declarations}])
        }
    }
}

/// Gemini's schemas know no `additionalProperties`.
fn without_maps(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        map.remove("additionalProperties");
        map.values_mut().for_each(without_maps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for (written, name) in [
            ("bash", Some("bash")),
            ("Bash", Some("bash")),
            ("ListDir", Some("list_dir")),
            ("listdir", Some("list_dir")),
            ("list-dir", Some("list_dir")),
            ("WebFetch", Some("web_fetch")),
            ("webfetch", Some("web_fetch")),
            ("TodoRead", None),
            ("", None),
        ] {
            assert_eq!(canonical_name(written), name, "{written}");
        }
    }

    #[test]
    fn every_schema_is_an_object_with_described_properties() {
        for tool in TOOLS {
            let schema = (tool.schema)();
            assert_eq!(schema["type"], "object", "{}", tool.name);
            let properties = schema["properties"].as_object().unwrap();
            for (name, property) in properties {
                assert!(
                    property["type"].is_string(),
                    "{}: {name}: {property}",
                    tool.name
                );
                assert!(property["description"].is_string(), "{}: {name}", tool.name);
            }
            let (Subject::Command(subject) | Subject::Text(subject)) = tool.subject;
            assert!(properties.contains_key(subject), "{}", tool.name);
        }
    }

    #[test]
    fn vendors_get_their_forms() {
        let specs = specs(&["Glob".into(), "nothing".into()], &BTreeMap::new());
        let parameters = json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description":
                    "A pattern such as `**/*.py` or `src/*.{c,h}`; `*` stays within one directory."},
                "base_dir": {"type": "string", "description":
                    "The directory to search, relative to the workspace; the workspace itself by default."},
            },
            "required": ["pattern"],
        });
        let about = "Find files by a pattern of their path, without what ignore files leave out.";
        assert_eq!(
            describe(SchemaForm::Openai, &specs),
            json!([{"type": "function", "function":
                {"name": "glob", "description": about, "parameters": parameters}}])
        );
        assert_eq!(
            describe(SchemaForm::Anthropic, &specs),
            json!([{"name": "glob", "description": about, "input_schema": parameters}])
        );
        assert_eq!(
            describe(SchemaForm::Gemini, &specs),
            json!([{"function_declarations":
                [{"name": "glob", "description": about, "parameters": parameters}]}])
        );
    }

    #[test]
    fn the_ssh_tool_names_the_servers() {
        let server: Server = serde_json::from_value(json!({"host": "h"})).unwrap();
        let servers = BTreeMap::from([("web".to_owned(), server)]);
        let specs = specs(&["ssh".into()], &servers);
        assert_eq!(
            specs[0].parameters["properties"]["host"]["enum"],
            json!(["web"])
        );
    }
}
