//! What `builder` can be told to do, a file each.

pub(crate) mod build;
pub(crate) mod demo;
mod dry_run;
pub(crate) mod manual;
mod report;
pub(crate) mod run;
