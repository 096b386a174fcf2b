//! What a program may do here: each tried in a child, `ability NAME: yes` or why not.

use super::elf;
use super::kernel::{Ended, call, check, in_child, mount, open, set_xattr, socket, wait};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

type Attempt = fn() -> io::Result<()>;

/// Where files are made.
const SCRATCH: &str = "/probe-scratch";

const ABILITIES: &[(&str, Attempt)] = &[
    ("user namespace", || unshare(libc::CLONE_NEWUSER)),
    ("network namespace", || unshare(libc::CLONE_NEWNET)),
    ("PID namespace", || unshare(libc::CLONE_NEWPID)),
    ("mount namespace", || unshare(libc::CLONE_NEWNS)),
    ("cgroup namespace", || unshare(libc::CLONE_NEWCGROUP)),
    ("UTS namespace", || unshare(libc::CLONE_NEWUTS)),
    ("IPC namespace", || unshare(libc::CLONE_NEWIPC)),
    ("user namespace without root", || become_nobody().and_then(|()| unshare(libc::CLONE_NEWUSER))),
    ("loop device", loop_device),
    ("tun", tun),
    ("kmsg read", || File::open("/dev/kmsg").map(drop)),
    ("kmsg write", || File::options().write(true).open("/dev/kmsg")?.write_all(b"<7>probe\n")),
    ("fuse", || File::options().read(true).write(true).open("/dev/fuse").map(drop)),
    ("mqueue", message_queue),
    ("hugepages mount", || mount_new("hugetlbfs", "")),
    ("hugepages map", huge_page),
    ("seccomp filter", seccomp),
    ("seccomp filter without root", || become_nobody().and_then(|()| no_new_privileges()).and_then(|()| seccomp())),
    ("bpf program", bpf),
    ("bpf file system", || mount_new("bpf", "")),
    ("binfmt_misc mount", || mount_new("binfmt_misc", "")),
    ("tmpfs mount", || mount_new("tmpfs", "")),
    ("proc mount", || mount_new("proc", "")),
    ("overlay mount on tmpfs", overlay),
    ("bind mount", || mount(SCRATCH, "", SCRATCH, libc::MS_BIND, "")),
    ("xattr user", || set_xattr(&scratch("xattr")?, "user.probe", b"1")),
    ("xattr trusted", || set_xattr(&scratch("xattr")?, "trusted.probe", b"1")),
    ("xattr security.capability", || set_xattr(&scratch("xattr")?, "security.capability", NET_BIND)),
    ("POSIX ACL", || set_xattr(&scratch("acl")?, "system.posix_acl_access", ACL)),
    ("file capabilities", file_capabilities),
    ("setuid program", setuid_program),
    ("32-bit program", program_of_32_bits),
    ("script", || run_file("script", b"#!/probe exit 0\n")),
    ("memory file executed", || Command::new("/proc/self/exe").args(["exit", "0"]).status().map(drop)),
    ("write /proc/sys", || rewrite("/proc/sys/net/core/somaxconn")),
    ("write /proc/sys/kernel", || rewrite("/proc/sys/kernel/shmmni")),
    ("write /proc/sys/vm", || rewrite("/proc/sys/vm/swappiness")),
    ("write /proc/sys/fs", || rewrite("/proc/sys/fs/file-max")),
    ("write core_pattern", || rewrite("/proc/sys/kernel/core_pattern")),
    ("write /proc/sysrq-trigger", || File::options().write(true).open("/proc/sysrq-trigger").map(drop)),
    ("write /sys", || File::options().write(true).open("/sys/kernel/mm/ksm/run").map(drop)),
    ("write /sys/class/net", || File::options().write(true).open("/sys/class/net/lo/mtu").map(drop)),
    ("read /proc/kcore", || File::open("/proc/kcore").map(drop)),
    ("read /proc/config.gz", || File::open("/proc/config.gz").map(drop)),
    ("open /dev/mem", || File::open("/dev/mem").map(drop)),
    ("lower oom_score_adj", || fs::write("/proc/self/oom_score_adj", "-1000")),
    ("cgroup read", || fs::read("/sys/fs/cgroup/cgroup.controllers").map(drop)),
    ("cgroup made", cgroup),
    ("cgroup controllers", || fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids")),
    ("mknod character device", || mknod("char", libc::S_IFCHR, libc::makedev(1, 3))),
    ("mknod block device", || mknod("block", libc::S_IFBLK, libc::makedev(7, 200))),
    ("use a device that was made", use_made_device),
    ("chroot", || std::os::unix::fs::chroot("/")),
    ("pivot_root", pivot_root),
    ("ptrace", ptrace),
    ("raw socket", || socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).map(drop)),
    ("packet socket", || socket(libc::AF_PACKET, libc::SOCK_RAW, 0).map(drop)),
    ("netlink socket", || socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(drop)),
    ("audit socket", || socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT).map(drop)),
    ("crypto socket", || socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0).map(drop)),
    ("vsock socket", || socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(drop)),
    ("unix socket", || std::os::unix::net::UnixListener::bind(scratch("socket")? + ".s").map(drop)),
    ("IPv6", || UdpSocket::bind("[::1]:0").map(drop)),
    ("port 80 without root", || become_nobody().and_then(|()| TcpListener::bind("127.0.0.1:80").map(drop))),
    ("ping without root", ping_without_root),
    ("System V shared memory", || call(libc::SYS_shmget, [0, 4096, 0o600, 0, 0]).map(drop)),
    ("shared memory executable", shared_memory),
    ("memfd", || call(libc::SYS_memfd_create, [c"probe".as_ptr() as usize, 0, 0, 0, 0]).map(drop)),
    ("inotify", || call(libc::SYS_inotify_init1, [0; 5]).map(drop)),
    ("fanotify", || call(libc::SYS_fanotify_init, [0, libc::O_RDONLY as usize, 0, 0, 0]).map(drop)),
    ("io_uring", io_uring),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0]).map(drop)),
    ("perf_event_open", perf),
    ("keyring", keyring),
    ("landlock", || call(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0]).map(drop)),
    ("pidfd", || call(libc::SYS_pidfd_open, [std::process::id() as usize, 0, 0, 0, 0]).map(drop)),
    ("nice -20", || call(libc::SYS_setpriority, [0, 0, -20_isize as usize, 0, 0]).map(drop)),
    ("real-time scheduling", real_time),
    ("mlockall", || call(libc::SYS_mlockall, [1, 0, 0, 0, 0]).map(drop)),
    ("sethostname", || call(libc::SYS_sethostname, [c"probe".as_ptr() as usize, 5, 0, 0, 0]).map(drop)),
    ("pseudo-terminal", || File::options().read(true).write(true).open("/dev/ptmx").map(drop)),
    ("random numbers", || File::open("/dev/urandom")?.read_exact(&mut [0; 16])),
    ("core dump", core_dump),
];

pub(super) fn print() {
    let _ = fs::create_dir(SCRATCH);
    for (name, attempt) in ABILITIES {
        match in_child(attempt) {
            Ok(()) => println!("ability {name}: yes"),
            Err(error) => println!("ability {name}: {error}"),
        }
    }
    let _ = fs::remove_dir_all(SCRATCH);
}

/// A file capability set of version 2: cap_net_bind_service, permitted and effective (capabilities(7)).
const NET_BIND: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// An access list with an entry for user 1 (acl(5)), as Linux stores it: version, then tag, permissions, identity.
const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x01\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

fn unshare(flags: i32) -> io::Result<()> {
    call(libc::SYS_unshare, [flags as usize, 0, 0, 0, 0]).map(drop)
}

fn become_nobody() -> io::Result<()> {
    call(libc::SYS_setgid, [65534, 0, 0, 0, 0])?;
    call(libc::SYS_setuid, [65534, 0, 0, 0, 0]).map(drop)
}

fn no_new_privileges() -> io::Result<()> {
    call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]).map(drop)
}

/// An empty file.
fn scratch(name: &str) -> io::Result<String> {
    let path = format!("{SCRATCH}/{name}");
    File::create(&path)?;
    Ok(path)
}

fn ioctl(fd: RawFd, request: usize, argument: usize) -> io::Result<i64> {
    call(libc::SYS_ioctl, [fd as usize, request, argument, 0, 0])
}

/// Attaches a file and reads it through the device (loop(4)).
fn loop_device() -> io::Result<()> {
    const LOOP_CTL_GET_FREE: usize = 0x4C82;
    const LOOP_SET_FD: usize = 0x4C00;
    const LOOP_CLR_FD: usize = 0x4C01;
    let path = scratch("loop")?;
    fs::write(&path, [7; 4096])?;
    let number = ioctl(File::open("/dev/loop-control")?.as_raw_fd(), LOOP_CTL_GET_FREE, 0)?;
    let device = format!("/dev/loop{number}");
    if !fs::exists(&device)? {
        // Docker shows the devices of the moment when the container started.
        mknod_at(&device, libc::S_IFBLK, libc::makedev(7, u32::try_from(number).map_err(io::Error::other)?))?;
    }
    let mut device = File::open(device)?;
    let backing = File::open(path)?;
    ioctl(device.as_raw_fd(), LOOP_SET_FD, backing.as_raw_fd() as usize)?;
    let mut byte = [0];
    let read = device.read_exact(&mut byte);
    ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0)?;
    read?;
    expect(byte == [7])
}

fn tun() -> io::Result<()> {
    const TUNSETIFF: usize = 0x4004_54ca;
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..6].copy_from_slice(b"probe0");
    request[16] = 1; // IFF_TUN
    ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_ptr() as usize).map(drop)
}

fn message_queue() -> io::Result<()> {
    let flags = (libc::O_CREAT | libc::O_RDWR) as usize;
    open(libc::SYS_mq_open, [c"probe".as_ptr() as usize, flags, 0o600, 0, 0])?;
    let seen = fs::exists("/dev/mqueue/probe")?;
    call(libc::SYS_mq_unlink, [c"probe".as_ptr() as usize, 0, 0, 0, 0])?;
    expect(seen)
}

fn huge_page() -> io::Result<()> {
    rewrite("/proc/sys/vm/nr_hugepages")?;
    let before = fs::read_to_string("/proc/sys/vm/nr_hugepages")?;
    fs::write("/proc/sys/vm/nr_hugepages", "4")?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 2 << 20, libc::PROT_READ, flags, -1, 0) };
    let mapped = if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) };
    fs::write("/proc/sys/vm/nr_hugepages", before)?;
    mapped
}

/// Lets everything pass.
fn seccomp() -> io::Result<()> {
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    let mut allow = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: SECCOMP_RET_ALLOW }];
    let program = libc::sock_fprog { len: 1, filter: allow.as_mut_ptr() };
    call(libc::SYS_seccomp, [1, 0, &raw const program as usize, 0, 0]).map(drop)
}

/// A socket filter that returns zero (bpf(2)).
fn bpf() -> io::Result<()> {
    const BPF_PROG_LOAD: usize = 5;
    const SOCKET_FILTER: u32 = 1;
    // r0 = 0; exit
    let code: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    let mut attributes = [0_u8; 48];
    attributes[0..4].copy_from_slice(&SOCKET_FILTER.to_ne_bytes());
    attributes[4..8].copy_from_slice(&2_u32.to_ne_bytes());
    attributes[8..16].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    attributes[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    call(libc::SYS_bpf, [BPF_PROG_LOAD, attributes.as_ptr() as usize, attributes.len(), 0, 0]).map(drop)
}

/// In a mount namespace of its own.
fn mount_new(kind: &str, data: &str) -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    fs::create_dir_all(format!("{SCRATCH}/mount"))?;
    mount("probe", kind, &format!("{SCRATCH}/mount"), 0, data)
}

fn overlay() -> io::Result<()> {
    mount_new("tmpfs", "")?;
    let place = format!("{SCRATCH}/mount");
    for name in ["lower", "upper", "work", "joined"] {
        fs::create_dir(format!("{place}/{name}"))?;
    }
    let layers = format!("lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work");
    mount("overlay", "overlay", &format!("{place}/joined"), 0, &layers)
}

fn copy_of_probe(name: &str) -> io::Result<String> {
    let path = format!("{SCRATCH}/{name}");
    fs::copy("/proc/self/exe", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A program that has a capability by its file, run by somebody without.
fn file_capabilities() -> io::Result<()> {
    let path = copy_of_probe("capable")?;
    set_xattr(&path, "security.capability", NET_BIND)?;
    let output = Command::new(path).args(["cat", "/proc/self/status"]).uid(65534).gid(65534).output()?;
    expect(String::from_utf8_lossy(&output.stdout).contains("CapEff:\t0000000000000400"))
}

fn setuid_program() -> io::Result<()> {
    let path = copy_of_probe("setuid")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
    let output = Command::new(path).args(["cat", "/proc/self/status"]).uid(65534).gid(65534).output()?;
    expect(String::from_utf8_lossy(&output.stdout).contains("Uid:\t65534\t0\t0\t0"))
}

fn program_of_32_bits() -> io::Result<()> {
    let path = scratch("32-bit")?;
    fs::write(&path, elf::program())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    expect(Command::new(path).status()?.code() == Some(elf::STATUS))
}

fn run_file(name: &str, content: &[u8]) -> io::Result<()> {
    let path = scratch(name)?;
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    // The kernel hands a script's arguments over as one word, and the script's path after it.
    Command::new(path).stdout(std::process::Stdio::null()).status().map(drop)
}

fn rewrite(path: &str) -> io::Result<()> {
    let value = fs::read(path)?;
    fs::write(path, value)
}

fn cgroup() -> io::Result<()> {
    fs::create_dir("/sys/fs/cgroup/probe")?;
    let joined = fs::write("/sys/fs/cgroup/probe/cgroup.procs", "0");
    fs::write("/sys/fs/cgroup/cgroup.procs", "0")?;
    fs::remove_dir("/sys/fs/cgroup/probe")?;
    joined
}

fn mknod(name: &str, kind: u32, device: libc::dev_t) -> io::Result<()> {
    mknod_at(&format!("{SCRATCH}/{name}"), kind, device)
}

fn mknod_at(path: &str, kind: u32, device: libc::dev_t) -> io::Result<()> {
    let path = std::ffi::CString::new(path)?;
    // SAFETY: a string that lives through the call, and numbers.
    check(unsafe { libc::mknod(path.as_ptr(), kind | 0o600, device) }).map(drop)
}

fn use_made_device() -> io::Result<()> {
    mknod("null", libc::S_IFCHR, libc::makedev(1, 3))?;
    File::options().write(true).open(format!("{SCRATCH}/null"))?.write_all(b"x")
}

fn pivot_root() -> io::Result<()> {
    mount_new("tmpfs", "")?;
    let place = format!("{SCRATCH}/mount");
    fs::create_dir(format!("{place}/old"))?;
    std::env::set_current_dir(&place)?;
    call(libc::SYS_pivot_root, [c".".as_ptr() as usize, c"old".as_ptr() as usize, 0, 0, 0]).map(drop)
}

/// Attaches to a child that waits.
fn ptrace() -> io::Result<()> {
    let mut child =
        Command::new("/proc/self/exe").args(["cat", "/dev/kmsg"]).stdout(std::process::Stdio::null()).spawn()?;
    let attached = call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, child.id() as usize, 0, 0, 0]);
    child.kill()?;
    attached.map(drop)
}

fn ping_without_root() -> io::Result<()> {
    become_nobody()?;
    socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP).map(drop)
}

fn shared_memory() -> io::Result<()> {
    let path = "/dev/shm/probe";
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(4096)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, both, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    fs::remove_file(path)?;
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn io_uring() -> io::Result<()> {
    let mut parameters = [0_u8; 120];
    call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as usize, 0, 0, 0]).map(drop)
}

/// Counts the processor time of this process.
fn perf() -> io::Result<()> {
    let mut attributes = [0_u8; 112];
    attributes[0] = 1; // PERF_TYPE_SOFTWARE; the configuration 0 is the processor's clock
    attributes[4] = 112;
    call(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0]).map(drop)
}

fn keyring() -> io::Result<()> {
    const PROCESS_KEYRING: isize = -2;
    let (kind, name) = (c"user".as_ptr() as usize, c"probe".as_ptr() as usize);
    call(libc::SYS_add_key, [kind, name, name, 5, PROCESS_KEYRING as usize]).map(drop)
}

fn real_time() -> io::Result<()> {
    let priority: i32 = 1; // the whole of the kernel's sched_param
    call(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO as usize, &raw const priority as usize, 0, 0]).map(drop)
}

/// Whether a program that dies badly would leave a core: by its limit.
fn core_dump() -> io::Result<()> {
    // SAFETY: fork(2) of a process with one thread.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        std::process::abort();
    }
    match wait(child)? {
        Ended::Killed(libc::SIGABRT) => Ok(()),
        Ended::Killed(_) | Ended::Exited(_) => expect(false),
    }
}

fn expect(is_so: bool) -> io::Result<()> {
    if is_so { Ok(()) } else { Err(io::Error::other("not as expected")) }
}
