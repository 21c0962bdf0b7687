//! The way out of the CLI's sandbox: a port on its own loopback that leads to its API and nowhere
//! else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use url::{Host, Url};

use super::ClaudeSpec;

/// The port on the CLI's own loopback.
pub(super) const PORT: u16 = 8443;

/// How long a client may take to say where it wants to go, and how long a connection may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest head of a request.
const LONGEST_HEAD: usize = 16 << 10;

/// Where connections lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To one server, whatever is said: for an API over plain http.
    Straight {
        /// `host:port`.
        to: String,
    },
    /// Where CONNECT asks for, if that is admitted.
    Connect {
        /// Exact `host:port`, or `*.domain:port` for all below a domain.
        admitted: Vec<String>,
        /// A proxy of the user's, `host:port`, that is gone through.
        upstream: Option<String>,
    },
}

impl Way {
    /// The way that the CLI needs.
    pub(super) fn of(spec: &ClaudeSpec) -> Self {
        let base = spec
            .variable("ANTHROPIC_BASE_URL")
            .and_then(|url| Url::parse(url).ok());
        let place = base.as_ref().and_then(host_port);
        if let (Some(url), Some(to)) = (&base, &place)
            && url.scheme() == "http"
        {
            return Self::Straight { to: to.clone() };
        }
        let mut admitted = vec![place.unwrap_or_else(|| "api.anthropic.com:443".to_owned())];
        if !spec.brings_login() {
            // A login is renewed there.
            admitted.extend(
                [
                    "console.anthropic.com:443",
                    "platform.claude.com:443",
                    "claude.ai:443",
                ]
                .map(str::to_owned),
            );
        }
        for (variable, domain) in [
            ("CLAUDE_CODE_USE_BEDROCK", "*.amazonaws.com:443"),
            ("CLAUDE_CODE_USE_VERTEX", "*.googleapis.com:443"),
        ] {
            if spec.variable(variable).is_some() {
                admitted.push(domain.to_owned());
            }
        }
        let upstream = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
            .into_iter()
            .find_map(|name| spec.variable(name))
            .and_then(|proxy| Url::parse(proxy).ok())
            .filter(|proxy| proxy.scheme() == "http")
            .as_ref()
            .and_then(host_port);
        Self::Connect { admitted, upstream }
    }

    /// The variables with which the CLI takes this way.
    pub(super) fn variables(&self, spec: &ClaudeSpec) -> Vec<(String, String)> {
        let here = format!("http://127.0.0.1:{PORT}");
        match self {
            Self::Straight { .. } => {
                let base = spec
                    .variable("ANTHROPIC_BASE_URL")
                    .and_then(|url| Url::parse(url).ok());
                let path = base.map(|url| url.path().trim_end_matches('/').to_owned());
                let url = format!("{here}{}", path.unwrap_or_default());
                let mut variables = vec![("ANTHROPIC_BASE_URL".to_owned(), url)];
                variables.extend(PROXIES.map(|name| (name.to_owned(), String::new())));
                variables
            }
            Self::Connect { .. } => {
                let mut variables: Vec<(String, String)> =
                    PROXIES.map(|name| (name.to_owned(), here.clone())).into();
                variables
                    .extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), String::new())));
                variables
            }
        }
    }

    fn admits(&self, asked: &str) -> bool {
        let Self::Connect { admitted, .. } = self else {
            return false;
        };
        let asked = asked.to_ascii_lowercase();
        admitted.iter().any(|known| match known.strip_prefix('*') {
            Some(end) => asked.ends_with(end) && asked.len() > end.len(),
            None => asked == *known,
        })
    }
}

const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

fn host_port(url: &Url) -> Option<String> {
    let port = url.port_or_known_default()?;
    Some(match url.host()? {
        Host::Ipv6(address) => format!("[{address}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// Serves the way until it is dropped.
pub(super) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves connections that come to the port.
///
/// # Errors
/// When the listener cannot be watched.
pub(super) fn serve(listener: std::net::TcpListener, way: Way) -> io::Result<Serving> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let way = Arc::new(way);
    Ok(Serving(tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let way = Arc::clone(&way);
            connections.spawn(async move {
                if let Err(error) = pass(client, &way).await {
                    tracing::debug!(%error, "a connection of the CLI broke");
                }
            });
            while connections.try_join_next().is_some() {}
        }
    })))
}

async fn pass(mut client: TcpStream, way: &Way) -> io::Result<()> {
    let mut server = match way {
        Way::Straight { to } => connect(to).await?,
        Way::Connect { upstream, .. } => {
            let asked = timeout(PATIENCE, head(&mut client)).await??;
            let Some(asked) = asked.filter(|asked| way.admits(asked)) else {
                client
                    .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                    .await?;
                return Ok(());
            };
            let server = match upstream {
                Some(proxy) => through(proxy, &asked).await,
                None => connect(&asked).await,
            };
            match server {
                Ok(server) => {
                    client
                        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        .await?;
                    server
                }
                Err(error) => {
                    client
                        .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
                        .await?;
                    return Err(error);
                }
            }
        }
    };
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn connect(to: &str) -> io::Result<TcpStream> {
    timeout(PATIENCE, TcpStream::connect(to)).await?
}

/// A connection through a proxy of the user's.
async fn through(proxy: &str, to: &str) -> io::Result<TcpStream> {
    let mut server = connect(proxy).await?;
    let request = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    server.write_all(request.as_bytes()).await?;
    let answer = timeout(PATIENCE, lines(&mut server)).await??;
    if answer.split_whitespace().nth(1) == Some("200") {
        Ok(server)
    } else {
        Err(io::Error::other("the proxy refuses"))
    }
}

/// Where a CONNECT request wants to go; `None` for any other request.
async fn head(client: &mut TcpStream) -> io::Result<Option<String>> {
    let head = lines(client).await?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let is_connect = words.next() == Some("CONNECT");
    Ok(words.next().filter(|_| is_connect).map(str::to_owned))
}

/// The lines up to the empty one, byte by byte: what follows is not for us.
async fn lines(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err(io::Error::other("an endless head"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_is_admitted() {
        let way = Way::Connect {
            admitted: vec![
                "api.anthropic.com:443".to_owned(),
                "*.amazonaws.com:443".to_owned(),
            ],
            upstream: None,
        };
        for (asked, admitted) in [
            ("api.anthropic.com:443", true),
            ("API.anthropic.com:443", true),
            ("api.anthropic.com:80", false),
            ("api.anthropic.com.evil.example:443", false),
            ("xapi.anthropic.com:443", false),
            ("bedrock-runtime.eu-west-1.amazonaws.com:443", true),
            ("amazonaws.com:443", false),
            (".amazonaws.com:443", false),
            ("evilamazonaws.com:443", false),
            ("169.254.169.254:80", false),
            ("", false),
        ] {
            assert_eq!(way.admits(asked), admitted, "{asked}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_passed_or_refused() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
        });
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = door.local_addr().unwrap().port();
        let way = Way::Connect {
            admitted: vec![address.clone()],
            upstream: None,
        };
        let _serving = serve(door, way).unwrap();
        for (asked, expected) in [
            (
                "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n".to_owned(),
                "HTTP/1.1 403",
            ),
            (
                format!("GET http://{address}/ HTTP/1.1\r\n\r\n"),
                "HTTP/1.1 403",
            ),
            (
                format!("CONNECT {address} HTTP/1.1\r\nhost: x\r\n\r\n"),
                "HTTP/1.1 200 Connection established\r\n\r\nhello",
            ),
        ] {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(asked.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(expected), "{asked}: {answer}");
        }
    }
}
