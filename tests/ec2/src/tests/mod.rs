//! Each rule that the stand-in enforces, and each fault, over raw HTTP.

mod access;
mod blocks;
mod client;
mod complete;
mod copying;
mod faults;
mod images;
mod instances;
mod reading;
mod registering;
mod resets;
mod snapshots;
mod ssm;
mod start;
mod volumes;
