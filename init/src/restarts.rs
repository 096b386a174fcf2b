//! Machines that restart their application by rebooting (`builder -b`) and whose application ends at once, again and
//! again: each reboot waits longer than the one before, as Docker's restart policy does it. The count of such ends
//! survives in a variable of the firmware.

use crate::info;
use crate::log::OrWarn;
use crate::machine::Machine;
use anyhow::{Context, Result};
use rustix::fs::{IFlags, ioctl_setflags};
use rustix::mount::{MountFlags, mount};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// An application that ran this long was up; its end says nothing about the next start (moby, `restartmanager`).
const IS_UP: Duration = Duration::from_secs(10);
/// The first pause; each further one is twice as long (moby, `restartmanager`), up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Without a firmware that remembers, every pause is the same.
const PAUSE_WITHOUT_COUNT: Duration = Duration::from_secs(1);

const VARIABLES: &str = "/efivars";
/// Its name, and the vendor GUID that stands for this program.
const VARIABLE: &str = "/efivars/NanoosRestarts-73f63091-3163-4157-a709-8568d0afd804";
/// EFI_VARIABLE_NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS (UEFI specification, 8.2).
const ATTRIBUTES: u32 = 7;

/// Waits as long as the ends before make advisable; `lived` is how long the application ran, if it did.
///
/// # Errors
/// [`crate::power::Asked`] when somebody ends the machine meanwhile; or a broken machine.
pub fn pause(machine: &mut Machine, lived: Option<Duration>) -> Result<()> {
    let has_variables = mount_variables();
    if lived.is_some_and(|lived| lived >= IS_UP) {
        if has_variables {
            forget();
        }
        return Ok(());
    }
    let ends = if has_variables { count_one_more().or_warn("restarts") } else { None };
    let pause = ends.map_or(PAUSE_WITHOUT_COUNT, pause_after);
    info!("restarts: the application ended within {} s: reboot in {} ms", IS_UP.as_secs(), pause.as_millis());
    machine.wait_until(Instant::now() + pause, |_| None::<()>)?;
    Ok(())
}

fn pause_after(ends: u32) -> Duration {
    let factor = 2_u32.saturating_pow(ends.saturating_sub(1));
    FIRST_PAUSE.checked_mul(factor).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// Firmware has variables on machines that were started by it, and not by QEMU's own loader.
fn mount_variables() -> bool {
    let mounted = || -> Result<()> {
        fs::create_dir_all(VARIABLES).with_context(|| format!("make directory {VARIABLES}"))?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        mount("efivarfs", VARIABLES, "efivarfs", flags, None).with_context(|| format!("mount efivarfs on {VARIABLES}"))
    };
    Path::new("/sys/firmware/efi").exists() && mounted().or_warn("restarts").is_some()
}

fn count_one_more() -> Result<u32> {
    let ends = fs::read(VARIABLE).ok().and_then(|content| count(&content)).unwrap_or(0).saturating_add(1);
    allow_change();
    let content = [ATTRIBUTES.to_le_bytes(), ends.to_le_bytes()].concat();
    let mut file = File::options().write(true).create(true).truncate(false).open(VARIABLE)?;
    // One write(2) is one call of the firmware.
    file.write_all(&content).with_context(|| format!("write {VARIABLE}"))?;
    Ok(ends)
}

fn forget() {
    if Path::new(VARIABLE).exists() {
        allow_change();
        fs::remove_file(VARIABLE).with_context(|| format!("remove {VARIABLE}")).or_warn("restarts");
    }
}

/// The kernel protects variables that it does not know, as careless ones have broken firmware (efivarfs.rst).
fn allow_change() {
    if let Ok(file) = File::open(VARIABLE) {
        ioctl_setflags(&file, IFlags::empty()).context("make the variable mutable").or_warn("restarts");
    }
}

/// The attributes come first.
fn count(content: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(content.get(4..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_as_docker_s_do() {
        let millis = |ends| pause_after(ends).as_millis();
        assert_eq!((millis(1), millis(2), millis(3), millis(10)), (100, 200, 400, 51_200));
        assert_eq!((millis(11), millis(32), millis(33), millis(u32::MAX)), (60_000, 60_000, 60_000, 60_000));
    }

    #[test]
    fn a_variable_of_another_form_is_none() {
        assert_eq!(count(b"\x07\0\0\0\x02\0\0\0"), Some(2));
        assert_eq!(count(b"\x07\0\0\0\x02"), None);
        assert_eq!(count(b""), None);
    }
}
