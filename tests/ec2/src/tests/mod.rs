//! Each rule that the stand-in enforces, and each fault, over raw HTTP.

mod access;
mod blocks;
mod client;
mod complete;
mod start;
