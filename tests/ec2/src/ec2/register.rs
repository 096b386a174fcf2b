//! RegisterImage.

use super::params::{Params, invalid};
use super::xml::Xml;
use super::{mappings, tagging};
use crate::auth;
use crate::faults::Kind;
use crate::image::{Image, ImageState};
use crate::refusal::{Outcome, Refusal, Service};
use crate::server::Call;
use crate::state::{Progress, Region};
use crate::trouble::Countdown;
use std::collections::BTreeSet;

pub(super) fn register_image(call: &Call<'_>) -> Outcome {
    let params = call.params;
    let name = params.required("Name")?.to_owned();
    check_name(&name)?;
    let platform = Platform::read(params, call.rules().strict)?;
    let description = description(params)?;
    let tags = tagging::specified(params, "image", &["image", "snapshot"])?;
    // Tags need a permission of their own.
    if params.get("TagSpecification.1.ResourceType").is_some()
        && call.shared.trouble().draw("CreateTags") == Some(Kind::Denied)
    {
        return Err(auth::denied(Service::Ec2, "CreateTags", call.caller, None));
    }
    let mut world = call.world();
    let (id, now) = (world.id("ami"), world.now());
    let region = world.region(call.region());
    check_free(call, region, &name)?;
    let mappings = mappings::read(call, region)?;
    let root_device = params.get("RootDeviceName").unwrap_or("/dev/sda1").to_owned();
    let root = mappings.iter().find(|mapping| mapping.device == root_device);
    if root.is_none_or(|mapping| mapping.snapshot.is_none()) {
        let message = format!("Root device name {root_device} does not match any mapping that has a snapshot.");
        return Err(Refusal::ec2("InvalidBlockDeviceMapping", message));
    }
    let (end, state_reason, unseen) = {
        let mut trouble = call.shared.trouble();
        let failed = trouble.take(Countdown::FailingImage);
        let end = if failed { ImageState::Failed } else { ImageState::Available };
        (end, failed.then(|| "Internal error".to_owned()), trouble.faults.unseen_images)
    };
    let image = Image {
        id: id.clone(),
        name,
        description,
        owner: call.account().to_owned(),
        progress: Progress::start(ImageState::Pending, end, call.rules().registration, now),
        architecture: platform.architecture,
        virtualization: platform.virtualization,
        root_device,
        mappings,
        boot_mode: platform.boot_mode,
        tpm: platform.tpm,
        imds: platform.imds,
        ena: platform.ena,
        sriov: platform.sriov,
        tags,
        state_reason,
        shared_with: BTreeSet::new(),
        created: now,
        source: None,
        unseen,
        disabled: false,
    };
    region.images.insert(id.clone(), image);
    Xml::answer("RegisterImage", |xml| {
        xml.leaf("imageId", id);
    })
}

/// Characters of an image's name, beside letters and digits.
const NAME_EXTRA: &str = "()[] ./-'@_";

/// The rule for names of images.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || NAME_EXTRA.contains(character);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    let message = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, \
                   '(', ')', '.', '-', '/' and '_'";
    Err(Refusal::ec2("InvalidAMIName.Malformed", message))
}

/// Names of images are unique in an account and region.
pub(super) fn check_free(call: &Call<'_>, region: &Region, name: &str) -> Result<(), Refusal> {
    let holder = region.images.values().find(|image| image.name == name && call.owns(&image.owner));
    let Some(holder) = holder else { return Ok(()) };
    let message = format!("AMI name {name} is already in use by AMI {}", holder.id);
    Err(Refusal::ec2("InvalidAMIName.Duplicate", message))
}

/// An image's description.
pub(super) fn description(params: &Params) -> Result<String, Refusal> {
    let text = params.get("Description").unwrap_or("");
    if text.chars().count() > 255 {
        return Err(Refusal::ec2("InvalidParameterValue", "Description must have at most 255 characters"));
    }
    Ok(text.to_owned())
}

/// What an image says of machines that boot it.
struct Platform {
    architecture: String,
    virtualization: String,
    boot_mode: Option<String>,
    tpm: Option<String>,
    imds: Option<String>,
    sriov: Option<String>,
    ena: bool,
}

impl Platform {
    fn read(params: &Params, strict: bool) -> Result<Self, Refusal> {
        // AWS's own defaults follow; strictness is for what nobody means to leave to them.
        let architecture = one_of(params, "Architecture", &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"])?;
        let virtualization = one_of(params, "VirtualizationType", &["hvm", "paravirtual"])?;
        let boot_mode = one_of(params, "BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?;
        let tpm = one_of(params, "TpmSupport", &["v2.0"])?;
        let imds = one_of(params, "ImdsSupport", &["v2.0"])?;
        let sriov = one_of(params, "SriovNetSupport", &["simple"])?;
        let ena = params.flag("EnaSupport")?;
        if strict {
            demand("Architecture", architecture.as_deref(), &["x86_64", "arm64"])?;
            demand("VirtualizationType", virtualization.as_deref(), &["hvm"])?;
            demand("BootMode", boot_mode.as_deref(), &["uefi", "uefi-preferred", "legacy-bios"])?;
            demand("ImdsSupport", imds.as_deref(), &["v2.0"])?;
            demand("EnaSupport", ena.filter(|ena| *ena).map(|_| "true"), &["true"])?;
        }
        if tpm.is_some() && boot_mode.as_deref() != Some("uefi") {
            let message = "TpmSupport v2.0 requires the boot mode uefi";
            return Err(Refusal::ec2("InvalidParameterCombination", message));
        }
        if architecture.as_deref() == Some("arm64") && !matches!(boot_mode.as_deref(), None | Some("uefi")) {
            let message = "The architecture arm64 requires the boot mode uefi";
            return Err(Refusal::ec2("InvalidParameterCombination", message));
        }
        Ok(Platform {
            architecture: architecture.unwrap_or_else(|| "i386".to_owned()),
            virtualization: virtualization.unwrap_or_else(|| "paravirtual".to_owned()),
            boot_mode,
            tpm,
            imds,
            sriov,
            ena: ena.unwrap_or(false),
        })
    }
}

fn one_of(params: &Params, name: &str, values: &[&str]) -> Result<Option<String>, Refusal> {
    match params.get(name) {
        None => Ok(None),
        Some(value) if values.contains(&value) => Ok(Some(value.to_owned())),
        Some(value) => Err(invalid(name, value)),
    }
}

fn demand(name: &str, value: Option<&str>, values: &[&str]) -> Result<(), Refusal> {
    if value.is_some_and(|value| values.contains(&value)) {
        return Ok(());
    }
    let (given, values) = (value.unwrap_or("AWS's default"), values.join(", "));
    let message = format!("strict: {name} is {given}, and only these are meant: {values}");
    Err(Refusal::ec2("InvalidParameterValue", message))
}
