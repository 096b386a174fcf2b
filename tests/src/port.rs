//! Free ports of the loopback interface.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};

/// A TCP port that nobody listens on. Another process may take it before it is used: callers try again with
/// another one then.
///
/// # Errors
/// When the kernel has no port left.
pub fn free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
