//! Stands in for EC2, the EBS direct APIs, STS and SSM.
//!
//! [`StandIn::start`] serves them all on one port of the loopback interface, told apart by what a request says. It
//! refuses what AWS documents as refused, and it fails in the ways that [`Faults`] switch on. Signatures are not
//! verified; dates, access keys, regions and services in them are.

mod auth;
mod blocks;
mod clock;
mod control;
mod ebs;
mod ec2;
mod faults;
mod http;
mod image;
mod instance;
mod random;
mod refusal;
mod rules;
mod server;
mod ssm;
mod state;
mod sts;
mod tags;
mod tally;
#[cfg(test)]
mod tests;
mod trouble;
mod volume;

pub use blocks::{BLOCK, Block, Digest};
pub use faults::{Burst, Effect, Fault, Faults, Kind, Moment, Unseen};
pub use image::{Image, ImageState, Mapping};
pub use instance::{Instance, InstanceState};
pub use rules::{ACCOUNT, Delay, InstanceRules, OTHER_ACCOUNT, OptIn, Quotas, Rules};
pub use state::{BLOCKS_PER_GIB, Parameter, Progress, Snapshot, SnapshotState, Tags};
pub use tally::Tally;
pub use volume::Volume;

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server that runs as long as this value lives.
#[derive(Debug)]
pub struct StandIn {
    shared: Arc<server::Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When there is no port, or no thread.
    pub fn start(rules: Rules) -> Result<Self> {
        StandIn::start_on(0, rules)
    }

    /// Starts on this port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port is taken, or there is no thread.
    pub fn start_on(port: u16, rules: Rules) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("listen at port {port}"))?;
        let address = listener.local_addr().context("learn the port")?;
        let shared = Arc::new(server::Shared::new(rules));
        let its = Arc::clone(&shared);
        let accepting = thread::Builder::new().name("ec2-stand-in".to_owned());
        let accepting = accepting.spawn(move || server::accept(&listener, &its)).context("start a thread")?;
        Ok(StandIn { shared, address, accepting: Some(accepting) })
    }

    /// Where it answers: `http://127.0.0.1:PORT`, for every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the faults, and ends a crash.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.trouble() = trouble::Trouble::new(faults);
    }

    /// Moves the clock that timeouts, delays and tokens go by. Requests' dates are held against the real one (and
    /// [`Faults::clock_skew`]).
    pub fn advance(&self, time: Duration) {
        self.shared.world().advanced += time;
    }

    /// Switches encryption by default: on where [`Rules`] say off, and off where they say on.
    pub fn switch_encryption_by_default(&self) {
        self.shared.encryption_switched.fetch_xor(true, Ordering::Relaxed);
    }

    /// Removes an image and a snapshot, as somebody else may at any time.
    pub fn remove(&self, region: &str, image: &str, snapshot: &str) {
        let mut world = self.shared.world();
        let region = world.region(region);
        region.images.remove(image);
        region.snapshots.remove(snapshot);
    }

    /// Disables an image (DisableImage): DescribeImages lists it only where disabled ones are asked for.
    pub fn disable(&self, region: &str, image: &str) {
        if let Some(image) = self.shared.world().region(region).images.get_mut(image) {
            image.disabled = true;
        }
    }

    /// Moves an image to the Recycle Bin: DescribeImages does not list it, and its snapshots can't be deleted.
    pub fn recycle(&self, region: &str, image: &str) {
        if let Some(image) = self.shared.world().region(region).images.get_mut(image) {
            image.unseen = u32::MAX;
        }
    }

    /// Sets what `GetConsoleOutput` tells.
    pub fn set_console(&self, text: &str) {
        text.clone_into(&mut self.shared.world().console);
    }

    /// Changes the tags of a snapshot or an image, as some other tool may.
    pub fn retag(&self, region: &str, id: &str, change: impl FnOnce(&mut Tags)) {
        let mut world = self.shared.world();
        let region = world.region(region);
        let of_image = region.images.get_mut(id).map(|image| &mut image.tags);
        let tags = of_image.or_else(|| region.snapshots.get_mut(id).map(|snapshot| &mut snapshot.tags));
        if let Some(tags) = tags {
            change(tags);
        }
    }

    /// Writes a block of a snapshot, complete or not, as nobody can: what is in it then is what no client has put
    /// there.
    pub fn overwrite(&self, region: &str, id: &str, index: u32, bytes: &[u8]) {
        let block = self.shared.blocks.intern(blocks::digest(bytes), bytes);
        if let Some(snapshot) = self.shared.world().snapshot_mut(region, id) {
            snapshot.blocks.insert(index, block);
        }
    }

    /// Makes an instance end by itself, as one that powers off does where that terminates it.
    pub fn end_instance(&self, region: &str, id: &str) {
        if let Some(instance) = self.shared.world().region(region).instances.get_mut(id) {
            instance.progress = Progress::In(InstanceState::Terminated);
        }
    }

    /// Every snapshot of a region, as it is now.
    #[must_use]
    pub fn snapshots(&self, region: &str) -> Vec<Snapshot> {
        self.shared.world().region(region).snapshots.values().cloned().collect()
    }

    /// Every image of a region.
    #[must_use]
    pub fn images(&self, region: &str) -> Vec<Image> {
        self.shared.world().region(region).images.values().cloned().collect()
    }

    /// Every instance of a region.
    #[must_use]
    pub fn instances(&self, region: &str) -> Vec<Instance> {
        self.shared.world().region(region).instances.values().cloned().collect()
    }

    /// Every parameter of a region.
    #[must_use]
    pub fn parameters(&self, region: &str) -> Vec<Parameter> {
        self.shared.world().region(region).parameters.values().cloned().collect()
    }

    /// One snapshot.
    #[must_use]
    pub fn snapshot(&self, region: &str, id: &str) -> Option<Snapshot> {
        self.shared.world().region(region).snapshots.get(id).cloned()
    }

    /// What a volume of a snapshot reads at a block: what was written to it or its ancestors, else zeros, or noise
    /// where it is encrypted. None for no such snapshot or block.
    #[must_use]
    pub fn block(&self, region: &str, id: &str, index: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot(region, id)?;
        (u64::from(index) < snapshot.volume_blocks()).then(|| snapshot.read(index))
    }

    /// The volume that an instance gets for a device of an image, were it launched now.
    #[must_use]
    pub fn volume(&self, region: &str, image: &str, device: &str) -> Option<Volume> {
        let by_default = self.shared.encrypts_by_default(region);
        Volume::new(self.shared.world().region(region), image, device, by_default)
    }

    /// How many blocks a volume of a snapshot has.
    #[must_use]
    pub fn volume_blocks(&self, region: &str, id: &str) -> Option<u64> {
        self.snapshot(region, id).map(|snapshot| snapshot.volume_blocks())
    }

    /// Every block that a volume of a snapshot has of it or its ancestors: None for what was never written. As long
    /// as its last written block needs.
    #[must_use]
    pub fn read_back(&self, region: &str, id: &str) -> Option<Vec<Option<Block>>> {
        let written = self.snapshot(region, id)?.all_written();
        let end = written.keys().next_back().map_or(0, |last| last + 1);
        Some((0..end).map(|index| written.get(&index).cloned()).collect())
    }

    /// What was asked for since the start or [`StandIn::reset_tally`].
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.counting().tally.clone()
    }

    /// Counts from zero again.
    pub fn reset_tally(&self) {
        self.shared.counting().reset();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the accepting thread. Where connecting fails, it has ended.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            // A panic of its was told on standard error.
            let _ = accepting.join();
        }
    }
}
