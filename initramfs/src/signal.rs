//! Signal names, as an image's STOPSIGNAL and `docker stop --signal` write them.

/// Highest real-time signal of Linux, and so the highest number a stop signal can have.
const SIGRTMAX: u8 = 64;
/// First real-time signal that a program can use: the C library keeps 32 and 33 for its threads.
const SIGRTMIN: u8 = 34;

/// The classic signals with their numbers on x86-64 and 64-bit ARM (signal(7)).
const NAMES: &[(&str, u8)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Other names of some of them.
const ALIASES: &[(&str, u8)] = &[("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// SIGTERM: what a container is stopped with when its image names no other signal.
pub const TERM: u8 = 15;
/// SIGRTMIN+3: what stops everything that systemd runs, and then systemd itself (systemd(1), SIGNALS).
pub const STOP_SYSTEMD: u8 = SIGRTMIN + 3;

/// The number of a signal given as `SIGQUIT`, `quit`, `3`, `RTMIN+3` or `SIGRTMAX-1`; `None` if there is no such signal.
#[must_use]
pub fn number(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(SIGRTMIN, offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(SIGRTMAX, offset);
    }
    NAMES.iter().chain(ALIASES).find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a signal for a message: `SIGQUIT`, `SIGRTMIN+6`, or `signal 99` where it has none.
#[must_use]
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| i32::from(*known) == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if (SIGRTMIN.into()..=SIGRTMAX.into()).contains(&number) => {
            format!("SIGRTMIN+{}", number - i32::from(SIGRTMIN))
        }
        None => format!("signal {number}"),
    }
}

fn real_time(base: u8, offset: &str) -> Option<u8> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i8>().ok()? };
    base.checked_add_signed(offset).filter(|number| (SIGRTMIN..=SIGRTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_docker_takes_is_understood() {
        for (text, expected) in [
            ("SIGQUIT", Some(3)),
            ("quit", Some(3)),
            ("3", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("rtmax-1", Some(63)),
            ("RTMIN", Some(34)),
            ("RTMIN-1", None),
            ("RTMAX+1", None),
            ("SIGNOPE", None),
            ("0", None),
            ("65", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn every_name_that_docker_knows_has_its_number() {
        // moby/sys, signal/signal_linux.go.
        let names = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
                     SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
        for name in names.split_whitespace() {
            let spellings = [name.to_owned(), format!("SIG{name}"), name.to_lowercase(), format!("sig{name}")];
            assert!(spellings.iter().all(|text| number(text).is_some()), "{name}");
        }
        let offsets = (1..=15).map(|n| format!("RTMIN+{n}")).chain((1..=14).map(|n| format!("SIGRTMAX-{n}")));
        offsets.for_each(|name| assert!(number(&name).is_some(), "{name}"));
        assert_eq!((number("SIGIOT"), number("cld"), number("POLL")), (Some(6), Some(17), Some(29)));
    }

    #[test]
    fn names_are_printed_as_the_field_writes_them() {
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(40), "SIGRTMIN+6");
        assert_eq!(name(99), "signal 99");
    }
}
