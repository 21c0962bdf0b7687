//! The last step: the filter, and the program.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{chdir, setsid};

use super::super::plan::{Plan, Raw};
use super::super::seccomp::{Sockets, filter};
use super::super::settings::Tier;
use super::failure::{Done, Failure, at};
use crate::process::{MARKER, by_default};

/// Everything that must be allocated, made before the process is split.
pub(super) struct Program {
    file: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    filter: Vec<libc::sock_filter>,
    listening: bool,
    script: Option<OwnedFd>,
}

impl Program {
    pub(super) fn new(plan: &Plan, sockets: Sockets) -> Done<Self> {
        let text = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| Failure::Program {
                errno: libc::EINVAL,
            })
        };
        let mut arguments: Vec<CString> = plan
            .arguments
            .iter()
            .map(|argument| text(&argument.0))
            .collect::<Done<_>>()?;
        let script = match &plan.script {
            Some(script) => Some(script_file(&script.0).map_err(at("write the script"))?),
            None => None,
        };
        if let Some(script) = &script {
            arguments.push(text(
                format!("/proc/self/fd/{}", script.as_raw_fd()).as_bytes(),
            )?);
        }
        // Where there is no namespace to end, what fled is found by the mark.
        let mark = if plan.tier == Tier::Full {
            None
        } else {
            std::env::var_os(MARKER)
        };
        let mark = mark.map(|mark| (Raw::from(MARKER), Raw::from(mark)));
        let environment = plan
            .environment
            .iter()
            .chain(&mark)
            .map(|(name, value)| text(&[name.0.as_slice(), b"=", value.0.as_slice()].concat()));
        Ok(Self {
            file: text(&plan.program.0)?,
            arguments,
            environment: environment.collect::<Done<_>>()?,
            directory: text(&plan.directory.0)?,
            filter: if plan.tier == Tier::Off {
                Vec::new()
            } else {
                filter(sockets, plan.executable.is_some())
            },
            listening: sockets.needs_helper(),
            script,
        })
    }

    /// Whether the filter asks on a file, which is the program's own then.
    pub(super) fn listens(&self) -> bool {
        self.listening && !self.filter.is_empty()
    }

    /// Installs the filter in this process and all that it starts; gives the file on which it asks.
    pub(super) fn install_filter(&self, listening: bool) -> Done<Option<OwnedFd>> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        let program = libc::sock_fprog {
            len: u16::try_from(self.filter.len()).unwrap_or(0),
            filter: self.filter.as_ptr().cast_mut(),
        };
        let flags = if listening {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        } else {
            0
        };
        #[expect(unsafe_code, reason = "the library does not know this call")]
        // SAFETY: the program and its length describe a vector that lives through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if result < 0 {
            return Err(at("install the filter of system calls")(
                std::io::Error::last_os_error(),
            ));
        }
        if !listening {
            return Ok(None);
        }
        let number = i32::try_from(result).unwrap_or(-1);
        #[expect(unsafe_code, reason = "the kernel gives a bare number")]
        // SAFETY: the number was just given and nobody else knows it.
        let listener = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Some(listener))
    }

    /// Starts a session of its own in the directory of the plan.
    pub(super) fn prepare(&self) -> Done<()> {
        setsid().map_err(at("start a session"))?;
        chdir(&self.directory).map_err(at("enter the working directory"))?;
        if let Some(script) = &self.script {
            use rustix::io::{FdFlags, fcntl_setfd};
            fcntl_setfd(script, FdFlags::empty()).map_err(at("keep the script open"))?;
        }
        // Signals as a shell expects them.
        #[expect(unsafe_code, reason = "the library does not know these calls")]
        // SAFETY: the set is initialised by the first call; the other takes it.
        unsafe {
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        by_default();
        Ok(())
    }

    /// Becomes the program; returns only when it cannot.
    pub(super) fn start(&self) -> Failure {
        let pointers = |texts: &[CString]| {
            let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
            pointers.push(std::ptr::null());
            pointers
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        #[expect(unsafe_code, reason = "the process becomes another program")]
        // SAFETY: both lists end with a null pointer and their texts live through the call.
        unsafe {
            libc::execve(self.file.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Failure::Program { errno }
    }
}

/// A script that is too long for an argument, as a file that is nowhere.
fn script_file(script: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("script", MemfdFlags::CLOEXEC)?);
    file.write_all(script)?;
    file.rewind()?;
    Ok(file.into())
}
