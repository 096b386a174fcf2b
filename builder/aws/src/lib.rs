//! EBS snapshots and AMIs of disk images, without an instance and without a bucket:
//!
//! ```text
//! look → start a snapshot, or go on with one → put blocks → complete → wait → register
//! ```
//!
//! [`publish`] tells it as a story. What comes after: [`verify`] launches an image once, [`promote`] brings it to other regions and
//! accounts, [`put_parameter`] tells others its id; [`list`] and [`remove`] are for what is there.
//! Every call goes through the one layer that tries again ([`Timing`] says how long).

mod account;
mod check;
mod clock;
mod completion;
mod contents;
mod copy;
mod credentials;
mod describe;
mod encryption;
mod failure;
mod image;
mod instance;
mod inventory;
mod launch;
mod likeness;
mod naming;
mod pace;
mod parameter;
mod parent;
mod permission;
mod promote;
mod publish;
mod read;
mod regions;
mod remove;
mod report;
mod retry;
mod share;
mod snapshot;
mod start;
mod state;
mod swap;
mod tags;
mod transport;
mod upload;
mod verify;
mod volume;

pub use account::{Access, Account, Identity, Session};
pub use aws_credential_types::Credentials;
pub use check::Check;
pub use contents::{BLOCK, BlockDigest, Contents, read_block};
pub use encryption::{Encryption, KeyArn};
pub use failure::{Failure, Kind};
pub use image::{Architecture, Machine};
pub use inventory::{Inventory, OurImage, OurInstance, OurSnapshot, list};
pub use parameter::{check_parameter_name, put_parameter};
pub use promote::{Promoted, Promotion, Target, promote};
pub use publish::{Order, Published, publish, publish_in};
pub use regions::{check_regions, regions};
pub use remove::{Removed, remove};
pub use report::{Count, Report, Silent};
pub use retry::Timing;
pub use state::State;
pub use tags::{MOST_OF_USER, PREFIX, Tags};
pub use verify::{Launch, Verified, verify};
pub use volume::{Differs, check_volume};
