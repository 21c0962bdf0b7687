//! A server that does with a connection what a row says, byte by byte, over TCP and over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One thing that is done with a connection. After the last one it is closed.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one whole request.
    Read,
    /// Reads the head of a request and leaves its body where it is.
    ReadHead,
    /// Says that no more is sent, and takes in what comes until the client goes.
    Linger,
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends the same bytes so many times.
    Flood(Vec<u8>, usize),
    /// Sends the same bytes at this interval until the client goes.
    Drip(Duration, Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the client goes.
    Hang,
    /// Closes the connection with a reset.
    Reset,
}

/// How connections are secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    /// Not at all.
    #[default]
    No,
    /// By a certificate of an authority that the client is told of.
    Yes,
    /// By a certificate of an authority that nobody knows.
    Unknown,
    /// By a certificate whose time is over.
    Expired,
    /// By a certificate for another host.
    Other,
    /// Not at all, although the client is told that it is.
    Pretended,
}

/// A connection as the server saw it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// When it was accepted.
    pub at: Instant,
    /// The bodies of the requests on it; null for one that is no JSON.
    pub requests: Vec<Value>,
}

/// The running server; stops when dropped.
pub struct Server {
    address: SocketAddr,
    secure: bool,
    authority: String,
    connections: Arc<Mutex<Vec<Connection>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that treats each connection by its script, and all that come later by the last.
    pub fn start(scripts: &[Vec<Step>], secure: Secure) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("the port");
        let is_head = |step: &Step| matches!(step, Step::ReadHead);
        if scripts.iter().flatten().any(is_head) {
            // Else the system would take in what nobody reads.
            rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 4096).expect("a size");
        }
        let (tls, authority) = match secure {
            Secure::No => (None, String::new()),
            Secure::Pretended => (None, certificate(secure).1),
            _ => {
                let (tls, authority) = certificate(secure);
                (Some(tls), authority)
            }
        };
        let connections = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Self {
            address,
            secure: secure != Secure::No,
            authority,
            connections: Arc::clone(&connections),
            stopped: Arc::clone(&stopped),
        };
        let scripts = scripts.to_vec();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                connections.lock().unwrap().push(Connection {
                    at: Instant::now(),
                    requests: Vec::new(),
                });
                let script = scripts.get(number).or(scripts.last()).cloned();
                let script = script.unwrap_or_default();
                let (tls, connections) = (tls.clone(), Arc::clone(&connections));
                std::thread::spawn(move || {
                    stream.set_nodelay(true).ok();
                    let read = |body| connections.lock().unwrap()[number].requests.push(body);
                    // The client may go at any time.
                    match tls {
                        None => follow(&script, &stream, &stream, read).ok(),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).expect("a session");
                            let socket = stream.try_clone().expect("a socket");
                            let secured = rustls::StreamOwned::new(session, socket);
                            follow(&script, secured, &stream, read).ok()
                        }
                    }
                });
            }
        });
        server
    }

    /// The base URL.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}/v1", self.address)
    }

    /// The certificate of the authority that the client should know, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The connections so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().clone()
    }

    /// The least time between one connection and the next.
    pub fn least_gap(&self) -> Option<Duration> {
        let all = self.connections();
        all.windows(2).map(|pair| pair[1].at - pair[0].at).min()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

fn follow(
    script: &[Step],
    mut channel: impl Read + Write,
    socket: &TcpStream,
    mut read: impl FnMut(Value),
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    for step in script {
        match step {
            Step::Read => read(read_request(&mut channel, &mut buffer)?),
            Step::ReadHead => {
                let mut head = [0; 512];
                channel.read_exact(&mut head)?;
            }
            Step::Linger => {
                socket.shutdown(std::net::Shutdown::Write)?;
                while channel.read(&mut [0; 8192])? > 0 {}
            }
            Step::Send(bytes) => {
                channel.write_all(bytes)?;
                channel.flush()?;
            }
            Step::Flood(bytes, times) => {
                for _ in 0..*times {
                    channel.write_all(bytes)?;
                }
                channel.flush()?;
            }
            Step::Drip(every, bytes) => loop {
                channel.write_all(bytes)?;
                channel.flush()?;
                std::thread::sleep(*every);
            },
            Step::Wait(time) => std::thread::sleep(*time),
            Step::Hang => while channel.read(&mut [0; 1024])? > 0 {},
            Step::Reset => {
                let at_once = Some(Duration::ZERO);
                return Ok(rustix::net::sockopt::set_socket_linger(socket, at_once)?);
            }
        }
    }
    Ok(())
}

/// Reads one request and gives its body.
fn read_request(channel: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<Value> {
    let mut more = |buffer: &mut Vec<u8>| {
        let mut piece = [0; 8192];
        match channel.read(&mut piece)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                buffer.extend_from_slice(&piece[..count]);
                Ok::<_, std::io::Error>(())
            }
        }
    };
    let end = loop {
        match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => more(buffer)?,
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length: usize = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().expect("a length"));
    while buffer.len() < end + length {
        more(buffer)?;
    }
    let body = serde_json::from_slice(&buffer[end..end + length]).unwrap_or_default();
    buffer.drain(..end + length);
    Ok(body)
}

/// The server's side of TLS, and the authority that the client should know.
pub fn certificate(secure: Secure) -> (Arc<rustls::ServerConfig>, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority = || {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("an authority");
        (certificate.pem(), Issuer::new(parameters, key))
    };
    let (mut known, issuer) = authority();
    let host = match secure {
        Secure::Other => "other.example",
        _ => "127.0.0.1",
    };
    let mut parameters = CertificateParams::new(vec![host.to_owned()]).expect("a host");
    if secure == Secure::Expired {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    if secure == Secure::Unknown {
        known = authority().0;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a good certificate");
    (Arc::new(config), known)
}
