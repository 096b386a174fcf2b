//! The kernel settings that a machine has, and what can be said about a name that is none of them.

use crate::embedded;
use std::str::FromStr;

/// Names that are told where one is not known.
const SUGGESTIONS: usize = 3;
/// How alike two names must be for one to be told, of 1: below, it is no help.
const LIKENESS: f64 = 0.7;

/// The file below `kernel/` that lists them; a boot test compares it with a machine (`tests/scenarios/settings`).
const FILE: &str = "sysctls.txt";

/// All settings of our own kernel: one a line, `NAME` with `*` for a part that is each interface's or processor's, and
/// behind it `ro` where it can only be read, or the name of the module that brings it.
#[derive(Debug)]
pub struct Settings<'a>(Vec<Setting<'a>>);

#[derive(Debug, Clone, Copy)]
struct Setting<'a> {
    name: &'a str,
    note: &'a str,
}

impl Settings<'static> {
    /// Those of the kernel that this program builds.
    #[must_use]
    pub fn own() -> Self {
        let file = embedded::KERNEL.iter().find(|file| file.path == FILE);
        Settings::parse(file.and_then(|file| str::from_utf8(file.content).ok()).unwrap_or_default())
    }
}

impl<'a> Settings<'a> {
    fn parse(text: &'a str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Settings(
            lines
                .map(|line| {
                    let (name, note) = line.split_once(' ').unwrap_or((line, ""));
                    Setting { name, note }
                })
                .collect(),
        )
    }

    /// Checks that a machine can have a setting set before its program starts.
    ///
    /// # Errors
    /// A sentence with what stands in the way.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let name = &dotted(name);
        // Nobody listed them: init says at boot what the kernel refuses.
        if self.0.is_empty() {
            return Ok(());
        }
        let Some(setting) = self.0.iter().find(|setting| matches(setting.name, name)) else {
            return Err(self.unknown(name));
        };
        match setting.note {
            "" => Ok(()),
            "ro" => Err(format!("{name} can only be read: the kernel lets nobody set it")),
            module => Err(format!(
                "{name} comes with the kernel module {module}, which is not loaded yet when settings are made: \
                 give --late-modules, and let the application set it once it has loaded the module"
            )),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let mut near: Vec<(f64, &str)> = self
            .0
            .iter()
            .map(|setting| (strsim::jaro_winkler(setting.name, name).max(last_part(setting.name, name)), setting.name))
            .filter(|(likeness, _)| *likeness >= LIKENESS)
            .collect();
        near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let near: Vec<&str> = near.iter().take(SUGGESTIONS).map(|(_, name)| *name).collect();
        let advice = match near[..] {
            [] => String::new(),
            _ => format!("; near to it are: {}", near.join(", ")),
        };
        format!("the kernel has no setting {name}{advice}")
    }
}

/// How alike the last parts are, for a setting that is looked for in the wrong directory. Less counts than the whole.
fn last_part(one: &str, other: &str) -> f64 {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    if last(one) == last(other) { 0.99 } else { 0.0 }
}

/// The name with dots between its parts. The first separator decides, as in sysctl(8): after a slash, it is a path, and
/// dots in it belong to interfaces' names.
fn dotted(name: &str) -> String {
    let is_path = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'/'));
    if !is_path {
        return name.to_owned();
    }
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// Whether a pattern's parts are those of a name; a part `*` is any, and `cpu*` any that starts so.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('.'), name.split('.'));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) => {
                let fits = match wanted.strip_suffix('*') {
                    Some(start) => part.len() > start.len() && part.starts_with(start) || wanted == part,
                    None => wanted == part,
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// As sysctl(8) takes it.
    pub name: String,
    /// What is written into its file.
    pub value: String,
}

impl FromStr for Sysctl {
    type Err = String;

    /// `NAME=VALUE`. VMify's users write `-s:net.core.somaxconn=4096`, with a colon.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix(':').unwrap_or(text);
        let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
        if !initramfs::image::is_sysctl(name) {
            return Err(format!("{name:?} is no kernel setting, such as vm.swappiness"));
        }
        Ok(Sysctl { name: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# comment\nkernel.ostype ro\nkernel.pid_max\nnet.bridge.bridge-nf-call-iptables br_netfilter\n\
                        net.core.somaxconn\nnet.ipv4.conf.*.rp_filter\nkernel.sched_domain.cpu*.flags\nvm.swappiness\n";

    #[test]
    fn names_are_found_in_both_spellings_and_for_each_interface() {
        let settings = Settings::parse(LIST);
        for name in [
            "vm.swappiness",
            "vm/swappiness",
            "net.ipv4.conf.eth0.rp_filter",
            "net/ipv4/conf/eth0.1/rp_filter",
            "net.ipv4.conf.*.rp_filter",
            "kernel.sched_domain.cpu0.flags",
        ] {
            assert_eq!(settings.check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_set_is_said_with_a_way_out() {
        let refused = |name: &str| Settings::parse(LIST).check(name).unwrap_err();
        assert_eq!(refused("vm.swapiness"), "the kernel has no setting vm.swapiness; near to it are: vm.swappiness");
        assert!(
            refused("net.ipv4.somaxconn")
                .starts_with("the kernel has no setting net.ipv4.somaxconn; near to it are: net.core.somaxconn")
        );
        assert_eq!(refused("qqq.zzz"), "the kernel has no setting qqq.zzz");
        assert_eq!(refused("kernel.ostype"), "kernel.ostype can only be read: the kernel lets nobody set it");
        assert!(refused("net.bridge.bridge-nf-call-iptables").contains("comes with the kernel module br_netfilter, "));
        for name in ["net.ipv4.conf.rp_filter", "vm.swappiness.x", "kernel.sched_domain.cpu.flags", "vm"] {
            assert!(refused(name).starts_with("the kernel has no setting "), "{name}");
        }
    }

    #[test]
    fn settings_are_read_in_both_spellings() {
        let read = |text: &str| text.parse::<Sysctl>().map(|setting| (setting.name, setting.value));
        assert_eq!(read("vm.swappiness=1"), Ok(("vm.swappiness".to_owned(), "1".to_owned())));
        assert_eq!(read(":dev.hpet.max-user-freq=64").unwrap().0, "dev.hpet.max-user-freq");
        assert_eq!(read("kernel.core_pattern=|/x a=b").unwrap().1, "|/x a=b");
        assert_eq!(read("vm.swappiness").unwrap_err(), "it is not NAME=VALUE");
        assert!(read("../../etc/passwd=x").unwrap_err().contains("is no kernel setting"));
    }
}
