//! What a project, a jar, a binary or an archive is, and how it is built and started.
//!
//! ```text
//! a directory → Files → detect → Plan        a file → payload → Plan
//! ```
//!
//! Detection is a pure function over a list of paths and the texts that say what a project is: nothing here runs a program,
//! reaches a network or writes a file. The builder carries a plan out.

pub mod content;
pub mod detect;
pub mod elf;
pub mod files;
pub mod fit;
pub mod ignore;
pub mod links;
pub mod packing;
pub mod payload;
pub mod plan;
pub mod procfile;
