//! What network a command sees. Every address here is of this machine's own loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::Place;

/// A server that counts its visitors.
fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 1024];
            drop(stream.read(&mut request));
            drop(stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"));
        }
    });
    (port, visits)
}

const CLIENTS: &str = "curl -s -m 5 http://127.0.0.1:PORT/; curl -s -m 5 http://localhost:PORT/; exec 3<>/dev/tcp/127.0.0.1/PORT && echo bash";

#[test]
fn none_but_its_own() {
    let place = Place::new();
    let (port, visits) = server();
    place.bash(&CLIENTS.replace("PORT", &port.to_string()));
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[test]
fn the_loopback_of_the_machine() {
    let place = Place::new().with_settings(json!({"sandbox": {"network": "loopback"}}));
    let (port, visits) = server();
    let said = place.bash(&CLIENTS.replace("PORT", &port.to_string()));
    assert_eq!(said.ok(), "hi\nhi\nbash\n");
    assert_eq!(visits.load(Ordering::SeqCst), 3);
    // A server of the command's own is bound to the loopback, whatever it asks for, and nothing else is reached.
    let said = place.bash(
        r#"python3 - <<'END'
import errno, socket, threading
def refused(what):
    try: what(); print("passed")
    except OSError as error: print(errno.errorcode[error.errno])
server = socket.socket(); server.bind(("0.0.0.0", 0)); server.listen()
print(server.getsockname()[0])
client = socket.create_connection(("127.0.0.1", server.getsockname()[1])); print("connected")
unbound = socket.socket(); unbound.listen(); print(unbound.getsockname()[0])
six = socket.socket(socket.AF_INET6); six.bind(("::", 0)); six.listen(); print(six.getsockname()[0])
refused(lambda: socket.socket().connect(("192.0.2.1", 80)))
refused(lambda: socket.socket().bind(("192.0.2.1", 80)))
refused(lambda: socket.socket().sendto(b"x", socket.MSG_FASTOPEN, ("192.0.2.1", 80)))
refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 80)))
refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
own = socket.socket(socket.AF_UNIX); own.bind("s"); own.listen()
socket.socket(socket.AF_UNIX).connect("s"); print("unix")
END"#,
    );
    assert_eq!(
        said.ok(),
        "127.0.0.1\nconnected\n127.0.0.1\n::ffff:127.0.0.1\nEACCES\nEACCES\nENOTSUP\nENETUNREACH\nEPERM\nunix\n"
    );
}

#[test]
fn all_of_it() {
    let place = Place::new().with_settings(json!({"sandbox": {"network": "allow"}}));
    let (port, visits) = server();
    let said = place.bash(&CLIENTS.replace("PORT", &port.to_string()));
    assert_eq!(said.ok(), "hi\nhi\nbash\n");
    assert_eq!(visits.load(Ordering::SeqCst), 3);
    let said = place.bash(
        "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((\"127.0.0.1\", 0)); s.sendto(b\"x\", s.getsockname()); print(s.recv(1))'",
    );
    assert_eq!(said.ok(), "b'x'\n");
}

#[test]
fn sockets_of_other_programs_in_the_workspace_are_closed() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("work/host.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    drop(UnixListener::bind(place.path("work/dead.sock")).unwrap());
    let said = place.bash(
        r#"python3 - <<'END'
import os, socket
for name in ["host.sock", "dead.sock"]:
    try: socket.socket(socket.AF_UNIX).connect(name); print("connected")
    except OSError as error: print(error.strerror)
os.unlink("dead.sock"); socket.socket(socket.AF_UNIX).bind("dead.sock"); print("bound again")
END"#,
    );
    assert_eq!(
        said.ok(),
        "Permission denied\nConnection refused\nbound again\n"
    );
    // Not even looking for its owner touched it.
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}
