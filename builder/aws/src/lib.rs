//! EBS snapshots and AMIs of disk images, without an instance and without a bucket:
//!
//! ```text
//! look → start a snapshot, or go on with one → put blocks → complete → wait → register
//! ```
//!
//! [`publish`] tells it as a story. Every call goes through the one layer that tries again ([`Timing`] says how long).

mod account;
mod clock;
mod completion;
mod contents;
mod credentials;
mod describe;
mod encryption;
mod failure;
mod image;
mod pace;
mod parent;
mod permission;
mod publish;
mod report;
mod retry;
mod snapshot;
mod start;
mod state;
mod tags;
mod upload;

pub use account::{Access, Account, Identity, Session};
pub use aws_credential_types::Credentials;
pub use contents::{BLOCK, BlockDigest, Contents, blocks_of, read_block};
pub use encryption::{Encryption, KeyArn};
pub use failure::{Failure, Kind};
pub use image::{Architecture, Machine};
pub use publish::{Order, Published, publish, publish_in};
pub use report::{Count, Report, Silent};
pub use retry::Timing;
pub use state::State;
pub use tags::{MOST_OF_USER, PREFIX, Tags};
