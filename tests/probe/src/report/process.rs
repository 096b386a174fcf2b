//! What the process was given: identity, limits, environment, open files, mounts, settings.

use std::fs;
use std::io;

/// Lines of /proc/self/status that say what a program may do and how signals find it.
const STATUS: &[&str] = &[
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];

/// Settings that programs look at or that Docker changes.
const SETTINGS: &[&str] = &[
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range",
    "net/ipv4/ip_forward",
    "fs/nr_open",
    "fs/mqueue/msg_max",
    "vm/overcommit_memory",
    "vm/max_map_count",
    "kernel/pid_max",
    "kernel/shmmax",
    "kernel/unprivileged_userns_clone",
    "kernel/cap_last_cap",
];

pub(super) fn print() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
        if STATUS.contains(&name) {
            println!("process {name}: {}", words(value));
        }
    }
    for line in fs::read_to_string("/proc/self/limits")?.lines().skip(1) {
        // Columns of fixed width; units are of no interest.
        let (name, values) = line.split_at_checked(26).unwrap_or((line, ""));
        let values: Vec<&str> = values.split_whitespace().take(2).collect();
        println!("limit {}: {}", name.trim(), values.join(" "));
    }
    for (name, value) in std::env::vars() {
        println!("environment {name}: {value}");
    }
    println!("process cwd: {}", std::env::current_dir()?.display());
    println!("process argv: {:?}", std::env::args().collect::<Vec<_>>());
    println!("process number: {}", std::process::id());
    println!("process 1 has this environment: {}", fs::read("/proc/1/environ")? == fs::read("/proc/self/environ")?);
    println!("process oom_score_adj: {}", read("/proc/self/oom_score_adj"));
    println!("process session leader: {}", is_session_leader());
    println!("process cgroup: {}", read("/proc/self/cgroup").lines().next_back().unwrap_or_default());
    for descriptor in 0..10 {
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{descriptor}")) {
            // `pipe:[NUMBER]`: another number each time.
            let target = target.display().to_string();
            println!("descriptor {descriptor}: {}", target.split('[').next().unwrap_or_default());
        }
    }
    mounts()?;
    for name in SETTINGS {
        println!("setting {name}: {}", words(&read(&format!("/proc/sys/{name}"))));
    }
    println!("file /etc/hostname: {}", fs::exists("/etc/hostname")?);
    println!("file /etc/hosts localhost: {}", read("/etc/hosts").contains("127.0.0.1\tlocalhost"));
    println!("file /etc/resolv.conf: {}", fs::exists("/etc/resolv.conf")?);
    Ok(())
}

/// Where, what, and with which flags (proc_pid_mountinfo(5)).
fn mounts() -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let mut fields = line.split(' ');
        let (Some(place), Some(flags)) = (fields.nth(4), fields.next()) else { continue };
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        println!("mount {place}: {kind} {flags}");
    }
    Ok(())
}

fn is_session_leader() -> bool {
    let stat = read("/proc/self/stat");
    // Process, (name), state, parent, group, session.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(3).copied() == stat.split(' ').next()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| text.trim_end().to_owned())
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
