//! RunInstances and what is asked of instances.

use super::account::{SUBNET, VPC};
use super::copy::client_token;
use super::params::invalid;
use super::xml::Xml;
use super::{check_id, check_image_id, filters, no_image, tagging};
use crate::clock;
use crate::image::{Image, ImageState};
use crate::instance::{Instance, InstanceState, TYPES};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Progress, Region, Replay};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes that GetConsoleOutput keeps.
const CONSOLE: usize = 64 << 10;

/// Instances of one call at most.
const MOST: u64 = 20;

/// Bytes of user data at most, before base64.
const USER_DATA: usize = 16 << 10;

const FILTERS: &[&str] =
    &["client-token", "image-id", "instance-id", "instance-state-name", "instance-type", "subnet-id", "vpc-id"];

pub(super) fn run_instances(call: &Call<'_>) -> Outcome {
    let params = call.params;
    let image_id = params.required("ImageId")?;
    check_image_id(image_id)?;
    let most = count(call)?;
    let (user_data, subnet) = (user_data(call)?, subnet(call)?);
    let kinds = ["instance", "volume", "network-interface"];
    let tags = tagging::specified(params, "instance", &kinds)?;
    let key = client_token(call)?.map(|token| ("RunInstances", call.account().to_owned(), token));
    let parameters = format!("{:?}", params.all());
    let mut world = call.world();
    if let Some(replay) = key.as_ref().and_then(|key| world.region(call.region()).tokens.get(key)).cloned() {
        if replay.parameters != parameters {
            let message = "Arguments on this idempotent request are inconsistent with arguments used in previous \
                           request(s).";
            return Err(Refusal::ec2("IdempotentParameterMismatch", message));
        }
        return answer(call, world.region(call.region()), &replay.answer);
    }
    let instance_type = params.get("InstanceType").unwrap_or("m1.small").to_owned();
    check_launch(call, world.region(call.region()), image_id, &instance_type)?;
    let (reservation, now) = (world.id("r"), world.now());
    for _ in 0..most {
        let id = world.id("i");
        let delay = call.rules().instances.delay;
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.clone(),
            owner: call.account().to_owned(),
            image: image_id.to_owned(),
            instance_type: instance_type.clone(),
            progress: Progress::start(InstanceState::Pending, InstanceState::Running, delay, now),
            tags: tags.clone(),
            user_data: user_data.clone(),
            subnet: subnet.clone(),
            launched: now,
            request: params.all().clone(),
        };
        world.region(call.region()).instances.insert(id, instance);
    }
    let region = world.region(call.region());
    if let Some(key) = key {
        region.tokens.insert(key, Replay { parameters, answer: reservation.clone() });
    }
    answer(call, region, &reservation)
}

/// How many instances are asked for.
fn count(call: &Call<'_>) -> Result<u64, Refusal> {
    call.params.required("MinCount")?;
    call.params.required("MaxCount")?;
    let (least, most) = (call.params.number("MinCount")?.unwrap_or(0), call.params.number("MaxCount")?.unwrap_or(0));
    if least == 0 || most < least || most > MOST {
        return Err(invalid("MaxCount", &most.to_string()));
    }
    Ok(most)
}

/// The user data as it came, if it is what it has to be.
fn user_data(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    let Some(data) = call.params.get("UserData") else { return Ok(None) };
    let decoded = STANDARD.decode(data).map_err(|_| Refusal::ec2("InvalidUserData.Malformed", "Invalid BASE64"))?;
    if decoded.len() > USER_DATA {
        return Err(Refusal::ec2("InvalidParameterValue", "User data is limited to 16384 bytes"));
    }
    Ok(Some(data.to_owned()))
}

/// The subnet, which there is one of.
fn subnet(call: &Call<'_>) -> Result<String, Refusal> {
    let subnet = call.params.get("SubnetId").map(str::to_owned);
    let of_interface = || call.params.groups("NetworkInterface").first()?.get("SubnetId").map(str::to_owned);
    let subnet = subnet.or_else(of_interface).unwrap_or_else(|| SUBNET.to_owned());
    if subnet != SUBNET {
        let message = format!("The subnet ID '{subnet}' does not exist");
        return Err(Refusal::ec2("InvalidSubnetID.NotFound", message));
    }
    Ok(subnet)
}

/// Holds an image against an instance type.
fn check_launch(call: &Call<'_>, region: &Region, image_id: &str, type_name: &str) -> Result<(), Refusal> {
    let image: Option<&Image> = region.images.get(image_id).filter(|image| image.visible_to(call.account()));
    let image = image.ok_or_else(|| no_image(image_id))?;
    if image.state() != ImageState::Available {
        let message = format!("The image ID '{image_id}' is not available");
        return Err(Refusal::ec2("InvalidAMIID.Unavailable", message));
    }
    let Some((_, architecture, _, _, uefi, tpm)) = TYPES.iter().find(|(name, ..)| *name == type_name) else {
        return Err(Refusal::ec2("InvalidParameterValue", format!("Invalid value '{type_name}' for InstanceType.")));
    };
    if image.architecture != *architecture {
        let message = format!(
            "The architecture '{architecture}' of the specified instance type does not match the architecture '{}' of \
             the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
            image.architecture
        );
        return Err(Refusal::ec2("InvalidParameterValue", message));
    }
    let mode = image.boot_mode.as_deref();
    if (mode == Some("uefi") && !uefi) || (image.tpm.is_some() && !tpm) {
        let message = format!("The instance type '{type_name}' does not support the AMI's boot mode or TPM.");
        return Err(Refusal::ec2("InvalidParameterCombination", message));
    }
    Ok(())
}

fn answer(call: &Call<'_>, region: &Region, reservation: &str) -> Outcome {
    let instances = region.instances.values().filter(|instance| instance.reservation == reservation);
    Xml::answer("RunInstances", |xml| {
        xml.leaf("reservationId", reservation).leaf("ownerId", call.account());
        xml.list("instancesSet", instances, |xml, instance| describe(call, xml, instance, instance.state()));
    })
}

fn describe(call: &Call<'_>, xml: &mut Xml, instance: &Instance, state: InstanceState) {
    let rules = &call.rules().instances;
    xml.leaf("instanceId", &instance.id).leaf("imageId", &instance.image);
    xml.node("instanceState", |xml| {
        xml.leaf("code", state.code()).leaf("name", state.as_str());
    });
    xml.leaf("instanceType", &instance.instance_type).leaf("launchTime", clock::iso8601(instance.launched));
    xml.node("placement", |xml| {
        xml.leaf("availabilityZone", format!("{}a", call.region())).leaf("tenancy", "default");
    });
    if state != InstanceState::Terminated {
        xml.leaf("subnetId", &instance.subnet).leaf("vpcId", VPC).leaf("privateIpAddress", &rules.private_ip);
        // A public address comes with running.
        let running = state == InstanceState::Running;
        xml.maybe("ipAddress", rules.public_ip.as_ref().filter(|_| running));
    }
    xml.tags(&instance.tags);
}

/// The instances that a request names.
fn named<'a>(call: &Call<'_>, region: &'a mut Region, ids: &[String]) -> Result<Vec<&'a mut Instance>, Refusal> {
    for id in ids {
        check_id(id, "i", "InvalidInstanceID.Malformed")?;
        if !region.instances.get(id).is_some_and(|instance| call.owns(&instance.owner)) {
            let message = format!("The instance ID '{id}' does not exist");
            return Err(Refusal::ec2("InvalidInstanceID.NotFound", message));
        }
    }
    Ok(region.instances.values_mut().filter(|instance| ids.contains(&instance.id)).collect())
}

pub(super) fn describe_instances(call: &Call<'_>) -> Outcome {
    let filters = filters::parse(call.params, FILTERS)?;
    let ids = call.params.list("InstanceId");
    let mut told = Vec::new();
    {
        let mut world = call.world();
        let region = world.region(call.region());
        let chosen = if ids.is_empty() {
            region.instances.values_mut().filter(|instance| call.owns(&instance.owner)).collect()
        } else {
            named(call, region, &ids)?
        };
        told.extend(chosen.into_iter().map(|instance| {
            let state = instance.progress.tell();
            (instance.clone(), state)
        }));
    }
    told.retain(|(instance, state)| {
        filters::pass(&filters, &instance.tags, |name| {
            Some(match name {
                "client-token" => instance.request.get("ClientToken").cloned()?,
                "image-id" => instance.image.clone(),
                "instance-id" => instance.id.clone(),
                "instance-state-name" => state.as_str().to_owned(),
                "instance-type" => instance.instance_type.clone(),
                "subnet-id" => instance.subnet.clone(),
                _ => VPC.to_owned(),
            })
        })
    });
    let (page, next) = filters::page(call, told, 5)?;
    Xml::answer("DescribeInstances", |xml| {
        xml.list("reservationSet", &page, |xml, (instance, state)| {
            xml.leaf("reservationId", &instance.reservation).leaf("ownerId", &instance.owner);
            xml.list("instancesSet", [instance], |xml, instance| describe(call, xml, instance, *state));
        });
        xml.maybe("nextToken", next);
    })
}

pub(super) fn console_output(call: &Call<'_>) -> Outcome {
    let id = call.params.required("InstanceId")?;
    let mut world = call.world();
    let console = world.console.clone().into_bytes();
    let now = world.now();
    let instances = named(call, world.region(call.region()), &[id.to_owned()])?;
    let up = instances.iter().all(|instance| instance.state() != InstanceState::Pending);
    let output = STANDARD.encode(&console[console.len().saturating_sub(CONSOLE)..]);
    Xml::answer("GetConsoleOutput", |xml| {
        xml.leaf("instanceId", id).leaf("timestamp", clock::iso8601(now));
        xml.maybe("output", (up && !output.is_empty()).then_some(output));
    })
}

pub(super) fn terminate_instances(call: &Call<'_>) -> Outcome {
    let ids = call.params.list("InstanceId");
    if ids.is_empty() {
        call.params.required("InstanceId")?;
    }
    let mut world = call.world();
    let (now, delay) = (world.now(), call.rules().instances.delay);
    let mut changes = Vec::new();
    for instance in named(call, world.region(call.region()), &ids)? {
        let before = instance.state();
        if matches!(before, InstanceState::Pending | InstanceState::Running) {
            instance.progress = Progress::start(InstanceState::ShuttingDown, InstanceState::Terminated, delay, now);
        }
        changes.push((instance.id.clone(), before, instance.state()));
    }
    Xml::answer("TerminateInstances", |xml| {
        xml.list("instancesSet", changes, |xml, (id, before, after)| {
            xml.leaf("instanceId", id);
            for (name, state) in [("currentState", after), ("previousState", before)] {
                xml.node(name, |xml| {
                    xml.leaf("code", state.code()).leaf("name", state.as_str());
                });
            }
        });
    })
}
