//! User data: what an instance is told about itself when it starts, so that one image serves every environment.
//!
//! They come with the firmware's tables, or else from EC2's metadata service. Two forms: lines of `KEY=VALUE` as Docker's
//! `--env-file` takes them, or a JSON object with `env`, `process`, `args`, `hostname`, `sysctls` and `stopTimeout`. User
//! data often hold secrets, so that no message quotes a value.

pub mod answer;
mod document;
pub mod firmware;
mod gzip;
pub mod http;
pub mod imds;

pub use document::{LONGEST, UserData, parse, unpack};

use crate::errand::Errand;
use crate::log::timed;
use crate::machine::Machine;
use crate::platform::is_ec2;
use crate::{debug, error, info};
use answer::{Answer, Data};
use anyhow::{Result, bail};
use initramfs::image::{BadUserData, Image, MissingMetadata, UserData as When};
use std::io::Write;
use std::time::{Duration, Instant};

/// What is left of the deadline for the child to say why there was no answer.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Where a machine has its user data from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It has none.
    Nowhere,
    /// Whoever started the machine has put them into the firmware's tables.
    Firmware(Data),
    /// The metadata service, which is asked over the network.
    Service,
}

/// Where this machine has its user data from, as its image allows it.
#[must_use]
pub fn source(image: &Image) -> Source {
    match (image.user_data, firmware::user_data()) {
        (When::Never, Some(_)) => {
            error!("user data: the image takes none (--user-data=never): those of the firmware are not read");
            Source::Nowhere
        }
        (_, Some(data)) => Source::Firmware(data),
        (When::Always, None) => Source::Service,
        (When::Ec2, None) if is_ec2() => Source::Service,
        (When::Ec2 | When::Never, None) => Source::Nowhere,
    }
}

/// Why a machine is without its user data.
enum Fault {
    /// They cannot be acted on, or may not be asked for.
    Bad(String),
    /// Nobody has said whether there are any.
    NoAnswer(String),
}

/// Takes the user data from where the machine has them, and changes its image's configuration and its name by them.
///
/// # Errors
/// When they cannot be acted on, or nobody answers, and the image wants no machine without; [`crate::power::Asked`].
pub fn configure(machine: &mut Machine, image: &mut Image, source: Source) -> Result<()> {
    let taken = match source {
        Source::Nowhere => return Ok(()),
        Source::Firmware(data) => act_on(data, machine, image),
        Source::Service => timed("user data", || ask(machine, image))?,
    };
    let (problem, is_fatal, option) = match taken {
        Ok(()) => return Ok(()),
        Err(Fault::Bad(problem)) => (problem, image.bad_user_data == BadUserData::Halt, "--bad-user-data"),
        Err(Fault::NoAnswer(problem)) => {
            (problem, image.missing_metadata == MissingMetadata::Halt, "--missing-metadata")
        }
    };
    if is_fatal {
        bail!("user data: {problem}; the machine ends (an image built with {option} ignore starts without them)");
    }
    error!("user data: {problem}; the application starts without them");
    Ok(())
}

/// The inner result is the image's choice, the outer one is not.
fn ask(machine: &mut Machine, image: &mut Image) -> Result<Result<(), Fault>> {
    let with_hostname = machine.network.names().iter().all(|told| told.hostname.is_none());
    debug!("user data: asking the metadata service");
    let wait = machine.drivers.cmdline.metadata_wait().unwrap_or(imds::DEADLINE);
    let deadline = Instant::now() + wait;
    // The report has a line more than the data themselves.
    let errand = Errand::start(2 * LONGEST, |mut pipe| {
        let answer = imds::fetch(with_hostname, deadline - LAST_WORDS);
        pipe.write_all(&answer.encode()).map_or(1, |()| 0)
    })?;
    let answer = Answer::decode(&machine.hear(errand, Some(deadline))?.unwrap_or_default());
    if let Some(hostname) = answer.hostname {
        machine.rename(hostname, false);
    }
    Ok(act_on(answer.data, machine, image).map_err(|fault| match fault {
        Fault::NoAnswer(problem) => {
            Fault::NoAnswer(format!("no answer from the metadata service in {} s: {problem}", wait.as_secs()))
        }
        bad @ Fault::Bad(_) => bad,
    }))
}

fn act_on(data: Data, machine: &mut Machine, image: &mut Image) -> Result<(), Fault> {
    let text = match data {
        Data::Text(text) => text,
        Data::None => {
            info!("user data: none");
            return Ok(());
        }
        Data::Bad(problem) => return Err(Fault::Bad(problem)),
        Data::Unknown(problem) => return Err(Fault::NoAnswer(problem)),
    };
    let applied = parse(&text).and_then(|data| {
        let hostname = data.hostname.clone();
        data.apply(image)?;
        hostname.into_iter().for_each(|hostname| machine.rename(hostname, true));
        Ok(())
    });
    applied.map_err(Fault::Bad)
}
