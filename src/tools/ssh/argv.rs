//! The command line of the OpenSSH client: every word of it comes from the configuration, but for the last, which is
//! what the remote shell gets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::tools::Server;

/// What a connection needs besides the server's entry.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The client.
    pub(super) client: PathBuf,
    /// The private key.
    pub(super) key: PathBuf,
    /// The keys of known hosts.
    pub(super) known_hosts: PathBuf,
    /// Whether new hosts are added to them; changed ones are refused in any case.
    pub(super) accept_new: bool,
    /// The socket of the user's agent, where the server's entry allows it.
    pub(super) agent: Option<PathBuf>,
}

/// How connections are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing<'a> {
    /// Not.
    None,
    /// Through this socket, where somebody listens on it.
    Use(&'a Path),
    /// By listening on this socket until it is ended, without a command.
    Offer(&'a Path),
}

/// The command line for a command on a server.
pub(super) fn arguments(
    server: &Server,
    files: &Files,
    sharing: Sharing<'_>,
    command: &str,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![(&files.client).into()];
    words.extend(common(files));
    let jump = server.jump.as_deref().map_or_else(
        || "ProxyCommand=none".into(),
        |jump| {
            let mut option = OsString::from("ProxyCommand=");
            option.push(jump_command(jump, files));
            option
        },
    );
    let (master, path) = match sharing {
        Sharing::None => ("no", None),
        Sharing::Use(path) => ("no", Some(path)),
        Sharing::Offer(path) => ("yes", Some(path)),
    };
    let mut control = OsString::from("ControlPath=");
    control.push(path.unwrap_or(Path::new("none")));
    for option in [jump, format!("ControlMaster={master}").into(), control] {
        words.extend(["-o".into(), option]);
    }
    words.extend(["-p".into(), server.port.to_string().into()]);
    words.extend(["-l".into(), server.user.as_str().into()]);
    if matches!(sharing, Sharing::Offer(_)) {
        words.push("-N".into());
    }
    // After this nothing is an option.
    words.extend(["--".into(), server.host.as_str().into()]);
    if !matches!(sharing, Sharing::Offer(_)) {
        words.push(command.into());
    }
    words
}

/// What holds for every connection.
fn common(files: &Files) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["-F", "/dev/null", "-T"].map(OsString::from).into();
    let mut option = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(value.as_ref());
        words.extend(["-o".into(), text]);
    };
    option("BatchMode", &"yes");
    option(
        "StrictHostKeyChecking",
        &if files.accept_new {
            "accept-new"
        } else {
            "yes"
        },
    );
    option("UserKnownHostsFile", &quoted(&files.known_hosts));
    option("GlobalKnownHostsFile", &"/dev/null");
    option("UpdateHostKeys", &"no");
    option(
        "IdentitiesOnly",
        if files.agent.is_some() { &"no" } else { &"yes" },
    );
    option("IdentityFile", &quoted(&files.key));
    match &files.agent {
        Some(agent) => option("IdentityAgent", &quoted(agent)),
        None => option("IdentityAgent", &"none"),
    }
    for (name, value) in [
        ("ForwardAgent", "no"),
        ("ForwardX11", "no"),
        ("ClearAllForwardings", "yes"),
        ("PermitLocalCommand", "no"),
        ("CanonicalizeHostname", "no"),
        ("ConnectTimeout", "10"),
        ("ConnectionAttempts", "1"),
        ("ServerAliveInterval", "15"),
        ("ServerAliveCountMax", "3"),
        ("LogLevel", "ERROR"),
    ] {
        option(name, &value);
    }
    words
}

/// A path as an option of the client takes it: in quotes, and without a meaning for `%`.
fn quoted(path: &Path) -> OsString {
    let text = path
        .to_string_lossy()
        .replace('%', "%%")
        .replace('"', "\\\"");
    format!("\"{text}\"").into()
}

/// The client's own way over another host, written out, since its short form would forget what holds for every
/// connection. `%h` and `%p` are the server's address and port.
fn jump_command(jump: &str, files: &Files) -> String {
    let (user, address) = jump
        .split_once('@')
        .map_or((None, jump), |(user, rest)| (Some(user), rest));
    let (host, port) = address_and_port(address);
    let mut words: Vec<String> = vec![files.client.to_string_lossy().into_owned()];
    words.extend(
        common(files)
            .iter()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.extend([
        "-o".into(),
        "ControlPath=none".into(),
        "-o".into(),
        "ProxyCommand=none".into(),
    ]);
    words.extend(["-p".into(), port.to_owned()]);
    if let Some(user) = user {
        words.extend(["-l".into(), user.to_owned()]);
    }
    let mut line: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    line.extend([
        "-W".into(),
        "'[%h]:%p'".into(),
        "--".into(),
        shell_word(host),
    ]);
    line.join(" ")
}

fn address_and_port(address: &str) -> (&str, &str) {
    if let Some(rest) = address.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').unwrap_or("22"));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => (address, "22"),
    }
}

/// The TCP ports that the client connects to.
pub(super) fn ports(server: &Server) -> Vec<u16> {
    match &server.jump {
        None => vec![server.port],
        Some(jump) => {
            let address = jump.split_once('@').map_or(jump.as_str(), |(_, rest)| rest);
            address_and_port(address).1.parse().into_iter().collect()
        }
    }
}

/// A word for a shell, with no meaning for the client's `%`.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('%', "%%").replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(jump: Option<&str>) -> Server {
        Server {
            host: "-oProxyCommand=evil".into(),
            user: "-deploy".into(),
            key: None,
            port: 2222,
            description: String::new(),
            jump: jump.map(str::to_owned),
            agent: false,
        }
    }

    fn files() -> Files {
        Files {
            client: "/usr/bin/ssh".into(),
            key: "/home/u/my keys/100%".into(),
            known_hosts: "/home/u/.ssh/known_hosts".into(),
            accept_new: false,
            agent: None,
        }
    }

    fn line(server: &Server, files: &Files, sharing: Sharing<'_>) -> String {
        let words = arguments(server, files, sharing, "id; -oX");
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(
            "
",
        ) + "
"
    }

    #[test]
    fn nothing_but_the_last_word_is_the_models() {
        assert_eq!(
            line(&server(None), &files(), Sharing::None),
            "/usr/bin/ssh\n-F\n/dev/null\n-T\n-o\nBatchMode=yes\n-o\nStrictHostKeyChecking=yes\n\
             -o\nUserKnownHostsFile=\"/home/u/.ssh/known_hosts\"\n-o\nGlobalKnownHostsFile=/dev/null\n-o\nUpdateHostKeys=no\n\
             -o\nIdentitiesOnly=yes\n-o\nIdentityFile=\"/home/u/my keys/100%%\"\n-o\nIdentityAgent=none\n\
             -o\nForwardAgent=no\n-o\nForwardX11=no\n-o\nClearAllForwardings=yes\n-o\nPermitLocalCommand=no\n\
             -o\nCanonicalizeHostname=no\n-o\nConnectTimeout=10\n-o\nConnectionAttempts=1\n\
             -o\nServerAliveInterval=15\n-o\nServerAliveCountMax=3\n-o\nLogLevel=ERROR\n\
             -o\nProxyCommand=none\n-o\nControlMaster=no\n-o\nControlPath=none\n\
             -p\n2222\n-l\n-deploy\n--\n-oProxyCommand=evil\nid; -oX\n"
        );
    }

    #[test]
    fn choices_of_the_configuration() {
        let accepting = Files {
            accept_new: true,
            agent: Some("/run/agent".into()),
            ..files()
        };
        let text = line(&server(None), &accepting, Sharing::Use(Path::new("/run/s")));
        for expected in [
            "StrictHostKeyChecking=accept-new\n",
            "IdentitiesOnly=no\n",
            "IdentityAgent=\"/run/agent\"\n",
            "ControlMaster=no\n-o\nControlPath=/run/s\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let text = line(&server(None), &files(), Sharing::Offer(Path::new("/run/s")));
        assert!(
            text.contains("ControlMaster=yes\n-o\nControlPath=/run/s\n"),
            "{text}"
        );
        assert!(text.ends_with("-N\n--\n-oProxyCommand=evil\n"), "{text}");
    }

    #[test]
    fn the_way_over_another_host_is_written_out() {
        let text = line(&server(Some("hop'per@[::1]:2200")), &files(), Sharing::None);
        let jump = text
            .lines()
            .find(|line| line.starts_with("ProxyCommand="))
            .unwrap();
        assert!(
            jump.starts_with(
                "ProxyCommand='/usr/bin/ssh' '-F' '/dev/null' '-T' '-o' 'BatchMode=yes'"
            ),
            "{jump}"
        );
        assert!(
            jump.contains("'IdentityFile=\"/home/u/my keys/100%%%%\"'"),
            "{jump}"
        );
        assert!(
            jump.ends_with("'-p' '2200' '-l' 'hop'\\''per' -W '[%h]:%p' -- '::1'"),
            "{jump}"
        );
        for (jump, port) in [
            ("u@h:2200", 2200),
            ("h", 22),
            ("u@::1", 22),
            ("[::1]:7", 7),
            ("u@h", 22),
        ] {
            assert_eq!(ports(&server(Some(jump))), [port], "{jump}");
        }
        assert_eq!(ports(&server(None)), [2222]);
    }
}
