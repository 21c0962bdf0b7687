//! Why this machine cannot build a sandbox, and what would help.

use super::settings::Tier;

/// A sandbox that cannot be built here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine cannot build the `{}` sandbox: {cause}", tier.name())]
pub struct Unavailable {
    /// The tier that was asked for.
    pub tier: Tier,
    /// What the machine refuses.
    pub cause: String,
    /// What would help.
    pub fix: String,
}

impl Unavailable {
    /// From the step that failed and the error number.
    pub(super) fn new(tier: Tier, step: &str, errno: i32) -> Self {
        let read = |file: &str| {
            std::fs::read_to_string(file)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        Self::explain(tier, step, errno, read)
    }

    /// `read` gives the contents of a file of `/proc`.
    fn explain(tier: Tier, step: &str, errno: i32, read: impl Fn(&str) -> Option<String>) -> Self {
        const LANDLOCK: &str =
            "run with `--sandbox landlock`, which needs no namespaces and confines less";
        let is = |file: &str, value: &str| read(file).as_deref() == Some(value);
        let words = |cause: &str, fix: String| (cause.to_owned(), fix);
        let (cause, fix) = if step.starts_with("make namespaces")
            || step.starts_with("map the user")
        {
            let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
            let debian = "/proc/sys/kernel/unprivileged_userns_clone";
            let count = "/proc/sys/user/max_user_namespaces";
            if is(apparmor, "1") {
                words(
                    "AppArmor blocks user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)",
                    format!(
                        "give this program an AppArmor profile with `userns,`, or `sysctl -w \
                         kernel.apparmor_restrict_unprivileged_userns=0`, or {LANDLOCK}"
                    ),
                )
            } else if is(debian, "0") {
                words(
                    "user namespaces are off (kernel.unprivileged_userns_clone=0)",
                    format!("`sysctl -w kernel.unprivileged_userns_clone=1`, or {LANDLOCK}"),
                )
            } else if is(count, "0") {
                words(
                    "user namespaces are off (user.max_user_namespaces=0)",
                    format!("`sysctl -w user.max_user_namespaces=10000`, or {LANDLOCK}"),
                )
            } else {
                words(
                    &format!("namespaces cannot be made ({})", error(errno)),
                    format!(
                        "in a container, allow them with `--security-opt seccomp=unconfined`, or {LANDLOCK}"
                    ),
                )
            }
        } else if step.starts_with("mount /proc") && errno == libc::EPERM {
            words(
                "a fresh /proc cannot be mounted because a container hides parts of the outer one",
                format!(
                    "start the container with `--security-opt systempaths=unconfined`, or {LANDLOCK}"
                ),
            )
        } else if step.starts_with("set up Landlock") {
            words(
                "Landlock is missing",
                "use Linux 5.13 or newer with `landlock` in the kernel's `lsm=` list, or run with \
                 `--sandbox off`, which confines nothing"
                    .to_owned(),
            )
        } else {
            words(
                &format!("{step}: {}", error(errno)),
                if tier == Tier::Full {
                    LANDLOCK.to_owned()
                } else {
                    "run with `--sandbox off`, which confines nothing".to_owned()
                },
            )
        };
        Self { tier, cause, fix }
    }
}

/// The system's words, without the number.
fn error(errno: i32) -> String {
    let words = std::io::Error::from_raw_os_error(errno).to_string();
    words
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_and_fix_are_named() {
        let explain = |step: &str, errno, file: &str, value: &str| {
            Unavailable::explain(Tier::Full, step, errno, |asked| {
                asked.ends_with(file).then(|| value.to_owned())
            })
        };
        for (step, errno, file, value, cause, fix) in [
            (
                "make namespaces",
                libc::EPERM,
                "apparmor_restrict_unprivileged_userns",
                "1",
                "AppArmor",
                "profile",
            ),
            (
                "map the user",
                libc::EPERM,
                "apparmor_restrict_unprivileged_userns",
                "1",
                "AppArmor",
                "sysctl",
            ),
            (
                "make namespaces",
                libc::EPERM,
                "unprivileged_userns_clone",
                "0",
                "userns_clone=0",
                "=1",
            ),
            (
                "make namespaces",
                libc::ENOSPC,
                "max_user_namespaces",
                "0",
                "max_user_namespaces=0",
                "10000",
            ),
            (
                "make namespaces",
                libc::EPERM,
                "-",
                "",
                "operation not permitted",
                "seccomp=unconfined",
            ),
            (
                "mount /proc",
                libc::EPERM,
                "-",
                "",
                "hides parts",
                "systempaths",
            ),
            (
                "set up Landlock",
                libc::EOPNOTSUPP,
                "-",
                "",
                "Landlock is missing",
                "5.13",
            ),
            (
                "place \"/usr\"",
                libc::EINVAL,
                "-",
                "",
                "place \"/usr\": invalid argument",
                "landlock",
            ),
        ] {
            let told = explain(step, errno, file, value);
            assert!(
                told.cause.contains(cause) && told.fix.contains(fix),
                "{told:?}"
            );
        }
    }
}
