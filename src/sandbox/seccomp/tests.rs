use super::*;

/// What the kernel does with such a program.
fn answer(program: &[sock_filter], architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(call.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend([0; 8]);
    for argument in arguments {
        data.extend(argument.to_le_bytes());
    }
    let (mut at, mut register) = (0, 0_u32);
    loop {
        let step = program[at];
        let (code, value) = (u32::from(step.code), step.k);
        at += 1;
        let test = match code & 0x07 {
            libc::BPF_LD => {
                let from = value as usize;
                register = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                continue;
            }
            libc::BPF_ALU => {
                register &= value;
                continue;
            }
            libc::BPF_RET => return value,
            libc::BPF_JMP => match code & 0xF0 {
                libc::BPF_JEQ => register == value,
                libc::BPF_JGT => register > value,
                libc::BPF_JGE => register >= value,
                libc::BPF_JSET => register & value != 0,
                other => panic!("jump {other}"),
            },
            other => panic!("code {other}"),
        };
        at += usize::from(if test { step.jt } else { step.jf });
    }
}

fn own(call: c_long, arguments: [u64; 6]) -> u32 {
    let program = filter(Sockets::Own, false);
    answer(
        &program,
        ARCHITECTURE,
        u32::try_from(call).unwrap(),
        arguments,
    )
}

fn error(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::try_from(number).unwrap()
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTHING: [u64; 6] = [0; 6];

#[test]
fn every_call_gets_an_answer() {
    for sockets in [
        Sockets::Own,
        Sockets::Machine,
        Sockets::MachineLoopback,
        Sockets::None,
        Sockets::Direct,
    ] {
        let program = filter(sockets, true);
        assert!(program.len() < 4096);
        for call in 0..NEWEST + 50 {
            for argument in [0, 1, 2, 3, 10, 16, u64::MAX] {
                answer(&program, ARCHITECTURE, call, [argument; 6]);
            }
        }
    }
}

#[test]
fn foreign_tables_end_the_process() {
    let program = filter(Sockets::Own, false);
    let kill = libc::SECCOMP_RET_KILL_PROCESS;
    assert_eq!(answer(&program, 0x4000_0003, 1, NOTHING), kill);
    assert_eq!(answer(&program, ARCHITECTURE, 0x4000_0001, NOTHING), kill);
    assert_eq!(
        answer(&program, ARCHITECTURE, NEWEST + 1, NOTHING),
        error(libc::ENOSYS)
    );
}

#[test]
fn calls_by_their_arguments() {
    let creat = libc::O_CREAT as u64;
    let tmpfile = libc::O_TMPFILE as u64;
    for (call, arguments, expected) in [
        (libc::SYS_read, NOTHING, ALLOW),
        (libc::SYS_openat, [0, 0, 0, 0o4755, 0, 0], ALLOW),
        (libc::SYS_openat, [0, 0, creat, 0o644, 0, 0], ALLOW),
        (
            libc::SYS_openat,
            [0, 0, creat, 0o4755, 0, 0],
            error(libc::EPERM),
        ),
        (
            libc::SYS_openat,
            [0, 0, tmpfile, 0o2755, 0, 0],
            error(libc::EPERM),
        ),
        (libc::SYS_openat2, NOTHING, error(libc::ENOSYS)),
        (libc::SYS_fchmodat, [0, 0, 0o755, 0, 0, 0], ALLOW),
        (
            libc::SYS_fchmodat,
            [0, 0, 0o4755, 0, 0, 0],
            error(libc::EPERM),
        ),
        (FCHMODAT2, [0, 0, 0o2755, 0, 0, 0], error(libc::EPERM)),
        (
            libc::SYS_mknodat,
            [0, 0, 0o4755, 0, 0, 0],
            error(libc::EPERM),
        ),
        (libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0], ALLOW),
        (
            libc::SYS_ioctl,
            [0, u64::from(TIOCSTI), 0, 0, 0, 0],
            error(libc::EPERM),
        ),
        (
            libc::SYS_ioctl,
            [0, u64::from(TIOCSTI) | 1 << 32, 0, 0, 0, 0],
            error(libc::EPERM),
        ),
        (
            libc::SYS_ioctl,
            [0, u64::from(TIOCLINUX), 0, 0, 0, 0],
            error(libc::EPERM),
        ),
        (
            libc::SYS_clone,
            [libc::SIGCHLD as u64, 0, 0, 0, 0, 0],
            ALLOW,
        ),
        (
            libc::SYS_clone,
            [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0],
            error(libc::EPERM),
        ),
        (libc::SYS_clone3, NOTHING, error(libc::ENOSYS)),
        (libc::SYS_personality, NOTHING, ALLOW),
        (libc::SYS_personality, [0xFFFF_FFFF, 0, 0, 0, 0, 0], ALLOW),
        (
            libc::SYS_personality,
            [0x0040_0000, 0, 0, 0, 0, 0],
            error(libc::EPERM),
        ),
        (libc::SYS_io_uring_setup, NOTHING, error(libc::EPERM)),
        (libc::SYS_ptrace, NOTHING, error(libc::EPERM)),
        (libc::SYS_memfd_create, NOTHING, ALLOW),
    ] {
        assert_eq!(own(call, arguments), expected, "{call} {arguments:?}");
    }
    let listed = filter(Sockets::Own, true);
    let memfd = u32::try_from(libc::SYS_memfd_create).unwrap();
    assert_eq!(
        answer(&listed, ARCHITECTURE, memfd, NOTHING),
        error(libc::EPERM)
    );
}

#[test]
fn sockets_by_network() {
    let notify = libc::SECCOMP_RET_USER_NOTIF;
    let (unix, inet, inet6, netlink, packet, vsock) = (1, 2, 10, 16, 17, 40);
    let (stream, datagram, raw) = (1 | 0o2_000_000, 2, 3);
    let answers = |family, kind, protocol| {
        [
            Sockets::Own,
            Sockets::Machine,
            Sockets::None,
            Sockets::Direct,
        ]
        .map(|sockets| {
            let program = filter(sockets, false);
            let call = u32::try_from(libc::SYS_socket).unwrap();
            answer(
                &program,
                ARCHITECTURE,
                call,
                [family, kind, protocol, 0, 0, 0],
            )
        })
    };
    let no_family = error(libc::EAFNOSUPPORT);
    let no_protocol = error(libc::EPROTONOSUPPORT);
    let not_allowed = error(libc::EPERM);
    for (family, kind, protocol, expected) in [
        (unix, stream, 0, [ALLOW, ALLOW, ALLOW, no_family]),
        (inet, stream, 0, [ALLOW, notify, no_family, ALLOW]),
        (inet6, stream, 6, [ALLOW, notify, no_family, ALLOW]),
        (
            inet,
            stream,
            262,
            [no_protocol, no_protocol, no_family, no_protocol],
        ),
        (inet, datagram, 17, [ALLOW, notify, no_family, ALLOW]),
        (inet6, datagram, 58, [ALLOW, notify, no_family, ALLOW]),
        (
            inet,
            raw,
            1,
            [not_allowed, not_allowed, no_family, not_allowed],
        ),
        (netlink, raw, 0, [ALLOW, notify, no_family, ALLOW]),
        (
            netlink,
            raw,
            15,
            [no_protocol, no_protocol, no_family, no_protocol],
        ),
        (packet, raw, 3, [no_family; 4]),
        (vsock, stream, 0, [no_family; 4]),
    ] {
        assert_eq!(
            answers(family, kind, protocol),
            expected,
            "{family} {kind} {protocol}"
        );
    }
}
