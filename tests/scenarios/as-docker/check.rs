//! Compares what a program finds on the machine with what it found in a container: `docker-report.txt`, which
//! `./record` makes anew. It is a recording because the comparison needs a host where the Docker Engine runs
//! unrestricted, which a machine that runs tests seldom is.

use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check };

/// Facts that may differ, by a pattern of their names, and why.
const ACCEPTED: &[(&str, &str)] = &[
    ("process Cap(Prm|Eff|Bnd)", "the recording's host withholds CAP_SYS_RESOURCE and knew no capabilities above 37"),
    ("ability (lower oom_score_adj|real-time scheduling|ptrace|use a device that was made)", "withheld by that host"),
    ("process cgroup", "the recording's host has cgroups of version 1"),
    ("ability cgroup (read|made|controllers)", "the recording's host has cgroups of version 1"),
    ("(mount|directory) /sys/fs/cgroup.*", "the recording's host has cgroups of version 1"),
    ("limit Max (locked memory|open files|pending signals|processes)", "never less than the host's own"),
    ("mount /", "a real overlay, where Docker had one in user space"),
    ("mount /dev", "devtmpfs, where Docker copies the host's devices into a tmpfs"),
    ("mount /etc/(hosts|hostname|resolv.conf)", "files of the root itself, which a program may replace"),
    ("mount /(dev/hugepages|sys/fs/bpf|sys/kernel/security)", "mounted for the program, which could do so itself"),
    ("directory /(dev/hugepages|sys/fs/bpf)", "mounted for the program, which could do so itself"),
    ("device /dev/console", "Docker has one with `-t` only"),
    ("device /dev/core", "as udev makes it, for programs that expect a host's /dev"),
    ("device /dev/ptmx", "the device itself, where Docker has a link to it"),
    ("device /dev/(cpu_dma_latency|userfaultfd)", "the kernel gives out these numbers as it starts"),
    (
        "device /dev/(cpu/.*|autofs|btrfs-control|kvm|vga_arbiter|vhost.*|vsock|zram0|snapshot|mcelog|nvram)",
        "the host's",
    ),
    ("device /dev/(vd|sd|nvme|ng|dm-)[a-z0-9]*", "the machine's disks"),
    ("device /dev/(efi_test|hpet|hwrng|input/.*|mapper/control|rtc.*|ptp.*|ttyS\\d+|random)", "the machine's hardware"),
    ("device /dev/(tty|vcs[au]?)\\d*", "the machine has no screen"),
    ("device /dev/loop\\d+", "made when one is asked for, by /dev/loop-control"),
    ("setting net/ipv4/ip_forward", "the Docker daemon forwards for its containers, a machine has none"),
    (
        "setting kernel/unprivileged_userns_clone",
        "a patch of the host's kernel or of the stock one; allowed where it exists",
    ),
    ("ability IPv6", "the recording has no network"),
    ("ability (audit|vsock) socket", "the kernel is built without"),
    ("ability read /proc/config.gz", "a module, which nothing loads by itself"),
    ("ability write /proc/sysrq-trigger", "the recording's host has none"),
];

fn check(vm: &mut Vm, scenario: &Scenario) -> Result<()> {
    let path = scenario.folder.join("docker-report.txt");
    let recorded = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let console: Vec<String> = vm.console().lines().into_iter().map(|line| line.text).collect();
    let (container, machine) = (facts(recorded.lines()), facts(console.iter().map(String::as_str)));
    ensure!(machine.len() > 150, "the report is not whole: {} facts", machine.len());

    let accepted: Vec<Regex> =
        ACCEPTED.iter().map(|(name, _)| Regex::new(&format!("^{name}$"))).collect::<Result<_, _>>()?;
    let names: std::collections::BTreeSet<&String> = container.keys().chain(machine.keys()).collect();
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| container.get(*name) != machine.get(*name))
        .filter(|name| !accepted.iter().any(|pattern| pattern.is_match(name)))
        .map(|name| {
            format!("{name}: {:?} in the container, {:?} on the machine", container.get(name), machine.get(name))
        })
        .collect();
    ensure!(differences.is_empty(), "a program sees the difference:\n{}", differences.join("\n"));
    Ok(())
}

/// By their names, `SECTION NAME`.
fn facts<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let lines = lines.skip_while(|line| *line != "report begins").take_while(|line| *line != "report ends");
    lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
