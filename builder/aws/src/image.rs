//! An AMI of a snapshot.

use crate::account::Session;
use crate::contents::{hex, is_of_old_kind};
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::failure::Failure;
use crate::naming::{check_name, mark};
use crate::remove::deregister;
use crate::retry::Patience;
use crate::tags::{self, Tags};
use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::operation::register_image::RegisterImageOutput;
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Image, ImageState, ImdsSupportValues,
    ResourceType, TpmSupportValues, VolumeType,
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

/// The device of the root, as instances on Nitro call it.
const ROOT_DEVICE: &str = "/dev/xvda";
/// The device of the swap volume; init looks for the volume that EC2 says is this one.
const SWAP_DEVICE: &str = "/dev/xvdb";
/// Which processors an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD.
    X86_64,
    /// Graviton.
    Arm64,
}

impl Architecture {
    fn value(self) -> ArchitectureValues {
        match self {
            Architecture::X86_64 => ArchitectureValues::X8664,
            Architecture::Arm64 => ArchitectureValues::Arm64,
        }
    }
}

/// What an image is registered as.
#[derive(Debug, Clone)]
pub struct Machine {
    /// For which processors.
    pub architecture: Architecture,
    /// The swap volume's size, GiB; 0 is none.
    pub swap: u32,
    /// Whether init leaves the swap unencrypted.
    pub plain_swap: bool,
    /// Whether its instances have a NitroTPM, which not all types do.
    pub tpm: bool,
}

impl Machine {
    /// The same for the same contents registered in the same way.
    pub(crate) fn id(&self, content: &str, encryption: &Encryption) -> String {
        let Machine { architecture, swap, tpm, .. } = self;
        let swap = match swap {
            0 => "none".to_owned(),
            gib => format!("{gib} {}", self.swap_encryption(encryption)),
        };
        // 2: those of 1 have an empty volume for swap, which never becomes it.
        let whole = format!("NanoOS machine 2\n{content}\n{architecture:?}\n{swap}\n{tpm}\n{encryption}");
        hex(&Sha256::digest(whole))[..32].to_owned()
    }
}

/// What is there already.
#[derive(Debug)]
pub(crate) enum Known {
    /// The very image.
    Same {
        id: String,
        snapshot: Option<String>,
        name: String,
        /// Whether it still has its tags.
        tagged: bool,
    },
    /// Nothing, and this name is free.
    Free(String),
}

/// Looks for the image, and for one that has its name.
///
/// # Errors
/// When the name is taken, or is none that EC2 takes.
pub(crate) async fn look(
    session: &Session,
    machine: &str,
    name: Option<&str>,
    default: &str,
    force: bool,
) -> Result<Known> {
    let wanted = name.unwrap_or(default);
    check_name(wanted)?;
    if !force {
        let mut same = session.images(&[filter(format!("tag:{}", tags::MACHINE), machine)]).await?;
        same.retain(|image| name.is_none_or(|name| image.name() == Some(name)) && !is_failed(image));
        same.sort_by(|one, next| one.creation_date.cmp(&next.creation_date));
        if let Some(image) = same.first() {
            return known(session, image).await;
        }
    }
    let Some(taken) = named(session, wanted).await? else { return Ok(Known::Free(wanted.to_owned())) };
    match (is_of(&taken, machine), is_failed(&taken)) {
        (true, true) => {
            remove_failed(session, &taken).await?;
            return Ok(Known::Free(wanted.to_owned()));
        }
        // It was so new that the first answer did not tell of it.
        (true, false) if !force => return known(session, &taken).await,
        _ => {}
    }
    ensure!(
        !(force && name.is_some() && is_of(&taken, machine)),
        "the name {wanted:?} is taken in {} by {}, which is this image: another one (--force) needs another name, or none",
        session.region,
        taken.image_id().unwrap_or("it")
    );
    if name.is_some() || !force {
        let old = tags::find(taken.tags(), tags::CONTENT).is_some_and(is_of_old_kind);
        let what = if old { "an earlier builder's image" } else { "not this image" };
        bail!(
            "the name {wanted:?} is taken in {} by {}, which is {what}: choose another one with --name, or remove that one first \
             (builder aws rm)",
            session.region,
            taken.image_id().unwrap_or("another image")
        );
    }
    // Another of the same was asked for.
    let alike = session.images(&[filter("name", format!("{wanted}-*"))]).await?;
    let free = (2..1000).map(|number| format!("{wanted}-{number}"));
    let mut free = free.filter(|name| alike.iter().all(|image| image.name() != Some(name)));
    match free.next() {
        Some(name) => Ok(Known::Free(name)),
        None => bail!(
            "a thousand images in {} are called {wanted}: remove some (builder aws ls, builder aws rm)",
            session.region
        ),
    }
}

/// An image that is the one, once it can be launched.
async fn known(session: &Session, image: &Image) -> Result<Known> {
    let id = image.image_id().unwrap_or_default().to_owned();
    if image.state != Some(ImageState::Available) {
        available(session, &id).await?;
    }
    let (snapshot, name) = (root_snapshot(image).map(ToOwned::to_owned), image.name().unwrap_or_default().to_owned());
    let tagged = tags::find(image.tags(), tags::MACHINE).is_some();
    Ok(Known::Same { id, snapshot, name, tagged })
}

/// Whether an image is the one of this identity: by its tag, or where that was taken off, by its description.
pub(crate) fn is_of(image: &Image, machine: &str) -> bool {
    match tags::find(image.tags(), tags::MACHINE) {
        Some(tag) => tag == machine,
        None => image.description().is_some_and(|description| description.ends_with(&mark(machine))),
    }
}

/// Whether an image never will be launched.
fn is_failed(image: &Image) -> bool {
    !matches!(image.state, Some(ImageState::Available | ImageState::Pending | ImageState::Transient))
}

/// Gives the name of an image free that came to nothing. Its snapshot is used again.
async fn remove_failed(session: &Session, image: &Image) -> Result<()> {
    let id = image.image_id().unwrap_or_default();
    let hint = || format!("{id} in {} has failed, and has the name: remove it first (builder aws rm)", session.region);
    deregister(session, id).await.with_context(hint)
}

/// The image of a name.
pub(crate) async fn named(session: &Session, name: &str) -> Result<Option<Image>, Failure> {
    // Brackets and the like have no meaning in a filter, but a star and a question mark do, which no name has.
    Ok(session.images(&[filter("name", name)]).await?.into_iter().find(|image| image.name() == Some(name)))
}

/// The snapshot that an image's root is made of.
pub(crate) fn root_snapshot(image: &Image) -> Option<&str> {
    let root = image.root_device_name().unwrap_or(ROOT_DEVICE);
    let mapping = image.block_device_mappings().iter().find(|mapping| mapping.device_name() == Some(root));
    mapping?.ebs()?.snapshot_id()
}

/// An image to be registered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registration<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) snapshot: &'a str,
    /// The snapshot for the swap volume, where there is one.
    pub(crate) swap: Option<&'a str>,
    pub(crate) machine: &'a Machine,
    pub(crate) tags: &'a Tags,
    /// Whether another image of the same contents is not as good.
    pub(crate) force: bool,
}

impl Registration<'_> {
    /// Registers it, and waits until it can be launched: the image, and the snapshot that it is made of.
    pub(crate) async fn run(&self, session: &Session) -> Result<(String, String)> {
        let ask = || self.ask(session);
        let answer = session.call("ec2:RegisterImage", Patience::just_made(&session.timing), ask).await;
        let (id, snapshot) = match answer {
            Ok(answer) => {
                let none = || Failure::unexpected("ec2:RegisterImage", &session.region, "the answer has no image");
                (answer.image_id.ok_or_else(none)?, self.snapshot.to_owned())
            }
            // This call has no token: an attempt without an answer may have taken the name.
            Err(failure) if failure.is("InvalidAMIName.Duplicate") => self.ours(session, failure).await?,
            Err(failure) => return Err(failure.into()),
        };
        available(session, &id).await?;
        Ok((id, snapshot))
    }

    async fn ask(
        &self,
        session: &Session,
    ) -> Result<
        RegisterImageOutput,
        aws_sdk_ec2::error::SdkError<
            aws_sdk_ec2::operation::register_image::RegisterImageError,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
    > {
        let Registration { name, description, machine, .. } = *self;
        let call = session.ec2.register_image().name(name).description(description);
        // Without these two it would be an image of 2006: i386, paravirtual.
        let call = call.architecture(machine.architecture.value()).virtualization_type("hvm");
        let call = call.boot_mode(BootModeValues::Uefi).ena_support(true).sriov_net_support("simple");
        let call = call.imds_support(ImdsSupportValues::V20).root_device_name(ROOT_DEVICE);
        let call =
            call.block_device_mappings(self.root()).set_tpm_support(machine.tpm.then_some(TpmSupportValues::V20));
        let call = match self.swap() {
            Some(swap) => call.block_device_mappings(swap),
            None => call,
        };
        call.tag_specifications(tags::specification(ResourceType::Image, self.tags)).send().await
    }

    fn root(&self) -> BlockDeviceMapping {
        let volume = EbsBlockDevice::builder().snapshot_id(self.snapshot).volume_type(VolumeType::Gp3);
        let volume = volume.delete_on_termination(true).build();
        BlockDeviceMapping::builder().device_name(ROOT_DEVICE).ebs(volume).build()
    }

    /// A volume that bears the mark of swap. It is encrypted as its snapshot is: AWS refuses to be told both.
    fn swap(&self) -> Option<BlockDeviceMapping> {
        let size = i32::try_from(self.machine.swap).ok()?;
        let volume = EbsBlockDevice::builder().snapshot_id(self.swap?).volume_size(size);
        let volume = volume.volume_type(VolumeType::Gp3).delete_on_termination(true).build();
        Some(BlockDeviceMapping::builder().device_name(SWAP_DEVICE).ebs(volume).build())
    }

    /// The image that has the name, if it is this one.
    async fn ours(&self, session: &Session, failure: Failure) -> Result<(String, String)> {
        let start = Instant::now();
        loop {
            if let Some(image) = named(session, self.name).await? {
                // Another builder of the same may have had the same idea, and even a snapshot of its own.
                let ours = self.tags.get(tags::MACHINE).is_some_and(|machine| is_of(&image, machine));
                return match (image.image_id(), root_snapshot(&image)) {
                    (Some(id), Some(snapshot)) if ours && (!self.force || snapshot == self.snapshot) => {
                        Ok((id.to_owned(), snapshot.to_owned()))
                    }
                    _ => Err(failure.into()),
                };
            }
            if start.elapsed() > session.timing.seen {
                return Err(failure.into());
            }
            sleep(session.timing.poll).await;
        }
    }
}

/// Waits until an image can be launched.
pub(crate) async fn available(session: &Session, id: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let image = session.image(id).await?;
        let state = image.as_ref().and_then(|image| image.state.clone());
        match state {
            Some(ImageState::Available) => return Ok(()),
            Some(ImageState::Pending | ImageState::Transient) => {}
            None if start.elapsed() < session.timing.seen => {}
            None => bail!("{id} is not seen in {} after {} s", session.region, session.timing.seen.as_secs()),
            Some(state) => {
                let why = image.and_then(|image| image.state_reason).and_then(|reason| reason.message);
                bail!(
                    "{id} in {} is {}: {}; the same command registers the snapshot again",
                    session.region,
                    state.as_str(),
                    why.as_deref().unwrap_or("AWS gives no reason")
                );
            }
        }
        if start.elapsed() > session.timing.completion {
            bail!("{id} in {} is not available after {} s", session.region, session.timing.completion.as_secs());
        }
        sleep(session.timing.poll).await;
    }
}

/// Adds tags to what exists.
pub(crate) async fn add_tags(session: &Session, id: &str, tags: &Tags) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    let ask = || session.ec2.create_tags().resources(id).set_tags(Some(tags::to_ec2(tags))).send();
    session.call("ec2:CreateTags", Patience::just_made(&session.timing), ask).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_in_another_way_is_another_machine() {
        let machine = Machine { architecture: Architecture::X86_64, swap: 1, plain_swap: false, tpm: false };
        let id = machine.id("c", &Encryption::Default);
        assert_eq!(id.len(), 32);
        for other in [
            Machine { swap: 2, ..machine.clone() },
            Machine { plain_swap: true, ..machine.clone() },
            Machine { tpm: true, ..machine.clone() },
            Machine { architecture: Architecture::Arm64, ..machine.clone() },
        ] {
            assert_ne!(other.id("c", &Encryption::Default), id);
        }
        assert_ne!(machine.id("d", &Encryption::Default), id);
        assert_ne!(machine.id("c", &Encryption::Encrypted), id);
    }

    #[test]
    fn the_roots_snapshot_is_that_of_the_root_device() {
        let mapping = |device: &str, snapshot: &str| {
            let volume = EbsBlockDevice::builder().snapshot_id(snapshot).build();
            BlockDeviceMapping::builder().device_name(device).ebs(volume).build()
        };
        let mappings = vec![mapping(SWAP_DEVICE, "snap-1"), mapping(ROOT_DEVICE, "snap-2")];
        let image = Image::builder().set_block_device_mappings(Some(mappings));
        assert_eq!(root_snapshot(&image.clone().build()), Some("snap-2"));
        assert_eq!(root_snapshot(&image.root_device_name(SWAP_DEVICE).build()), Some("snap-1"));
    }
}
