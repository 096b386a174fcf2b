//! NTP messages of a client (RFC 5905, section 7.3), and what makes a reply unbelievable.

use std::fmt;

/// A message without extensions: all that a client needs.
pub const LENGTH: usize = 48;
/// No leap warning, version 4, mode 3 (client).
const CLIENT: u8 = 4 << 3 | 3;
/// The mode of a server's answer.
const SERVER: u8 = 4;
/// Leap indicator of a server whose own clock is not set.
const UNSYNCHRONIZED: u8 = 3;
/// Above this stratum a server has nobody to ask (RFC 5905, figure 11).
const HIGHEST_STRATUM: u8 = 15;
/// A server that is further from the truth than this is not worth asking: RFC 5905's MAXDIST, ns.
const FURTHEST: i64 = 1_500_000_000;
/// How long a server may hold a request, ns. Real ones take microseconds.
const LONGEST_HOLD: i64 = 1_000_000_000;
/// 2026-01-01 in Unix time, s: this program was written later, so a time before it is no time that it can live in.
const FLOOR: i64 = 1_767_225_600;
/// From NTP's epoch, 1900-01-01, to Unix's, s.
const EPOCHS: i64 = 2_208_988_800;
const SECOND: i64 = 1_000_000_000;

/// A believable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// When the request came, Unix time in ns.
    pub received: i64,
    /// When the answer left, Unix time in ns.
    pub sent: i64,
    /// How far the server may be from the truth, ns: half of the way to its reference, and its dispersion.
    pub distance: i64,
    /// The leap second it warns of.
    pub leap: Leap,
}

/// What the last minute of the month will be like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leap {
    /// Like any other.
    #[default]
    None,
    /// A second longer.
    Insert,
    /// A second shorter.
    Delete,
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer bytes than a message has.
    Short,
    /// Not version 3 or 4.
    Version,
    /// Not a server's answer.
    Mode,
    /// It does not carry our request's timestamp: forged, or an answer to something else.
    Origin,
    /// Asked too often: less often from now on.
    Slower,
    /// Not to be asked again.
    Denied,
    /// Another kiss code (RFC 5905, section 7.4): its four letters.
    Kiss([u8; 4]),
    /// The server's own clock is not set.
    Unsynchronized,
    /// The server is too far from its reference.
    Distance,
    /// A timestamp is missing, before this program was written, or the answer left before the request came.
    Time,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Short => "the message is too short",
            Refusal::Version => "the message has an unknown version",
            Refusal::Mode => "the message is no server's answer",
            Refusal::Origin => "the answer is not to our request",
            Refusal::Slower => "the server wants to be asked less often",
            Refusal::Denied => "the server does not want to be asked",
            Refusal::Kiss(code) => return write!(f, "the server says {}", code.escape_ascii()),
            Refusal::Unsynchronized => "the server's own clock is not set",
            Refusal::Distance => "the server is too far from its reference",
            Refusal::Time => "the server's time is absurd",
        })
    }
}

/// A request. `origin` stands in it as the time that it leaves, and comes back in the answer: a random number tells
/// our own answers from forged ones, and tells nobody our time.
#[must_use]
pub fn request(origin: u64) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    let (head, transmit) = message.split_at_mut(LENGTH - 8);
    head.iter_mut().take(1).for_each(|first| *first = CLIENT);
    transmit.copy_from_slice(&origin.to_be_bytes());
    message
}

/// Reads the answer to the request with this origin.
///
/// # Errors
/// Why it is not believed. A kiss counts only with our origin, so that nobody else can send us away.
pub fn parse(message: &[u8], origin: u64) -> Result<Reply, Refusal> {
    let message: &[u8; LENGTH] = message.first_chunk().ok_or(Refusal::Short)?;
    let [flags, stratum, _, _, rest @ ..] = message;
    let (leap, version, mode) = (flags >> 6, flags >> 3 & 7, flags & 7);
    if mode != SERVER {
        return Err(Refusal::Mode);
    }
    if !matches!(version, 3 | 4) {
        return Err(Refusal::Version);
    }
    if timestamp(rest, 20) != origin {
        return Err(Refusal::Origin);
    }
    if *stratum == 0 {
        let code = rest.get(8..).and_then(|id| id.first_chunk()).copied().unwrap_or_default();
        return Err(match &code {
            b"RATE" => Refusal::Slower,
            b"DENY" | b"RSTR" => Refusal::Denied,
            _ => Refusal::Kiss(code),
        });
    }
    if leap == UNSYNCHRONIZED || *stratum > HIGHEST_STRATUM {
        return Err(Refusal::Unsynchronized);
    }
    let distance = short(rest, 0) / 2 + short(rest, 4);
    if distance >= FURTHEST {
        return Err(Refusal::Distance);
    }
    let (received, sent) = (timestamp(rest, 28), timestamp(rest, 36));
    let (Some(received), Some(sent)) = (unix(received), unix(sent)) else { return Err(Refusal::Time) };
    if !(0..=LONGEST_HOLD).contains(&(sent - received)) {
        return Err(Refusal::Time);
    }
    let leap = match leap {
        1 => Leap::Insert,
        2 => Leap::Delete,
        _ => Leap::None,
    };
    Ok(Reply { received, sent, distance, leap })
}

/// Whether a clock may show this, Unix time in ns.
#[must_use]
pub fn is_possible(time: i64) -> bool {
    (FLOOR..FLOOR + (1 << 31)).contains(&(time / SECOND))
}

/// Unix time in ns of a timestamp, which has seconds since 1900 modulo 2³² and a fraction: in 2036 it starts over, so it
/// is taken as the first such moment since [`FLOOR`]. The later half of these 136 years are times before it.
fn unix(timestamp: u64) -> Option<i64> {
    let seconds = i64::try_from(timestamp >> 32).ok()?;
    let fraction = i64::try_from(((timestamp & 0xFFFF_FFFF) * 1_000_000_000) >> 32).ok()?;
    let since_floor = (seconds - EPOCHS - FLOOR).rem_euclid(1 << 32);
    let time = (FLOOR + since_floor) * SECOND + fraction;
    (timestamp != 0 && is_possible(time)).then_some(time)
}

fn timestamp(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A duration in ns from NTP's short format, seconds with 16 bits of fraction.
fn short(bytes: &[u8], at: usize) -> i64 {
    let value = bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    (i64::from(value) * SECOND) >> 16
}

#[cfg(test)]
mod tests;
