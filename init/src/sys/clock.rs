//! The kernel's clock discipline (adjtimex(2)).

use super::check;
use std::io;

/// What the kernel does with the machine's clock from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// What is still to be added, ns, at most half a second: a sixteenth of the rest each second.
    pub offset: i64,
    /// How much faster the clock runs than its hardware, in 2⁻¹⁶ parts per million.
    pub frequency: i64,
    /// How far the clock may be off, µs.
    pub max_error: i64,
    /// How far it probably is, µs.
    pub likely_error: i64,
    /// The leap second at the end of the UTC day: 1 to insert one, -1 to leave one out.
    pub leap: i8,
}

/// The kernel's time constant (`ADJ_TIMECONST`) for a sixteenth per second: it takes the 2^(2+n)th part.
const TIME_CONSTANT: i64 = 2;

/// Sets the clock forward, or backward, by so many nanoseconds.
///
/// # Errors
/// What clock_adjtime(2) answers.
pub fn step_clock(by: i64) -> io::Result<()> {
    const SECOND: i64 = 1_000_000_000;
    let mut request = empty();
    request.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    request.time.tv_sec = by.div_euclid(SECOND);
    // Nanoseconds, as ADJ_NANO says; never negative.
    request.time.tv_usec = by.rem_euclid(SECOND);
    adjust(&mut request)
}

/// Steers the clock, and marks it as set: the kernel then writes it to the real-time clock every eleven minutes.
///
/// # Errors
/// What clock_adjtime(2) answers.
pub fn discipline_clock(discipline: &Discipline) -> io::Result<()> {
    let Discipline { offset, frequency, max_error, likely_error, leap } = *discipline;
    let mut request = empty();
    request.modes = libc::ADJ_NANO
        | libc::ADJ_STATUS
        | libc::ADJ_FREQUENCY
        | libc::ADJ_OFFSET
        | libc::ADJ_TIMECONST
        | libc::ADJ_MAXERROR
        | libc::ADJ_ESTERROR;
    // The kernel's loop takes the offset away; the frequency is the caller's.
    request.status = libc::STA_PLL | libc::STA_FREQHOLD;
    request.status |= match leap {
        1 => libc::STA_INS,
        -1 => libc::STA_DEL,
        _ => 0,
    };
    request.constant = TIME_CONSTANT;
    request.offset = offset;
    request.freq = frequency;
    request.maxerror = max_error;
    request.esterror = likely_error;
    adjust(&mut request)
}

fn empty() -> libc::timex {
    // SAFETY: the structure is numbers only, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn adjust(request: &mut libc::timex) -> io::Result<()> {
    // SAFETY: clock_adjtime reads and writes the one structure that lives through the call.
    check(unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, request) })?;
    Ok(())
}
