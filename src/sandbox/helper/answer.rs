//! Answers for system calls about the network: sockets come from the machine's network, while everything else
//! of the command stays in its own. Every address is read once and the call is made here with what was read, so
//! that nothing can be changed after it was looked at.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::addresses::{Address, family, loopback, pathname};
use super::paths::open_in_view;

/// The longest address that is looked at (`sizeof(struct sockaddr_storage)`).
const LONGEST: usize = 128;

/// The file on which the filter asks.
pub(super) struct Answerer {
    asks: OwnedFd,
    loopback_only: bool,
}

/// One question.
struct Question {
    id: u64,
    thread: u32,
    call: libc::c_long,
    arguments: [u64; 6],
}

/// What becomes of a call.
enum Answer {
    /// It is made by the caller itself.
    Continue,
    /// It gave this.
    Value(io::Result<i64>),
}

impl Answerer {
    pub(super) fn new(asks: OwnedFd, loopback_only: bool) -> Self {
        Self {
            asks,
            loopback_only,
        }
    }

    pub(super) fn asks(&self) -> &OwnedFd {
        &self.asks
    }

    /// Answers one question; false when there will be no more.
    pub(super) fn answer(&self) -> bool {
        let question = match self.receive() {
            Ok(question) => question,
            // The caller was killed meanwhile.
            Err(error) => return error.raw_os_error() == Some(libc::ENOENT),
        };
        match question.call {
            libc::SYS_socket => self.socket(&question),
            // Connecting may take long.
            libc::SYS_connect => {
                let Ok(asks) = self.asks.try_clone() else {
                    self.reply(&question, Answer::Value(Err(refused())));
                    return true;
                };
                let other = Self::new(asks, self.loopback_only);
                drop(std::thread::Builder::new().spawn(move || {
                    let answer = other.connect(&question);
                    other.reply(&question, answer);
                }));
            }
            libc::SYS_bind => self.reply(&question, self.bind(&question)),
            libc::SYS_listen => self.reply(&question, self.listen(&question)),
            _ => self.reply(&question, Answer::Value(Err(refused()))),
        }
        true
    }

    /// A socket of the machine's network; datagrams only when all of it is open.
    fn socket(&self, question: &Question) {
        let [family, kind, protocol, ..] = question.arguments.map(number);
        let is_stream = kind & 0xF == libc::SOCK_STREAM;
        if self.loopback_only && !(is_stream && family != libc::AF_NETLINK) {
            return self.reply(question, Answer::Continue);
        }
        #[expect(unsafe_code, reason = "the arguments are passed on as they are")]
        // SAFETY: the call takes numbers; the result is a new file of nobody else.
        let socket = unsafe {
            let socket = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
            if socket < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(OwnedFd::from_raw_fd(socket))
            }
        };
        match socket {
            Ok(socket) => self.give(question, &socket, kind & libc::SOCK_CLOEXEC != 0),
            Err(error) => self.reply(question, Answer::Value(Err(error))),
        }
    }

    fn connect(&self, question: &Question) -> Answer {
        let made = || -> io::Result<()> {
            let socket = self.file(question)?;
            let address = self.address(question)?;
            match family(&socket)? {
                libc::AF_UNIX => match pathname(&address) {
                    Some(path) => {
                        let file = open_in_view(question.thread, path)?;
                        Address::of_file(&file).connect(&socket)
                    }
                    // Names without files are those of the command's own network.
                    None => address.connect(&socket),
                },
                _ if !self.loopback_only || loopback(&address).is_some() => {
                    address.connect(&socket)
                }
                _ => Err(refused()),
            }
        };
        Answer::Value(made().map(|()| 0))
    }

    /// Binding to every address means, here, to the loopback. What is bound is looked at again before it listens.
    fn bind(&self, question: &Question) -> Answer {
        let made = || -> io::Result<Answer> {
            let socket = self.file(question)?;
            if family(&socket)? == libc::AF_UNIX {
                return Ok(Answer::Continue);
            }
            let address = self.address(question)?;
            let address = loopback(&address)
                .or_else(|| address.any_as_loopback())
                .ok_or_else(refused)?;
            address.bind(&socket).map(|()| Answer::Value(Ok(0)))
        };
        made().unwrap_or_else(|error| Answer::Value(Err(error)))
    }

    fn listen(&self, question: &Question) -> Answer {
        let made = || -> io::Result<()> {
            let socket = self.file(question)?;
            let backlog = question.arguments.get(1).copied().map_or(0, number);
            let domain = family(&socket)?;
            if domain == libc::AF_INET || domain == libc::AF_INET6 {
                let bound = Address::bound(&socket)?;
                if bound.is_without_port() {
                    bound.any_as_loopback().ok_or_else(refused)?.bind(&socket)?;
                } else if loopback(&bound).is_none() {
                    return Err(refused());
                }
            }
            #[expect(unsafe_code, reason = "the library takes no negative backlog")]
            // SAFETY: the socket is open and the backlog a number.
            let result = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
            if result == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        };
        Answer::Value(made().map(|()| 0))
    }

    /// The caller's own file, as one of ours.
    fn file(&self, question: &Question) -> io::Result<OwnedFd> {
        let process = process_of(question.thread)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let number = question.arguments.first().copied().map_or(-1, number);
        let file = pidfd_getfd(process.as_fd(), number, PidfdGetfdFlags::empty())?;
        self.still_there(question)?;
        Ok(file)
    }

    /// A copy of the address that the caller passes.
    fn address(&self, question: &Question) -> io::Result<Address> {
        let [_, from, length, ..] = question.arguments;
        let length = usize::try_from(number(length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut bytes = vec![0; length];
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: length,
        };
        let remote = libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(usize::try_from(from).unwrap_or(0)),
            iov_len: length,
        };
        let thread = libc::pid_t::try_from(question.thread).unwrap_or(0);
        #[expect(unsafe_code, reason = "the address lies in another process")]
        // SAFETY: the local part describes a vector that lives through the call; the kernel checks the other.
        let read =
            unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
        if usize::try_from(read) != Ok(length) {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        self.still_there(question)?;
        Ok(Address(bytes))
    }

    fn receive(&self) -> io::Result<Question> {
        let mut told = MaybeUninit::<libc::seccomp_notif>::zeroed();
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV as _, told.as_mut_ptr())?;
        #[expect(unsafe_code, reason = "the kernel filled it")]
        // SAFETY: all zeros are valid, and the kernel wrote over them.
        let told = unsafe { told.assume_init() };
        Ok(Question {
            id: told.id,
            thread: told.pid,
            call: told.data.nr.into(),
            arguments: told.data.args,
        })
    }

    /// The number of the thread is still that of the caller.
    fn still_there(&self, question: &Question) -> io::Result<()> {
        let mut id = question.id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw mut id)
            .map(drop)
    }

    fn reply(&self, question: &Question, answer: Answer) {
        let mut response = libc::seccomp_notif_resp {
            id: question.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match answer {
            Answer::Continue => response.flags = CONTINUE,
            Answer::Value(Ok(value)) => response.val = value,
            Answer::Value(Err(error)) => {
                response.error = -error.raw_os_error().unwrap_or(libc::EACCES);
            }
        }
        // A caller that is gone needs no answer.
        drop(self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw mut response));
    }

    /// Gives the caller a file as the result of its call.
    fn give(&self, question: &Question, file: &OwnedFd, close_on_exec: bool) {
        let mut given = libc::seccomp_notif_addfd {
            id: question.id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).unwrap_or(0),
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: if close_on_exec {
                libc::O_CLOEXEC.cast_unsigned()
            } else {
                0
            },
        };
        let answered = self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw mut given);
        if answered.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            // Before Linux 5.14 that takes two steps.
            given.flags = 0;
            let number = self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw mut given);
            self.reply(question, Answer::Value(number.map(i64::from)));
        }
    }

    fn ioctl<T>(&self, request: libc::Ioctl, value: *mut T) -> io::Result<i32> {
        #[expect(unsafe_code, reason = "the library does not know these requests")]
        // SAFETY: every caller passes the type that its request reads and writes.
        let result = unsafe { libc::ioctl(self.asks.as_raw_fd(), request, value) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    }
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::EACCES)
}

/// The lower half of an argument, as the kernel takes it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel takes the lower half"
)]
fn number(argument: u64) -> i32 {
    (argument as u32).cast_signed()
}

/// The process of a thread.
fn process_of(thread: u32) -> io::Result<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|number| Pid::from_raw(number.trim().parse().ok()?))
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}
