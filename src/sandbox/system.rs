//! The parts of the machine that every command sees: programs, libraries, a few files of `/etc`, devices.

use std::path::{Path, PathBuf};

use super::plan::{Access, Place, Raw};
use super::policy::Policy;
use super::programs::{self, Listed};

/// Directories that are either links into `/usr` or, on older systems, directories of their own.
const MERGED: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Trees of programs and libraries, where they exist.
const TREES: [&str; 4] = ["/usr", "/opt", "/nix/store", "/gnu/store"];

/// What may be known of the machine's settings. Never all of `/etc`: for root it holds passwords and keys.
const ETC: [&str; 48] = [
    "alternatives",
    "bash.bashrc",
    "bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fedora-release",
    "fonts",
    "gai.conf",
    "gitattributes",
    "gitconfig",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "manpath.config",
    "mime.types",
    "nanorc",
    "networks",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "profile",
    "protocols",
    "python3",
    "redhat-release",
    "resolv.conf",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
];

const ETC_MORE: [&str; 4] = ["terminfo", "timezone", "vimrc", "xattr.conf"];

/// Larger files are bound, not copied.
const COPIED: u64 = 64 << 10;

/// Devices that hold nothing of anybody.
pub(super) const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Everything of the system, in the order in which it is placed.
pub(super) fn places(policy: &Policy) -> Vec<Place> {
    let mut places = if policy.allowed_commands.is_empty() {
        TREES.iter().map(|tree| read_only(tree, true)).collect()
    } else {
        listed_programs(policy)
    };
    for path in MERGED.map(Path::new) {
        match std::fs::read_link(path) {
            Ok(to) => places.push(link(path, &to)),
            Err(_) if !path.is_dir() => {}
            Err(_) if policy.allowed_commands.is_empty() || path.starts_with("/lib") => {
                places.push(read_only(path, true));
            }
            Err(_) => {}
        }
    }
    if let Ok(to) = std::fs::read_link("/run/current-system") {
        places.push(link(Path::new("/run/current-system"), &to));
    }
    places.extend(
        ETC.iter()
            .chain(&ETC_MORE)
            .filter_map(|name| etc(&Path::new("/etc").join(name))),
    );
    places.push(link(Path::new("/etc/mtab"), Path::new("/proc/self/mounts")));
    places.extend(DEVICES.iter().map(|device| read_write_device(device)));
    places.extend(
        DEVICE_LINKS
            .iter()
            .map(|(path, to)| link(Path::new(path), Path::new(to))),
    );
    for target in ["/run", "/sys", "/var", "/proc", "/dev/pts"] {
        places.push(Place::Directory {
            target: target.into(),
        });
    }
    for target in ["/tmp", "/var/tmp", "/dev/shm"] {
        places.push(Place::Scratch {
            target: target.into(),
            shared: true,
        });
    }
    places
}

/// What may be read of the system where nothing can be left out by not being there.
pub(super) fn readable() -> Vec<Raw> {
    let mut paths: Vec<Raw> = TREES.iter().chain(&MERGED).map(Raw::from).collect();
    paths.extend(
        ETC.iter()
            .chain(&ETC_MORE)
            .map(|name| Raw::from(Path::new("/etc").join(name))),
    );
    paths.extend(["/proc", "/run/current-system", "/run/systemd/resolve"].map(Raw::from));
    paths.extend(DEVICES.map(Raw::from));
    paths
}

/// An entry of `/etc` as it is: a link into the system stays one, a small file is copied, the rest is bound.
fn etc(path: &Path) -> Option<Place> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if metadata.is_symlink() {
        let to = std::fs::read_link(path).ok()?;
        if super::policy::normal(&Path::new("/etc").join(&to)).starts_with("/usr") {
            return Some(link(path, &to));
        }
    }
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_file() && metadata.len() <= COPIED {
        return Some(Place::Copy {
            source: path.into(),
            target: path.into(),
        });
    }
    Some(read_only(path, true))
}

/// Libraries, and of the programs only the listed ones.
fn listed_programs(policy: &Policy) -> Vec<Place> {
    let mut places = Vec::new();
    for directory in [
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/libx32",
        "/usr/local/lib",
    ] {
        if std::fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_symlink()) {
            if let Ok(to) = std::fs::read_link(directory) {
                places.push(link(Path::new(directory), &to));
            }
            continue;
        }
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(programs::is_library) {
                continue;
            }
            places.push(match std::fs::read_link(entry.path()) {
                Ok(to) => link(&entry.path(), &to),
                Err(_) => read_only(entry.path(), true),
            });
        }
    }
    for tree in [
        "/usr/share",
        "/usr/local/share",
        "/usr/include",
        "/nix/store",
        "/gnu/store",
    ] {
        places.push(read_only(tree, true));
    }
    for path in executable(policy) {
        if !places.iter().any(|place| covers(place, &path)) {
            places.push(read_only(&path, true));
        }
    }
    let listed = programs::listed(&policy.allowed_commands, &path_of(policy));
    for Listed { found, file } in listed {
        let real = std::fs::canonicalize(found.parent().unwrap_or(&found))
            .map(|parent| parent.join(found.file_name().unwrap_or_default()));
        if let Ok(name) = real
            && name != file
        {
            places.push(link(&name, &file));
        }
    }
    places
}

/// The only files and directories that may be executed.
pub(super) fn executable(policy: &Policy) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = programs::listed(&policy.allowed_commands, &path_of(policy))
        .into_iter()
        .map(|listed| listed.file)
        .collect();
    paths.extend(programs::companions(&policy.allowed_commands));
    paths.extend(programs::loaders());
    paths.sort();
    paths.dedup();
    paths
}

/// `PATH` of a command.
pub(super) fn path_of(policy: &Policy) -> String {
    const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    policy
        .environment
        .get(std::ffi::OsStr::new("PATH"))
        .and_then(|path| path.to_str())
        .unwrap_or(USUAL)
        .to_owned()
}

/// Whether a place shows a path already.
fn covers(place: &Place, path: &Path) -> bool {
    matches!(place, Place::Bind { target, .. } if path.starts_with(target.path()))
}

fn read_only(path: impl AsRef<Path>, optional: bool) -> Place {
    let path = path.as_ref();
    Place::Bind {
        source: path.into(),
        target: path.into(),
        access: Access::Read,
        execute: true,
        optional,
    }
}

fn read_write_device(path: &str) -> Place {
    Place::Bind {
        source: path.into(),
        target: path.into(),
        access: Access::Write,
        execute: false,
        optional: true,
    }
}

fn link(path: &Path, to: &Path) -> Place {
    Place::Link {
        target: path.into(),
        to: to.into(),
    }
}
