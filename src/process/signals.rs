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
