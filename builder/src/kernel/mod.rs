//! The kernel that a machine boots: found in the cache, built, or given; and the modules of it that a machine needs.

pub mod directory;
pub mod find;
pub mod indexes;
pub mod modules;
