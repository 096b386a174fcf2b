//! From an image to an AMI by the command itself, against the strict stand-in for EC2. The crate aws has tests of its own, with faults.

#![cfg(feature = "aws")]

mod support;

use builder::digest::Digest;
use ec2_stand_in::{BLOCK, Fault, Faults, Kind, OptIn, Rules, SnapshotState, StandIn};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{PLAIN, builder, file, kernel, layout, refusal, simple_layout, stderr, succeed, tar};

const REGION: &str = "eu-central-1";
/// A build of the image in the workshop.
const BUILD: &[&str] = &["oci:image", "--kernel", "kernel"];

/// A directory with an image and a kernel, and a service.
struct Workshop {
    dir: tempfile::TempDir,
    service: StandIn,
}

impl Workshop {
    fn new() -> Self {
        Workshop::with(Rules::default())
    }

    fn with(rules: Rules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        simple_layout(&dir.path().join("image"));
        kernel(&dir.path().join("kernel"));
        Workshop { dir, service: StandIn::start(rules).unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = builder(self.path(), arguments);
        command.env("AWS_ENDPOINT_URL", self.service.endpoint());
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        succeed(self.command(arguments))
    }

    fn build(&self, more: &[&str]) -> Output {
        self.run(&[BUILD, more].concat())
    }

    fn refuse(&self, arguments: &[&str]) -> String {
        refusal(self.command(arguments))
    }

    /// What a volume of this snapshot starts with.
    fn volume(&self, snapshot: &str, bytes: usize) -> Vec<u8> {
        let block = |index: usize| self.service.block(REGION, snapshot, u32::try_from(index).unwrap()).unwrap();
        (0..bytes.div_ceil(BLOCK)).flat_map(block).collect()
    }
}

fn word(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", word(output)))
}

#[test]
fn a_build_ends_in_an_ami_whose_volume_is_the_disk_bit_by_bit() {
    let workshop = Workshop::new();
    let made = json(&workshop.build(&["--json", "--tag", "team=web", "--tpm"]));
    let told = &made["regions"][REGION];
    let images = workshop.service.images(REGION);
    let [image] = &images[..] else { panic!("{images:?}") };
    assert_eq!(told["image"], image.id.as_str());
    assert_eq!((&told["found"], &told["parent"]), (&Value::from(false), &Value::Null));
    let name = told["name"].as_str().unwrap();
    assert!(name.starts_with("image-") && name.len() == "image-".len() + 12, "{name}");
    assert_eq!(image.tags["team"], "web");
    assert_eq!(image.tags["nanoos:platform"], "linux/amd64");

    workshop.build(&["-o", "disk.raw"]);
    let disk = fs::read(workshop.path().join("disk.raw")).unwrap();
    // Zeros within a partition are sent, too: what is left out reads as noise once the volume is encrypted.
    let mut blocks = std::collections::BTreeSet::new();
    for extent in builder::inspect::extents(&workshop.path().join("disk.raw")).unwrap() {
        blocks.extend(extent.start / BLOCK as u64..extent.end.div_ceil(BLOCK as u64));
    }
    let sent = told["sent"].as_u64().unwrap() as usize;
    assert_eq!(sent, blocks.len() * BLOCK, "no block is left out, and none is sent twice");
    assert_eq!(workshop.volume(told["snapshot"].as_str().unwrap(), disk.len()), disk);
    let swap = workshop.service.volume(REGION, &image.id, "/dev/xvdb").unwrap();
    assert_eq!(swap.size, 1);
    assert!([swap.read(0), swap.read(1)].concat() == initramfs::swap_mark::area(0, 1 << 30), "it is marked");

    // The very disk, built elsewhere, is that image.
    workshop.service.reset_tally();
    let id = word(&workshop.run(&["publish", "-q", "--tpm", "disk.raw"]));
    assert_eq!(id, image.id);
    assert_eq!(workshop.service.tally().count("PutSnapshotBlock"), 0);
}

#[test]
fn the_same_again_is_found_a_changed_one_sends_what_changed_and_force_makes_another() {
    let workshop = Workshop::new();
    let first = word(&workshop.build(&["-q"]));
    workshop.service.reset_tally();
    assert_eq!(word(&workshop.build(&["-q"])), first);
    let tally = workshop.service.tally();
    assert_eq!((tally.count("PutSnapshotBlock"), tally.count("StartSnapshot")), (0, 0), "{tally:?}");

    let changed = json(&workshop.build(&["--json", "--hostname", "other"]));
    let (sent, parent) = (&changed["regions"][REGION]["sent"], &changed["regions"][REGION]["parent"]);
    assert!(sent.as_u64().unwrap() as usize <= 2 * BLOCK && parent.is_string(), "{changed}");

    let again = json(&workshop.build(&["--json", "--force"]));
    assert_ne!(again["regions"][REGION]["image"], first.as_str());
    assert!(again["regions"][REGION]["name"].as_str().unwrap().ends_with("-2"), "{again}");
}

/// Bytes that nothing compresses.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((*state >> 56) as u8)
    };
    (0..bytes).scan(seed, |state, _| step(state)).collect()
}

#[test]
fn nothing_of_a_larger_image_is_readable_in_a_smaller_one_upon_it() {
    let workshop = Workshop::new();
    let secret = noise(3 << 20, 2);
    let image = |with_secret: bool| {
        let base = tar(&[file("app", b"#!/bin/true\n"), file("data", &noise(6 << 20, 1))]);
        let top = tar(&[file("top", if with_secret { &secret } else { b"small" })]);
        let ids = [Digest::of(&base), Digest::of(&top)];
        fs::remove_dir_all(workshop.path().join("image")).unwrap();
        let layers = [(PLAIN, base), (PLAIN, top)];
        layout(&workshop.path().join("image"), &layers, &ids, r#"{"Entrypoint":["/app"]}"#);
        json(&workshop.build(&["--json"]))["regions"][REGION].clone()
    };
    let has_secret = |told: &Value| {
        let written = workshop.service.snapshot(REGION, told["snapshot"].as_str().unwrap()).unwrap().all_written();
        // The middle of a block of squashfs's that starts anywhere.
        let mark = &secret[1 << 20..][..32];
        written.values().any(|block| block.data.windows(mark.len()).any(|bytes| bytes == mark))
    };
    let (larger, smaller) = (image(true), image(false));
    assert!(has_secret(&larger) && !has_secret(&smaller));
    assert_eq!(smaller["parent"], larger["snapshot"]);
    workshop.service.set_console("nanoos: launch: /app runs\n");
    workshop.build(&["--verify", "console:launch: /app"]);

    // A block that nobody wants, wherever it comes from, is found before anything is launched.
    let (id, ami) = (smaller["snapshot"].as_str().unwrap(), smaller["image"].as_str().unwrap());
    workshop.service.overwrite(REGION, id, 2000, &secret[..BLOCK]);
    let instances = workshop.service.instances(REGION).len();
    let refused = workshop.refuse(&[BUILD, &["--verify", "console:launch: /app"]].concat());
    assert!(
        refused.contains(&format!("block 2000 of {id} in {REGION} holds what is no part of the disk")),
        "{refused}"
    );
    assert!(refused.contains(&format!("remove it (builder aws rm {ami}), and publish again")), "{refused}");
    assert_eq!(workshop.service.instances(REGION).len(), instances);
    // One that can't be read is not said to be wrong.
    workshop.service.set_faults(Faults::of([Fault::new("GetSnapshotBlock", Kind::Denied)]));
    let refused = workshop.refuse(&[BUILD, &["--verify", "console:launch: /app"]].concat());
    assert!(refused.contains("its volume could not be checked: the same command checks it again"), "{refused}");
    assert!(refused.contains("ebs:GetSnapshotBlock") && !refused.contains("remove it"), "{refused}");
    assert_eq!(workshop.service.instances(REGION).len(), instances);
}

#[test]
fn what_an_earlier_builder_made_is_marked_and_not_promoted() {
    let workshop = Workshop::new();
    let made = json(&workshop.build(&["--json"]))["regions"][REGION].clone();
    let (ami, snapshot) = (made["image"].as_str().unwrap(), made["snapshot"].as_str().unwrap());
    let marked = || word(&workshop.run(&["aws", "ls"])).matches("OLD: may hold data of other images").count();
    assert_eq!(marked(), 0);
    for id in [ami, snapshot] {
        let old = |tags: &mut ec2_stand_in::Tags| drop(tags.insert("nanoos:content".to_owned(), "0f".repeat(32)));
        workshop.service.retag(REGION, id, old);
    }
    assert_eq!(marked(), 2);
    let listed = json(&workshop.run(&["aws", "ls", "--json"]));
    assert_eq!(listed[REGION]["images"][0]["old_kind"], true);
    let refused = workshop.refuse(&["promote", ami, "--to", "210987654321"]);
    assert!(refused.starts_with(&format!("builder: {ami} in {REGION} was made by an earlier builder")), "{refused}");
}

#[test]
fn several_regions_get_it_side_by_side_and_one_that_fails_does_not_lose_the_others() {
    let workshop = Workshop::new();
    workshop.build(&["-r", "eu-west-1", "--hostname", "other", "--name", "web"]);
    let regions = ["--name", "web", "-r", REGION, "-r", "us-east-1", "-r", "eu-west-1"];
    let output = workshop.command(&[BUILD, &["--json"], &regions].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let made = json(&output);
    for region in [REGION, "us-east-1"] {
        assert_eq!(made["regions"][region]["image"], workshop.service.images(region)[0].id.as_str());
    }
    assert!(made["regions"]["eu-west-1"]["error"].is_string(), "{made}");
    assert!(stderr(&output).contains("builder: 1 of 3 failed: eu-west-1: the name"), "{}", stderr(&output));
    let nowhere = workshop.refuse(&[BUILD, &["-r", "us-east-1", "-r", "eu-nowhere-9"]].concat());
    assert!(nowhere.starts_with("builder: eu-nowhere-9 is no region of AWS"), "{nowhere}");

    let usable = Rules::default().regions.values().filter(|opt_in| **opt_in != OptIn::NotOptedIn).count();
    let all = word(&workshop.build(&["-q", "--all-regions"]));
    assert_eq!(all.lines().count(), usable, "{all}");
    assert!(all.lines().any(|line| line.starts_with("eu-central-1 ami-")), "{all}");
}

#[test]
fn vmifys_own_lines_mean_what_they_meant() {
    let workshop = Workshop::new();
    let line = ["-d", "-r=us-east-1", "-s:dev.hpet.max-user-freq=64", "-s:vm.panic_on_oom=0"];
    let words = stderr(&workshop.build(&line));
    assert_eq!(workshop.service.images("us-east-1").len(), 1, "{words}");
    // Without a region it is VMify's own.
    workshop.build(&[]);
    assert_eq!(workshop.service.images("eu-central-1").len(), 1);
}

#[test]
fn the_profile_that_is_named_counts_before_the_environment() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path().join(".aws")).unwrap();
    let credentials = "[prod]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n\
                       [none]\naws_access_key_id = AKIAUNKNOWN\naws_secret_access_key = x\n";
    fs::write(workshop.path().join(".aws/credentials"), credentials).unwrap();
    let mut named = workshop.command(&["aws", "ls", "--profile", "prod"]);
    named.env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN");
    succeed(named);
    let refused = workshop.refuse(&["aws", "ls", "--profile", "none"]);
    assert!(refused.contains("AWS does not take these credentials (InvalidClientTokenId"), "{refused}");
}

#[test]
fn what_can_be_refused_is_refused_before_the_build() {
    let workshop = Workshop::new();
    let mut unknown = workshop.command(BUILD);
    unknown.env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN");
    let output = unknown.output().unwrap();
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words.contains("builder: sts:GetCallerIdentity in eu-central-1: AWS does not take these credentials"),
        "{words}"
    );
    assert!(!words.contains("resolve"), "{words}");

    let refuse = |more: &[&str]| workshop.refuse(&[BUILD, more].concat());
    assert_eq!(
        refuse(&["-o", "x.raw", "-r", "us-east-1"]),
        "builder: -o asks for a disk image, and -r is for an image of EC2: leave out one of them"
    );
    assert_eq!(
        refuse(&["--format", "vhd", "--tag", "a=b"]),
        "builder: --format asks for a disk image, and --tag is for an image of EC2: leave out one of them"
    );
    assert_eq!(refuse(&["-w", "512M"]), "builder: -w 512M: volumes of EC2 have whole GiB");
    assert_eq!(
        refuse(&["--tag", "a=b", "--tag", "a=c"]),
        "builder: --tag a: a tag has one value, and this one is given two"
    );
    let key = refuse(&["--kms-key", "alias/x"]);
    assert!(key.starts_with("builder: --kms-key alias/x: alias/x is no ARN of a key"), "{key}");
    assert!(refuse(&["--verify", "80"]).starts_with("builder: --verify 80: "));
    assert!(refuse(&["--ssm-parameter", "a b"]).starts_with("builder: --ssm-parameter a b: "));
    assert_eq!(workshop.service.tally().count("StartSnapshot"), 0);
}

#[test]
fn a_name_that_is_taken_is_told_before_anything_is_sent() {
    let workshop = Workshop::new();
    workshop.build(&["--name", "web"]);
    workshop.service.reset_tally();
    let taken = workshop.refuse(&[BUILD, &["--name", "web", "--hostname", "other"]].concat());
    assert!(taken.contains("the name \"web\" is taken in eu-central-1 by ami-"), "{taken}");
    assert_eq!(workshop.service.tally().count("StartSnapshot"), 0);
    // Of the same contents another name is another image, and nothing is sent for it.
    workshop.build(&["--name", "web 2"]);
    assert_eq!((workshop.service.images(REGION).len(), workshop.service.tally().count("PutSnapshotBlock")), (2, 0));
}

#[test]
fn what_policies_do_not_allow_is_named_with_the_statement_that_would() {
    let workshop = Workshop::new();
    workshop.service.set_faults(Faults::of([Fault::new("StartSnapshot", Kind::Denied)]));
    let denied = workshop.refuse(BUILD);
    let statement = r#"{"Effect":"Allow","Action":"ebs:StartSnapshot","Resource":"arn:aws:ec2:*::snapshot/*"}"#;
    assert!(denied.ends_with(statement), "{denied}");
}

#[test]
fn an_interrupted_upload_is_told_listed_and_gone_on_with() {
    let workshop = Workshop::with(Rules { put_latency: Duration::from_millis(100), ..Rules::default() });
    workshop.service.set_faults(Faults::of([Fault::new("PutSnapshotBlock", Kind::Throttled).probability(0.7)]));
    let mut command = workshop.command(BUILD);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while workshop.service.tally().block_bytes == 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "nothing is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted; what AWS has taken stays there"), "{}", stderr(&output));

    workshop.service.set_faults(Faults::default());
    let mut snapshots = workshop.service.snapshots(REGION);
    // The swap volume's may be complete, or not.
    snapshots.retain(|snapshot| !snapshot.tags.contains_key("nanoos:swap"));
    let [pending] = &snapshots[..] else { panic!("{snapshots:?}") };
    assert_eq!(pending.state(), SnapshotState::Pending);
    assert!(word(&workshop.run(&["aws", "ls"])).contains(&format!("{}  pending  1 GiB", pending.id)));
    let made = json(&workshop.build(&["--json"]));
    assert_eq!(made["regions"][REGION]["snapshot"], pending.id.as_str());
}

#[test]
fn a_disk_that_is_damaged_or_none_of_ours_is_not_published() {
    let workshop = Workshop::new();
    workshop.build(&["-o", "disk.raw"]);
    let path = workshop.path().join("disk.raw");
    let mut disk = fs::read(&path).unwrap();
    // Of the root, which lies before the backup of the partition table.
    let last = disk[..disk.len() - 33 * 512].iter().rposition(|byte| *byte != 0).unwrap();
    disk[last] ^= 1;
    fs::write(&path, &disk).unwrap();
    let damaged = workshop.refuse(&["publish", "disk.raw"]);
    assert!(damaged.contains("is no longer what was built (builder inspect tells more): build it again"), "{damaged}");
    fs::write(&path, vec![0; 3 << 20]).unwrap();
    assert!(workshop.refuse(&["publish", "disk.raw"]).contains("so it is no disk of builder's"));
    assert!(workshop.refuse(&["publish", "nothing.raw"]).contains("open nothing.raw: No such file"));
    assert_eq!(workshop.service.tally().count("StartSnapshot"), 0);
}

#[test]
fn an_image_is_checked_named_promoted_listed_and_removed() {
    let workshop = Workshop::new();
    workshop.service.set_console("nanoos: launch: /app runs\n");
    let id = word(&workshop.build(&["-q", "--verify", "console:launch: /app", "--ssm-parameter", "/web/ami"]));
    assert_eq!(workshop.service.parameters(REGION)[0].value, id);
    assert_eq!(workshop.service.instances(REGION).len(), 1);

    let copy = word(&workshop.run(&["promote", "-q", &id, "--to", "us-west-2", "--ssm-parameter", "/web/ami"]));
    assert_eq!(workshop.service.images("us-west-2")[0].id, copy);
    assert_eq!(workshop.service.parameters("us-west-2")[0].value, copy);
    workshop.run(&["promote", &id, "--to", "210987654321"]);

    let listed = json(&workshop.run(&["aws", "ls", "--json", "-r", REGION, "-r", "us-west-2"]));
    assert_eq!(listed[REGION]["images"][0]["id"], id.as_str());
    assert_eq!(listed["us-west-2"]["images"][0]["id"], copy.as_str());
    for region in [REGION, "us-west-2"] {
        let snapshots = listed[region]["snapshots"].as_array().unwrap();
        assert_eq!(snapshots.iter().filter(|snapshot| snapshot["swap"] == true).count(), 1, "{listed}");
    }
    assert!(word(&workshop.run(&["aws", "ls"])).contains("  completed  1 GiB of swap  "));
    workshop.run(&["aws", "rm", &id]);
    workshop.run(&["aws", "rm", "-r", "us-west-2", &copy]);
    assert!(word(&workshop.run(&["aws", "ls"])).ends_with("nothing of builder's"));
    assert!(workshop.service.snapshots(REGION).is_empty() && workshop.service.snapshots("us-west-2").is_empty());
}
