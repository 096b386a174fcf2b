//! The options that say how the machine behaves: what `docker run` has options for, and what only a machine has.

use builder::machine::{Options, RootOptions};
use builder::sysctls::Sysctl;
use clap::{ArgAction, Args};
use initramfs::image::{BadUserData, MissingMetadata, OnExit, Swap, UserData};
use initramfs::limits::{Limits, NamedLimit};

/// The least and the most that a swap volume has, in MiB: its mark takes two ([`initramfs::swap_mark`]), and swap's own
/// header counts pages in 32 bits.
const SWAP_MIB: std::ops::RangeInclusive<u64> = 8..=1 << 20;

/// How the machine behaves.
#[derive(Debug, Args)]
#[command(next_help_heading = "The machine")]
pub(crate) struct MachineArgs {
    /// Reboot instead of powering off when the entrypoint exits
    #[arg(short = 'b', long)]
    pub(crate) reboot: bool,

    /// Show on the console what happens at boot
    #[arg(short, long)]
    pub(crate) debug: bool,

    /// Size of the second volume, which becomes encrypted swap where it is marked or blank, in GiB, or in MiB as 512M; 0: none
    #[arg(short = 'w', long, value_name = "GIB", allow_negative_numbers = true, default_value = "1", value_parser = swap_size)]
    pub(crate) swap: u64,

    /// Leave the swap unencrypted
    #[arg(long)]
    pub(crate) plain_swap: bool,

    /// A kernel setting, such as net.core.somaxconn=4096; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<Sysctl>,

    /// Let nothing be written but /tmp, /run and the image's volumes
    #[arg(long, conflicts_with = "overlay_size")]
    pub(crate) read_only: bool,

    /// How much may be written, in memory and swap [default: half of the memory, and the swap]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) overlay_size: Option<u32>,

    /// Start the entrypoint at once, without waiting for the network's address
    #[arg(long)]
    pub(crate) no_wait_network: bool,

    /// Pack all of the kernel's modules, and let them be loaded for the machine's life
    #[arg(long)]
    pub(crate) late_modules: bool,

    /// Let nobody gain privileges by setuid programs
    #[arg(long)]
    pub(crate) no_new_privileges: bool,

    /// A resource limit as docker run takes it, such as core=-1 or nofile=1024:4096; may be repeated
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<NamedLimit>,

    /// Run the entrypoint as PID 1, as Docker does; no: signals have their default effect on it, init reaps orphans
    /// [default: yes; no for projects and payloads]
    #[arg(long, value_name = "YES|NO", default_missing_value = "yes", value_parser = yes_or_no)]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub(crate) pid1: Option<bool>,

    /// Take environment, process, arguments, host name and settings from user data: on ec2 (and those of run --config), always
    /// or never
    #[arg(long, value_name = "WHEN", default_value = "ec2", value_parser = user_data)]
    pub(crate) user_data: UserData,

    /// What to do where user data cannot be acted on: ignore them, or halt
    #[arg(long, value_name = "WHAT", default_value = "ignore", value_parser = bad_user_data)]
    pub(crate) bad_user_data: BadUserData,

    /// What to do where the metadata service says nothing for two minutes: halt, or ignore it
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = missing_metadata)]
    pub(crate) missing_metadata: MissingMetadata,

    /// The machine's name until the network tells another [default: localhost]
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    pub(crate) hostname: Option<String>,

    /// Seconds that the entrypoint has to stop before it is killed [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=86_400))]
    pub(crate) stop_timeout: Option<u32>,
}

impl MachineArgs {
    /// What they say, as values of the contract.
    pub(crate) fn options(&self) -> Options {
        let mut limits = Limits::default();
        for NamedLimit(name, limit) in &self.ulimit {
            limits.set((name.clone(), *limit));
        }
        let swap = Swap { device: "xvdb".to_owned(), bytes: self.swap, encrypted: !self.plain_swap };
        Options {
            on_exit: if self.reboot { OnExit::Reboot } else { OnExit::PowerOff },
            debug: self.debug,
            sysctls: self.sysctl.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect(),
            swap: (self.swap > 0).then_some(swap),
            root: RootOptions { read_only: self.read_only, overlay_mib: self.overlay_size },
            no_wait_network: self.no_wait_network,
            late_modules: self.late_modules,
            no_new_privileges: self.no_new_privileges,
            limits,
            pid1: self.pid1,
            user_data: self.user_data,
            bad_user_data: self.bad_user_data,
            missing_metadata: self.missing_metadata,
            hostname: self.hostname.clone(),
            stop_timeout: self.stop_timeout,
        }
    }
}

/// Gives bytes.
fn swap_size(text: &str) -> Result<u64, String> {
    let (number, mib) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1),
        None => (text.strip_suffix(['G', 'g']).unwrap_or(text), 1024),
    };
    let number: u64 =
        number.parse().map_err(|_| "it is not a number of GiB, or of MiB with an M behind it".to_owned())?;
    let size = number.saturating_mul(mib);
    if size > 0 && !SWAP_MIB.contains(&size) {
        return Err("swap has 8 MiB at least and 1024 GiB at most; 0 is none".to_owned());
    }
    Ok(size << 20)
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it is yes or no".to_owned()),
    }
}

fn user_data(text: &str) -> Result<UserData, String> {
    match text {
        "ec2" => Ok(UserData::Ec2),
        "always" => Ok(UserData::Always),
        "never" => Ok(UserData::Never),
        _ => Err("it is ec2, always or never".to_owned()),
    }
}

fn bad_user_data(text: &str) -> Result<BadUserData, String> {
    match text {
        "ignore" => Ok(BadUserData::Ignore),
        "halt" => Ok(BadUserData::Halt),
        _ => Err("it is ignore or halt".to_owned()),
    }
}

fn missing_metadata(text: &str) -> Result<MissingMetadata, String> {
    match text {
        "halt" => Ok(MissingMetadata::Halt),
        "ignore" => Ok(MissingMetadata::Ignore),
        _ => Err("it is halt or ignore".to_owned()),
    }
}

/// As Linux and DNS take it (RFC 1123): 64 bytes, letters, digits and hyphens between dots.
fn hostname(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 64 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("it is not letters, digits and hyphens, of 64 at most".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_swap_is_in_gib_or_mib() {
        assert_eq!((swap_size("0"), swap_size("2"), swap_size("64M")), (Ok(0), Ok(2 << 30), Ok(64 << 20)));
        assert_eq!(swap_size("1G"), Ok(1 << 30));
        for bad in ["", "x", "-1", "1.5", "4M", "1025", "99999999999999999999", "18446744073709551615"] {
            assert!(swap_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_names_are_those_that_a_machine_can_have() {
        assert!(hostname("web-1.example.org").is_ok());
        for bad in ["", "-a", "a-", "a..b", "a b", "a_b", &"a".repeat(65)] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }
}
