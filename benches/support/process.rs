//! Programs that are run to be measured.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What one process took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_kib: i64,
    pub first_byte: Duration,
}

pub fn median(runs: &[Took], of: impl Fn(&Took) -> Duration) -> Duration {
    let mut values: Vec<Duration> = runs.iter().map(of).collect();
    values.sort();
    values[values.len() / 2]
}

pub fn peak(runs: &[Took]) -> i64 {
    runs.iter()
        .map(|took| took.peak_kib)
        .max()
        .unwrap_or_default()
}

pub fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

pub fn run(mut command: Command) -> Took {
    let name = format!("{command:?}");
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut first_byte = None;
    while out.read(&mut buffer).unwrap() > 0 {
        first_byte.get_or_insert_with(|| start.elapsed());
    }
    let (status, usage) = wait(child.id());
    let wall = start.elapsed();
    assert!(status.success(), "{name}: {status}");
    let time = |time: libc::timeval| {
        Duration::new(
            u64::try_from(time.tv_sec).unwrap(),
            u32::try_from(time.tv_usec).unwrap() * 1000,
        )
    };
    Took {
        wall,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_kib: usage.ru_maxrss,
        first_byte: first_byte.unwrap_or(wall),
    }
}

#[expect(unsafe_code, reason = "only wait4 tells what one child used")]
fn wait(pid: u32) -> (ExitStatus, libc::rusage) {
    let mut status = 0;
    // SAFETY: rusage is plain data, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    let waited =
        unsafe { libc::wait4(pid.try_into().unwrap(), &raw mut status, 0, &raw mut usage) };
    assert!(waited > 0, "wait4 failed");
    (ExitStatus::from_raw(status), usage)
}
