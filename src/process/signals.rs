//! Signals as a program expects them that is started.

/// Lets this process end by the signals that ask it to. What a shell starts in the background ignores some of
/// them and hands that on, and who ignores them cannot be asked to end.
///
/// Safe between fork and exec.
pub(crate) fn by_default() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE] {
        #[expect(unsafe_code, reason = "the library does not know this call")]
        // SAFETY: it takes a known signal and no function of ours.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Lets a write that would make a file larger than is allowed (`ulimit -f`) fail, as it does on a full disk, in place of
/// ending the process in the middle of it.
///
/// With a handler, since programs that are started get the default back for it; what is ignored stays ignored in them.
pub(crate) fn fail_on_large_files() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: it takes a known signal and a function that does nothing.
    unsafe {
        libc::signal(libc::SIGXFSZ, handler as *const () as libc::sighandler_t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "as every other program is started"
    )]
    fn programs_have_the_default_of_what_is_handled_here() {
        fail_on_large_files();
        let mut asked = std::process::Command::new("/bin/grep");
        asked.args(["-E", "^Sig(Ign|Cgt)", "/proc/self/status"]);
        let told = String::from_utf8(asked.output().unwrap().stdout).unwrap();
        let masks = told
            .lines()
            .filter_map(|line| line.split_whitespace().last());
        let masks: Vec<u64> = masks
            .map(|mask| u64::from_str_radix(mask, 16).unwrap())
            .collect();
        assert_eq!(masks.len(), 2, "{told}");
        let bit = 1 << (libc::SIGXFSZ - 1);
        assert!(masks.iter().all(|mask| mask & bit == 0), "{told}");
    }
}
