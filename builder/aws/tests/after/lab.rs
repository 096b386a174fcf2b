//! A stand-in with images in it, and who is told.

use aws::{
    Access, Account, Architecture, BLOCK, BlockDigest, Contents, Count, Credentials, Encryption, Machine, Order,
    Published, Report, Session, State, Tags, Timing, publish_in,
};
use ec2_stand_in::{Image, Instance, Rules, StandIn};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const OTHER: &str = "us-west-2";

/// A stand-in and a directory for states.
pub(crate) struct Lab {
    pub(crate) cloud: StandIn,
    pub(crate) timing: Timing,
    pub(crate) told: Arc<Told>,
    dir: tempfile::TempDir,
}

/// Rules whose quotas no test hits.
pub(crate) fn rules() -> Rules {
    let mut rules = Rules::default();
    (rules.quotas.start, rules.quotas.complete) = (1000, 1000);
    rules
}

impl Lab {
    pub(crate) fn new() -> Self {
        Lab::with(rules())
    }

    pub(crate) fn with(rules: Rules) -> Self {
        let timing = Timing {
            call: Duration::from_secs(20),
            pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
            seen: Duration::from_millis(600),
            poll: Duration::from_millis(5),
            completion: Duration::from_secs(10),
            ..Timing::default()
        };
        let (cloud, dir) = (StandIn::start(rules).unwrap(), tempfile::tempdir().unwrap());
        Lab { cloud, timing, told: Arc::default(), dir }
    }

    pub(crate) async fn account(&self) -> Account {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let (endpoint, timing) = (Some(self.cloud.endpoint()), self.timing.clone());
        Account::open(Access { endpoint, credentials: Some(credentials), timing, ..Access::default() }).await
    }

    pub(crate) async fn session(&self) -> Session {
        self.account().await.region(REGION)
    }

    pub(crate) fn report(&self) -> Arc<dyn Report> {
        self.told.clone()
    }

    /// An order for a disk of one block.
    pub(crate) fn order(&self, seed: u64) -> Order {
        let disk = tempfile::tempfile().unwrap();
        let mut block = vec![0; BLOCK];
        fastrand::Rng::with_seed(seed).fill(&mut block);
        disk.write_all_at(&block, 0).unwrap();
        Order {
            disk: Arc::new(disk),
            contents: Contents::new(vec![(0, BlockDigest::of(&block))]).unwrap(),
            machine: Machine { architecture: Architecture::X86_64, swap: 0, plain_swap: false, tpm: false },
            name: None,
            source: "nginx:1.27".to_owned(),
            repository: "nginx".to_owned(),
            provenance: vec![("digest", "sha256:12".to_owned())],
            tags: Tags::from([("team".to_owned(), "web".to_owned())]),
            encryption: Encryption::Default,
            force: false,
        }
    }

    pub(crate) async fn publish(&self, order: &Order) -> Published {
        self.try_publish(order).await.unwrap()
    }

    pub(crate) async fn try_publish(&self, order: &Order) -> anyhow::Result<Published> {
        let state = State::open(self.dir.path()).unwrap();
        publish_in(&self.session().await, order, &state, self.report().as_ref()).await
    }

    /// An image of one block, with swap.
    pub(crate) async fn image_with_swap(&self, seed: u64) -> Published {
        let mut order = self.order(seed);
        order.machine.swap = 1;
        self.publish(&order).await
    }

    /// The snapshot of an image's swap volume.
    pub(crate) fn swap(&self, region: &str, image: &str) -> String {
        self.described(region, image).mappings[1].snapshot.clone().unwrap()
    }

    /// An image of one block.
    pub(crate) async fn image(&self, seed: u64) -> Published {
        self.publish(&self.order(seed)).await
    }

    /// An image as the stand-in has it.
    pub(crate) fn described(&self, region: &str, id: &str) -> Image {
        self.cloud.images(region).into_iter().find(|image| image.id == id).unwrap()
    }

    /// The one instance there is.
    pub(crate) fn instance(&self) -> Instance {
        let mut instances = self.cloud.instances(REGION);
        assert_eq!(instances.len(), 1, "{instances:?}");
        instances.remove(0)
    }

    pub(crate) fn count(&self, action: &str) -> u64 {
        self.cloud.tally().count(action)
    }
}

/// Whatever was told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Report for Told {
    fn step(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn warn(&self, text: String) {
        self.0.lock().unwrap().push(format!("warning: {text}"));
    }

    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(aws::Silent)
    }
}

/// Asserts that an error says all of this.
#[track_caller]
pub(crate) fn says(error: &anyhow::Error, parts: &[&str]) {
    let text = format!("{error:#}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

/// What the account does by other tools.
impl Lab {
    /// Takes our tags from an image and its snapshot.
    pub(crate) fn untag(&self, published: &Published) {
        for id in [&published.image, published.snapshot.as_ref().unwrap()] {
            self.cloud.retag(REGION, id, |tags| tags.retain(|key, _| !key.starts_with("nanoos:")));
        }
    }

    pub(crate) fn tag(&self, region: &str, id: &str, key: &str, value: &str) {
        self.cloud.retag(region, id, |tags| drop(tags.insert(key.to_owned(), value.to_owned())));
    }

    /// Terminates an instance, as its own program may.
    pub(crate) fn end_instance(&self, id: &str) {
        self.cloud.end_instance(REGION, id);
    }
}
