//! Which system calls a command may make: a filter program for the kernel.
//!
//! Everything ordinary is allowed; refused is what reaches the kernel's rare parts, what gives back what was
//! given up, and what leaves traps behind. Calls newer than this list do not exist for a command, so that
//! libraries fall back to older ones.

use libc::{c_long, sock_filter};

use super::settings::Network;

/// The highest call number of the kernels that this list was made for (`file_setattr`, Linux 6.17).
const NEWEST: u32 = 469;

/// Bits of a mode that make a program run as its owner.
const SET_ID: u32 = 0o6000;

/// Where the sockets of a command come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// From its own network namespace, which has nothing but a loopback.
    Own,
    /// From the machine's network, one by one through the helper; connecting is free.
    Machine,
    /// The same, and every connection is looked at.
    MachineLoopback,
    /// Only between its own processes: there is no network namespace, and connecting to a name is closed.
    None,
    /// The machine's own, for want of a network namespace; sockets with names in the file system are closed.
    Direct,
}

impl Sockets {
    /// What a network means where a command has a network namespace of its own.
    pub(super) fn in_namespace(network: Network) -> Self {
        match network {
            Network::Deny => Self::Own,
            Network::Loopback => Self::MachineLoopback,
            Network::Allow => Self::Machine,
        }
    }

    /// What a network means where it has none.
    pub(super) fn without_namespace(network: Network) -> Self {
        match network {
            Network::Deny => Self::None,
            Network::Loopback | Network::Allow => Self::Direct,
        }
    }

    /// Whether the helper answers some calls.
    pub(super) fn needs_helper(self) -> bool {
        matches!(self, Self::Machine | Self::MachineLoopback)
    }
}

/// The filter. `only_listed` closes what could start a program that is in no file.
pub(super) fn filter(sockets: Sockets, only_listed: bool) -> Vec<sock_filter> {
    let mut program = Program::default();
    program.prelude();
    // Frequent calls whose arguments matter come first; the kernel knows by itself which calls are
    // always allowed.
    program.creating(libc::SYS_openat, 2, 3);
    #[cfg(target_arch = "x86_64")]
    program.creating(libc::SYS_open, 1, 2);
    program.terminals();
    program.when_any_bit(libc::SYS_clone, 0, NAMESPACES, libc::EPERM);
    program.sockets(sockets);
    for (call, argument) in MODES {
        program.when_any_bit(*call, *argument, SET_ID, libc::EPERM);
    }
    program.personality();
    for call in [libc::SYS_clone3, libc::SYS_openat2] {
        program.refuse(call, libc::ENOSYS);
    }
    if only_listed {
        program.refuse(libc::SYS_memfd_create, libc::EPERM);
    }
    for call in REFUSED {
        program.refuse(*call, libc::EPERM);
    }
    program.give(libc::SECCOMP_RET_ALLOW);
    program.0
}

/// Flags of clone that make namespaces.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Calls that set a mode, and which argument it is.
const MODES: &[(c_long, u32)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mknodat, 2),
    (libc::SYS_mkdirat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
];

const FCHMODAT2: c_long = 452;

/// Calls that are refused whatever their arguments.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Rings that do file and socket work past this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys of the user.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Rare parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_memfd_secret,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    // Namespaces and mounts, old and new calls.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    STATMOUNT,
    LISTMOUNT,
    OPEN_TREE_ATTR,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;
const OPEN_TREE_ATTR: c_long = 467;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Requests of ioctl that type for the user of a terminal.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;

/// The flag of a stream that connects while it sends.
const FAST_OPEN: u32 = 0x2000_0000;

#[derive(Default)]
struct Program(Vec<sock_filter>);

impl Program {
    /// Calls of another architecture's tables, which have other numbers, end the process.
    fn prelude(&mut self) {
        const FIRST_OF_X32: u32 = 0x4000_0000;
        self.load(4);
        self.jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0);
        self.give(libc::SECCOMP_RET_KILL_PROCESS);
        self.load(0);
        self.jump(libc::BPF_JGE, FIRST_OF_X32, 0, 1);
        self.give(libc::SECCOMP_RET_KILL_PROCESS);
        self.jump(libc::BPF_JGT, NEWEST, 0, 1);
        self.fail(libc::ENOSYS);
    }

    /// A call that is refused whatever its arguments.
    fn refuse(&mut self, call: c_long, error: i32) {
        self.on(call, |body| body.fail(error));
    }

    /// A call that is refused when its argument has any of the bits.
    fn when_any_bit(&mut self, call: c_long, argument: u32, bits: u32, error: i32) {
        self.on(call, |body| {
            body.load_argument(argument);
            body.jump(libc::BPF_JSET, bits, 0, 1);
            body.fail(error);
            body.give(libc::SECCOMP_RET_ALLOW);
        });
    }

    /// A call that opens a file: only when it makes one does its mode count.
    fn creating(&mut self, call: c_long, flags: u32, mode: u32) {
        const MAKES: u32 = (libc::O_CREAT | 0o20_000_000) as u32;
        self.on(call, |body| {
            body.load_argument(flags);
            body.jump(libc::BPF_JSET, MAKES, 0, 3);
            body.load_argument(mode);
            body.jump(libc::BPF_JSET, SET_ID, 0, 1);
            body.fail(libc::EPERM);
            body.give(libc::SECCOMP_RET_ALLOW);
        });
    }

    /// Typing into a terminal for its user. The kernel looks at 32 bits of the request.
    fn terminals(&mut self) {
        self.on(libc::SYS_ioctl, |body| {
            body.load_argument(1);
            body.jump(libc::BPF_JEQ, TIOCSTI, 1, 0);
            body.jump(libc::BPF_JEQ, TIOCLINUX, 0, 1);
            body.fail(libc::EPERM);
            body.give(libc::SECCOMP_RET_ALLOW);
        });
    }

    /// Asking for the execution domain is free, as is the ordinary one.
    fn personality(&mut self) {
        self.on(libc::SYS_personality, |body| {
            body.load_argument(0);
            body.jump(libc::BPF_JEQ, 0, 2, 0);
            body.jump(libc::BPF_JEQ, u32::MAX, 1, 0);
            body.fail(libc::EPERM);
            body.give(libc::SECCOMP_RET_ALLOW);
        });
    }

    fn sockets(&mut self, sockets: Sockets) {
        let machine = match sockets {
            Sockets::Own | Sockets::Direct => Some(libc::SECCOMP_RET_ALLOW),
            Sockets::Machine | Sockets::MachineLoopback => Some(libc::SECCOMP_RET_USER_NOTIF),
            Sockets::None => None,
        };
        self.on(libc::SYS_socket, |body| {
            body.socket(machine, sockets != Sockets::Direct);
        });
        self.on(libc::SYS_socketpair, |body| {
            body.load_argument(0);
            body.jump(libc::BPF_JEQ, libc::AF_UNIX as u32, 1, 0);
            body.fail(libc::EAFNOSUPPORT);
            body.give(libc::SECCOMP_RET_ALLOW);
        });
        match sockets {
            Sockets::None => self.refuse(libc::SYS_connect, libc::EACCES),
            Sockets::MachineLoopback => {
                for call in [libc::SYS_connect, libc::SYS_bind, libc::SYS_listen] {
                    self.on(call, |body| body.give(libc::SECCOMP_RET_USER_NOTIF));
                }
                let flags = [
                    (libc::SYS_sendto, 3),
                    (libc::SYS_sendmsg, 2),
                    (libc::SYS_sendmmsg, 3),
                ];
                for (call, argument) in flags {
                    self.when_any_bit(call, argument, FAST_OPEN, libc::EOPNOTSUPP);
                }
            }
            Sockets::Own | Sockets::Machine | Sockets::Direct => {}
        }
    }

    /// `unix`: whether sockets with names in the file system may be made. `machine`: what is answered for
    /// internet sockets.
    fn socket(&mut self, machine: Option<u32>, unix: bool) {
        self.load_argument(0);
        if unix {
            self.jump(libc::BPF_JEQ, libc::AF_UNIX as u32, 0, 1);
            self.give(libc::SECCOMP_RET_ALLOW);
        }
        let Some(machine) = machine else {
            self.fail(libc::EAFNOSUPPORT);
            return;
        };
        // Of the kernel's own, only asking for addresses and routes.
        self.jump(libc::BPF_JEQ, libc::AF_NETLINK as u32, 0, 4);
        self.load_argument(2);
        self.jump(libc::BPF_JEQ, libc::NETLINK_ROUTE as u32, 0, 1);
        self.give(machine);
        self.fail(libc::EPROTONOSUPPORT);
        self.jump(libc::BPF_JEQ, libc::AF_INET as u32, 2, 0);
        self.jump(libc::BPF_JEQ, libc::AF_INET6 as u32, 1, 0);
        self.fail(libc::EAFNOSUPPORT);
        // Streams are TCP; datagrams are UDP or echo requests.
        self.load_argument(1);
        self.and(0xF);
        self.jump(libc::BPF_JEQ, libc::SOCK_STREAM as u32, 0, 5);
        self.load_argument(2);
        self.jump(libc::BPF_JEQ, 0, 1, 0);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_TCP as u32, 0, 1);
        self.give(machine);
        self.fail(libc::EPROTONOSUPPORT);
        self.jump(libc::BPF_JEQ, libc::SOCK_DGRAM as u32, 1, 0);
        self.fail(libc::EPERM);
        self.load_argument(2);
        self.jump(libc::BPF_JEQ, 0, 3, 0);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_UDP as u32, 2, 0);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_ICMP as u32, 1, 0);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_ICMPV6 as u32, 0, 1);
        self.give(machine);
        self.fail(libc::EPROTONOSUPPORT);
    }

    /// What happens on one call; the body must end with an answer on every way.
    fn on(&mut self, call: c_long, body: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        body(&mut inner);
        let length = u8::try_from(inner.0.len()).unwrap_or(u8::MAX);
        self.jump(
            libc::BPF_JEQ,
            u32::try_from(call).unwrap_or(u32::MAX),
            0,
            length,
        );
        self.0.append(&mut inner.0);
        // The number must be in the register for the next comparison; only a body that was jumped over
        // left it there, and only then does the program go on here.
    }

    fn load(&mut self, offset: u32) {
        self.statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    }

    /// The lower half of an argument: all that the kernel looks at in those that are compared here.
    fn load_argument(&mut self, argument: u32) {
        const ARGUMENTS: u32 = 16;
        self.load(ARGUMENTS + 8 * argument);
    }

    fn and(&mut self, mask: u32) {
        self.statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask);
    }

    fn fail(&mut self, error: i32) {
        self.give(libc::SECCOMP_RET_ERRNO | u32::try_from(error).unwrap_or(0));
    }

    fn give(&mut self, answer: u32) {
        self.statement(libc::BPF_RET | libc::BPF_K, answer);
    }

    fn statement(&mut self, code: u32, value: u32) {
        self.push(code, 0, 0, value);
    }

    fn jump(&mut self, test: u32, value: u32, yes: u8, no: u8) {
        self.push(libc::BPF_JMP | test | libc::BPF_K, yes, no, value);
    }

    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        let code = u16::try_from(code).unwrap_or(0);
        self.0.push(sock_filter { code, jt, jf, k });
    }
}

#[cfg(test)]
mod tests;
