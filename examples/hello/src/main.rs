//! A small static HTTP server.
fn main() {}
