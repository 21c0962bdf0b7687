//! Who holds an attempt: one process, told apart from a later one with the same number.

use rustix::process::Pid;

/// A process: its number, and when it started in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) process_id: i64,
    pub(crate) started: i64,
}

impl Holder {
    /// This process.
    pub(crate) fn this_process() -> Self {
        let process_id = i64::from(rustix::process::getpid().as_raw_nonzero().get());
        Self {
            process_id,
            started: start_of(process_id).unwrap_or(0),
        }
    }

    /// Whether it still runs. What cannot be found out counts as running.
    pub(crate) fn is_alive(self) -> bool {
        let pid = i32::try_from(self.process_id).ok().and_then(Pid::from_raw);
        match (start_of(self.process_id), pid) {
            (Some(started), _) => self.started == 0 || started == self.started,
            // Without /proc only the number can be asked for.
            (None, Some(pid)) => {
                rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
            }
            (None, None) => false,
        }
    }
}

/// Field 22 of `/proc/PID/stat`, counted behind the name, which may hold blanks and brackets.
fn start_of(process_id: i64) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_number_alone_is_not_enough() {
        let here = Holder::this_process();
        assert!(here.started > 0);
        assert!(here.is_alive());
        let earlier = Holder {
            started: here.started - 1,
            ..here
        };
        assert!(!earlier.is_alive());
        let nobody = Holder {
            process_id: i64::from(i32::MAX),
            started: 1,
        };
        assert!(!nobody.is_alive());
    }
}
