//! What `builder` can be told to do, a file each.

mod ask;
pub(crate) mod build;
pub(crate) mod demo;
mod dotenv;
mod dry_run;
#[cfg(feature = "aws")]
pub(crate) mod ec2;
pub(crate) mod init;
pub(crate) mod manual;
mod report;
pub(crate) mod run;
mod subject;
pub(crate) mod update;
