//! Compares the kernel settings that a machine has with the list that `builder` carries, in both directions.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;
use tests::workspace;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check };

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let path = workspace::root().join("kernel/sysctls.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    // What a module brings is not there until it is loaded.
    let listed: BTreeSet<String> =
        lines.filter(|line| line.ends_with(" ro") || !line.contains(' ')).map(str::to_owned).collect();
    let console = vm.console().lines();
    let found: BTreeSet<String> =
        console.iter().filter_map(|line| line.text.strip_prefix("setting ")).map(pattern).collect();
    ensure!(found.len() > 300, "the machine's list is not whole: {} settings", found.len());
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).map(|name| format!("\n{name}")).collect::<String>()
    };
    ensure!(
        found == listed,
        "kernel/sysctls.txt is not what the machine has.\nOnly the machine has:{}\nOnly the file has:{}",
        only(&found, &listed),
        only(&listed, &found)
    );
    Ok(())
}

/// A name as the list has it: what is each interface's or processor's is there once, with a star.
fn pattern(line: &str) -> String {
    let (name, note) = line.split_once(' ').map_or((line, ""), |(name, note)| (name, note));
    let parts: Vec<&str> = name.split('.').collect();
    let name = match parts[..] {
        ["net", family @ ("ipv4" | "ipv6" | "mpls"), kind @ ("conf" | "neigh"), _, last] => {
            format!("net.{family}.{kind}.*.{last}")
        }
        ["kernel", "sched_domain", _, _, last] => format!("kernel.sched_domain.cpu*.domain*.{last}"),
        _ => name.to_owned(),
    };
    if note.is_empty() { name } else { format!("{name} {note}") }
}
