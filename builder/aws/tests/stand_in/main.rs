//! The whole way from a disk to an image, against the stand-in for AWS.

mod errors;
mod incremental;
mod lab;
mod pace;
mod publishing;
mod renewal;
mod resuming;
mod schedules;
mod swap;
mod whole;
