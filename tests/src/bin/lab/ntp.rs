//! Time servers that lie (RFC 5905). An honest one is chronyd.

use anyhow::{Context, Result, bail};
use std::net::{IpAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

/// From NTP's epoch, 1900-01-01, to Unix's, s.
const EPOCHS: u64 = 2_208_988_800;
const YEAR: i64 = 31_557_600;
/// No leap warning, version 4, mode 4 (server).
const SERVER: u8 = 4 << 3 | 4;

/// Answers each request with the same lie, in turn where there are several: its time is off by `years`.
pub(crate) fn serve(address: &str, lie: &str) -> Result<()> {
    let address: IpAddr = address.parse().with_context(|| format!("{address} is no address"))?;
    let socket = UdpSocket::bind((address, 123)).with_context(|| format!("listen at {address}, port 123"))?;
    let mut request = [0; 256];
    for turn in 0.. {
        let (length, client) = socket.recv_from(&mut request).context("receive")?;
        if length < 48 {
            continue;
        }
        let answer = answer(&request[40..48], lie, turn)?;
        eprintln!("{client} asks, and is told: {lie}");
        socket.send_to(&answer, client).context("answer")?;
    }
    Ok(())
}

fn answer(origin: &[u8], lie: &str, turn: i64) -> Result<[u8; 48]> {
    let mut answer = [0; 48];
    answer[..4].copy_from_slice(&[SERVER, 1, 4, 0xEC]);
    answer[24..32].copy_from_slice(origin);
    let mut off = 0;
    match lie {
        "unsynchronized" => answer[0] |= 3 << 6,
        "origin" => answer[24] ^= 1,
        "distance" => answer[5] = 60,
        "deny" => {
            answer[1] = 0;
            answer[12..16].copy_from_slice(b"DENY");
        }
        "past" => off = -20 * YEAR,
        // Never the same twice.
        "flap" => off = (turn + 1) * YEAR,
        _ => bail!("{lie} is not a lie I know"),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let seconds = (now.as_secs() + EPOCHS).checked_add_signed(off).context("a time before 1900")?;
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    let timestamp = (seconds << 32 | fraction).to_be_bytes();
    answer[32..40].copy_from_slice(&timestamp);
    answer[40..48].copy_from_slice(&timestamp);
    Ok(answer)
}
