//! What neither rustix nor nix offers as safe code. Every `unsafe` of init stands in this file and those below it.

pub mod block;
pub mod clock;
pub mod firmware;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, Pid};
use rustix::thread::UnshareFlags;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Runs `child` in a child process, whose exit status is what it returns.
///
/// # Errors
/// What fork(2) answers.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: init has one thread, so the child inherits no lock that another thread holds.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => std::process::exit(child()),
    }
}

/// As [`fork`], but the child is PID 1 of a PID namespace of its own.
///
/// # Errors
/// What clone(2) answers.
pub fn fork_as_pid1(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let (flags, none) = (libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD), libc::c_long::from(0));
    // SAFETY: without memory or a stack to share clone(2) is fork(2), for a process of one thread. The C library's own
    // fork(3) would note the child's thread id; the one that it knows, init's, is the child's as well: 1.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
        0 => std::process::exit(child()),
        pid if pid > 0 => Ok(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves namespaces for new ones (unshare(2)).
///
/// # Errors
/// What unshare(2) answers.
pub fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    let namespaces = namespaces - UnshareFlags::FILES;
    // SAFETY: only a table of descriptors that threads no longer share is unsafe, and that flag is not among them.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

/// Gives a signal its default effect: Rust's runtime ignores SIGPIPE, and a program would inherit that.
///
/// # Errors
/// What sigaction(2) answers.
pub fn default_disposition(which: Signal) -> io::Result<()> {
    // SAFETY: no handler of ours is installed or replaced.
    unsafe { signal(which, SigHandler::SigDfl) }?;
    Ok(())
}

/// Sends a signal by its number: nix and rustix name the classic ones only, and an image may ask for a real-time one.
///
/// # Errors
/// What kill(2) answers.
pub fn kill(process: Pid, signal: u8) -> io::Result<()> {
    // SAFETY: kill(2) takes two numbers.
    check(unsafe { libc::kill(process.as_raw(), signal.into()) })?;
    Ok(())
}

/// Blocks signals, given by their numbers, and opens a file that tells of them instead (signalfd(2)). nix would do,
/// but for real-time signals.
///
/// # Errors
/// What the system calls answer.
pub fn signal_file(numbers: impl Iterator<Item = i32>) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) writes the whole set, so it is initialized afterwards.
    let mut set = unsafe {
        check(libc::sigemptyset(set.as_mut_ptr()))?;
        set.assume_init()
    };
    for number in numbers {
        // SAFETY: `set` is a set of signals, and a number that is none is an error.
        check(unsafe { libc::sigaddset(&raw mut set, number) })?;
    }
    // SAFETY: the set is read during the call only, and the old one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: the set is read during the call only; -1 makes a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the descriptor was made by the line before, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A packet socket (packet(7)) for IPv4 on one link: what is sent carries its IP header, what arrives does too.
///
/// # Errors
/// What the system calls answer.
pub fn ipv4_packet_socket(link: u32, filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes no pointers. Protocol 0 receives nothing until bind names one, so no packet
    // slips in before the filter.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor was made by the line before, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };

    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `program`, and the `len` instructions it points at, during the call only.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_as_socklen::<libc::sock_fprog>(),
        )
    })?;
    let address = link_address(link, [0; 6])?;
    // SAFETY: `address` is a whole sockaddr_ll that lives through the call, and the length is its own.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), size_of_as_socklen::<libc::sockaddr_ll>()) })?;
    Ok(socket)
}

/// Sends an IPv4 packet from a packet socket to a hardware address on its link.
///
/// # Errors
/// What sendto(2) answers.
pub fn send_on_link(socket: impl AsFd, link: u32, to: [u8; 6], packet: &[u8]) -> io::Result<()> {
    let address = link_address(link, to)?;
    // SAFETY: packet and address are borrowed for the call, each with its own length.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            size_of_as_socklen::<libc::sockaddr_ll>(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn link_address(link: u32, hardware: [u8; 6]) -> io::Result<libc::sockaddr_ll> {
    let mut sll_addr = [0; 8];
    sll_addr[..6].copy_from_slice(&hardware);
    Ok(libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: i32::try_from(link).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    })
}

fn size_of_as_socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
