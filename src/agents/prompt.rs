//! The system prompt of an agent, and the prompt of a run.

use crate::tools::Server;

/// The system prompt: the agent's name, its role and the servers it may reach.
pub fn system(name: &str, role: &str, servers: &[(&str, &Server)]) -> String {
    let mut prompt = format!("# {name}\n\n{}", role.trim_end());
    if !servers.is_empty() {
        prompt.push_str("\n\n## Available servers\n\nUse these names as `host` of the ssh tool.\n");
        for (server_name, server) in servers {
            prompt.push_str(&format!(
                "\n- **{server_name}**: {}@{}",
                server.user, server.host
            ));
            if !server.description.is_empty() {
                prompt.push_str(&format!(" ({})", server.description));
            }
        }
    }
    prompt
}

/// A prompt with context before it, parted by a rule, and piped text behind it, in a block of its own.
pub fn user(context: Option<&str>, prompt: &str, piped: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(context) = context {
        text.push_str(context.trim_end());
        text.push_str("\n\n---\n\n");
    }
    text.push_str(prompt);
    if let Some(piped) = piped.filter(|piped| !piped.trim().is_empty()) {
        if !prompt.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str("<stdin>\n");
        text.push_str(piped.trim_end_matches('\n'));
        text.push_str("\n</stdin>");
    }
    text
}

/// A prompt with files behind it, each in a block of its own.
pub fn with_files(prompt: &str, files: &[(String, String)]) -> String {
    let mut text = prompt.to_owned();
    for (path, content) in files {
        let content = content.trim_end_matches('\n');
        text.push_str(&format!("\n\n<file path=\"{path}\">\n{content}\n</file>"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_put_together() {
        assert_eq!(system("a", "You are a.\n", &[]), "# a\n\nYou are a.");
        let server = Server {
            host: "h.example".into(),
            user: "deploy".into(),
            key: None,
            port: 22,
            description: "Production".into(),
            jump: None,
            agent: false,
        };
        assert_eq!(
            system("a", "R", &[("prod", &server)]),
            "# a\n\nR\n\n## Available servers\n\nUse these names as `host` of the ssh tool.\n\n\
             - **prod**: deploy@h.example (Production)"
        );
        for (context, prompt, piped, expected) in [
            (None, "hi", None, "hi"),
            (None, "hi", Some(" \n"), "hi"),
            (Some("ctx\n"), "hi", None, "ctx\n\n---\n\nhi"),
            (None, "hi", Some("data\n"), "hi\n\n<stdin>\ndata\n</stdin>"),
            (None, "", Some("data"), "<stdin>\ndata\n</stdin>"),
        ] {
            assert_eq!(user(context, prompt, piped), expected);
        }
        let files = [("a.rs".to_owned(), "fn a() {}\n".to_owned())];
        assert_eq!(
            with_files("see @a.rs", &files),
            "see @a.rs\n\n<file path=\"a.rs\">\nfn a() {}\n</file>"
        );
    }
}
