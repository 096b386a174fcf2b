//! A stand-in, disks, and what must hold of an image in the end.

use aws::{
    Access, Account, Architecture, BLOCK, BlockDigest, Contents, Credentials, Encryption, Machine, Order, Published,
    Session, Silent, State, Tags, Timing, publish_in,
};
use ec2_stand_in::{Image, ImageState, Mapping, Rules, Snapshot, SnapshotState, StandIn};
use initramfs::swap_mark;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const REGION: &str = "eu-central-1";
/// A key of KMS.
pub(crate) const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-1234-1234-123456789012";

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Zeros,
    /// Noise of this seed.
    Noise(u64),
}

/// A disk of these blocks, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Disk(pub(crate) Vec<(u32, Fill)>);

impl Disk {
    /// Blocks from 0 on, every seventh of zeros.
    pub(crate) fn of(blocks: u32, seed: u64) -> Self {
        let fill = |index: u32| match index % 7 {
            3 => Fill::Zeros,
            _ => Fill::Noise(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(index))),
        };
        Disk((0..blocks).map(|index| (index, fill(index))).collect())
    }

    pub(crate) fn set(&mut self, index: usize, fill: Fill) {
        self.0[index].1 = fill;
    }

    /// The file and its contents.
    pub(crate) fn make(&self) -> (Arc<File>, Contents) {
        let file = tempfile::tempfile().unwrap();
        let block = |(index, fill): &(u32, Fill)| {
            let mut block = vec![0; BLOCK];
            if let Fill::Noise(seed) = fill {
                fastrand::Rng::with_seed(*seed).fill(&mut block);
            }
            file.write_all_at(&block, u64::from(*index) * BLOCK as u64).unwrap();
            (*index, BlockDigest::of(&block))
        };
        let blocks = self.0.iter().map(block).collect();
        (Arc::new(file), Contents::new(blocks).unwrap())
    }

    /// An order for it.
    pub(crate) fn order(&self) -> Order {
        let (disk, contents) = self.make();
        Order {
            disk,
            contents,
            machine: Machine { architecture: Architecture::X86_64, swap: 0, plain_swap: false, tpm: false },
            name: None,
            source: "nginx:1.27".to_owned(),
            repository: "nginx".to_owned(),
            provenance: vec![("image", "docker.io/library/nginx@sha256:12".to_owned())],
            tags: Tags::from([("team".to_owned(), "web".to_owned())]),
            encryption: Encryption::Default,
            force: false,
        }
    }
}

/// Patience for when nothing fails.
pub(crate) fn calm() -> Timing {
    Timing {
        connect: Duration::from_secs(10),
        attempt: Duration::from_secs(20),
        call: Duration::from_secs(40),
        first: Duration::from_secs(20),
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(100),
        seen: Duration::from_millis(1500),
        poll: Duration::from_millis(5),
        completion: Duration::from_secs(20),
    }
}

/// Patience for when much does.
pub(crate) fn hasty() -> Timing {
    Timing {
        attempt: Duration::from_millis(1500),
        call: Duration::from_millis(800),
        seen: Duration::from_millis(400),
        completion: Duration::from_secs(2),
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(40),
        ..calm()
    }
}

/// A stand-in and a directory for states.
pub(crate) struct Lab {
    pub(crate) cloud: StandIn,
    pub(crate) timing: Timing,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) key: &'static str,
    pub(crate) token: Option<&'static str>,
}

/// Rules whose quotas no test hits that does not mean to.
pub(crate) fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.quotas.start = 10_000;
    rules.quotas.complete = 10_000;
    rules.quotas.put = 100_000;
    rules
}

/// The same with encryption by default.
pub(crate) fn encrypting() -> Rules {
    Rules { encryption_by_default: [REGION.to_owned()].into(), ..rules() }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Lab::with(rules())
    }

    pub(crate) fn with(rules: Rules) -> Self {
        let (cloud, dir) = (StandIn::start(rules).unwrap(), tempfile::tempdir().unwrap());
        Lab { cloud, timing: calm(), dir, key: "AKIDEXAMPLE", token: None }
    }

    pub(crate) async fn session(&self) -> Session {
        self.account().await.region(REGION)
    }

    pub(crate) async fn account(&self) -> Account {
        let credentials = Credentials::new(self.key, "secret", self.token.map(ToOwned::to_owned), None, "test");
        let access = Access {
            endpoint: Some(self.cloud.endpoint()),
            credentials: Some(credentials),
            timing: self.timing.clone(),
            ..Access::default()
        };
        Account::open(access).await
    }

    /// What one machine keeps.
    pub(crate) fn state(&self, machine: &str) -> State {
        State::open(&self.dir.path().join(machine)).unwrap()
    }

    pub(crate) fn path(&self, machine: &str, name: &str) -> PathBuf {
        self.dir.path().join(machine).join(name)
    }

    /// Publishes from a machine.
    pub(crate) async fn publish_from(&self, machine: &str, order: &Order) -> anyhow::Result<Published> {
        publish_in(&self.session().await, order, &self.state(machine), &Silent).await
    }

    pub(crate) async fn publish(&self, order: &Order) -> anyhow::Result<Published> {
        self.publish_from("here", order).await
    }

    /// How often something was asked for.
    pub(crate) fn count(&self, action: &str) -> u64 {
        self.cloud.tally().count(action)
    }

    pub(crate) fn image(&self, id: &str) -> Image {
        self.cloud.images(REGION).into_iter().find(|image| image.id == id).unwrap_or_else(|| panic!("no image {id}"))
    }

    pub(crate) fn snapshot(&self, id: &str) -> Snapshot {
        self.cloud.snapshot(REGION, id).unwrap_or_else(|| panic!("no snapshot {id}"))
    }

    /// Snapshots that take blocks.
    pub(crate) fn pending(&self) -> Vec<Snapshot> {
        let all = self.cloud.snapshots(REGION).into_iter();
        all.filter(|snapshot| snapshot.state() == SnapshotState::Pending).collect()
    }

    /// Asserts all that must hold of an image.
    pub(crate) fn check(&self, published: &Published, order: &Order) {
        let image = self.image(&published.image);
        check_image(&image, order);
        let id = published.snapshot.as_ref().expect("a snapshot");
        assert_eq!(image.mappings[0].snapshot.as_ref(), Some(id));
        let snapshot = self.snapshot(id);
        assert_eq!(snapshot.state(), SnapshotState::Completed);
        assert_eq!(snapshot.volume_size, u64::from(order.contents.volume()));
        check_tags(&snapshot.tags, order);
        read_back(&snapshot, order);
        if order.machine.swap > 0 {
            self.check_swap(&image, order.machine.swap);
        }
    }

    /// Asserts that init takes the swap volume of an image: it bears the mark.
    pub(crate) fn check_swap(&self, image: &Image, gib: u32) {
        let snapshot = self.snapshot(image.mappings[1].snapshot.as_ref().expect("a snapshot for swap"));
        assert_eq!((snapshot.state(), snapshot.volume_size), (SnapshotState::Completed, u64::from(gib)));
        assert_eq!(snapshot.tags["nanoos:swap"], format!("{gib} GiB"));
        assert!(snapshot.tags.contains_key("nanoos:content") && snapshot.parent.is_none());
        let volume = self.cloud.volume(REGION, &image.id, "/dev/xvdb").unwrap();
        let blocks = u32::try_from(volume.blocks()).unwrap();
        for (start, ends) in swap_mark::areas(u64::from(gib) << 30).into_iter().zip([[0, 1], [blocks - 2, blocks - 1]])
        {
            let read = ends.map(|index| volume.read(index)).concat();
            assert!(read == swap_mark::area(start, u64::from(gib) << 30), "no mark at {start}");
        }
    }
}

/// Asserts that every block of the disk reads as it should, and that nothing else is readable in the whole volume: any
/// other block is zeros, or was never written, by it or an ancestor.
pub(crate) fn read_back(snapshot: &Snapshot, order: &Order) {
    let ours: BTreeMap<u32, BlockDigest> = order.contents.blocks().iter().copied().collect();
    for (index, block) in snapshot.all_written() {
        let foreign = !ours.contains_key(&index) && !BlockDigest(block.digest).is_of_zeros();
        assert!(!foreign, "block {index} of {} holds what is no part of the disk", snapshot.id);
    }
    for (index, digest) in order.contents.blocks() {
        // The stand-in has held it against the data. What is not written reads as noise once the volume is encrypted.
        let same = snapshot.written(*index).is_some_and(|block| block.digest == digest.0);
        assert!(same, "block {index} of {} reads otherwise than the disk", snapshot.id);
    }
}

fn check_tags(tags: &ec2_stand_in::Tags, order: &Order) {
    assert_eq!(tags.get("nanoos:content"), Some(&order.contents.id()));
    assert_eq!(tags.get("nanoos:repository"), Some(&order.repository));
    for (key, value) in &order.provenance {
        assert_eq!(tags.get(&format!("nanoos:{key}")), Some(value));
    }
    for (key, value) in &order.tags {
        assert_eq!(tags.get(key), Some(value));
    }
    assert!(tags.contains_key("Name"));
}

fn check_image(image: &Image, order: &Order) {
    check_tags(&image.tags, order);
    assert!(image.tags.contains_key("nanoos:machine"));
    let architecture = match order.machine.architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    assert_eq!((image.architecture.as_str(), image.virtualization.as_str()), (architecture, "hvm"));
    assert_eq!(image.boot_mode.as_deref(), Some("uefi"));
    assert_eq!(image.tpm.as_deref(), order.machine.tpm.then_some("v2.0"));
    assert_eq!((image.imds.as_deref(), image.sriov.as_deref()), (Some("v2.0"), Some("simple")));
    assert!(image.ena);
    assert_eq!(image.state(), ImageState::Available);
    assert_eq!(image.root_device, "/dev/xvda");
    assert_eq!(image.mappings.len(), 1 + usize::from(order.machine.swap > 0));
    for Mapping { volume_type, delete_on_termination, .. } in &image.mappings {
        assert_eq!((volume_type.as_str(), delete_on_termination), ("gp3", &true));
    }
    if let Some(swap) = image.mappings.get(1) {
        assert_eq!((swap.device.as_str(), swap.size), ("/dev/xvdb", u64::from(order.machine.swap)));
    }
    if let Some(name) = &order.name {
        assert_eq!(&image.name, name);
    }
    assert!(image.description.starts_with("NanoOS: "));
}

/// What the user would read; it is a sentence and no dump.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    for mark in ["Some(", "SdkError", "ServiceError", "ConnectorError", " { ", "Err(", "Os {", "\n", "None,"] {
        assert!(!text.contains(mark), "a dump: {text}");
    }
    assert!((10..1500).contains(&text.len()), "{text}");
    text
}
