use super::*;
use proptest::prelude::*;

const ORIGIN: u64 = 0x0123_4567_89AB_CDEF;
/// 2026-11-21 12:00:00 UTC.
const NOON: i64 = 1_795_262_400;

fn ntp(unix: i64, fraction: u32) -> u64 {
    u64::try_from((unix + EPOCHS).rem_euclid(1 << 32)).unwrap() << 32 | u64::from(fraction)
}

/// A stratum 2 server's answer after 10 µs, at noon and a half.
fn answer() -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    message[..4].copy_from_slice(&[4 << 3 | 4, 2, 4, 0xE8]);
    message[4..8].copy_from_slice(&0x0000_0200u32.to_be_bytes());
    message[8..12].copy_from_slice(&0x0000_0100u32.to_be_bytes());
    message[24..32].copy_from_slice(&ORIGIN.to_be_bytes());
    message[32..40].copy_from_slice(&ntp(NOON, 1 << 31).to_be_bytes());
    message[40..48].copy_from_slice(&ntp(NOON, (1 << 31) + 42_950).to_be_bytes());
    message
}

fn with(change: impl FnOnce(&mut [u8; LENGTH])) -> Result<Reply, Refusal> {
    let mut message = answer();
    change(&mut message);
    parse(&message, ORIGIN)
}

#[test]
fn a_request_says_nothing_but_its_origin() {
    let message = request(ORIGIN);
    assert_eq!(message[0], 0x23);
    assert!(message[1..40].iter().all(|byte| *byte == 0));
    assert_eq!(message[40..], ORIGIN.to_be_bytes());
}

#[test]
fn an_answer_is_read() {
    let reply = parse(&answer(), ORIGIN).unwrap();
    assert_eq!(reply.received, NOON * SECOND + 500_000_000);
    assert_eq!(reply.sent - reply.received, 10_000);
    // 2⁻⁷ s / 2 + 2⁻⁸ s
    assert_eq!(reply.distance, SECOND / 128);
    assert_eq!(reply.leap, Leap::None);
    // Extensions and signatures that follow are no concern of ours.
    assert_eq!(parse(&[&answer()[..], &[7; 20]].concat(), ORIGIN), Ok(reply));
    assert_eq!(with(|it| it[0] |= 1 << 6).unwrap().leap, Leap::Insert);
}

#[test]
fn what_is_wrong_is_told() {
    assert_eq!(parse(&answer()[..47], ORIGIN), Err(Refusal::Short));
    assert_eq!(with(|it| it[0] = 4 << 3 | 3), Err(Refusal::Mode));
    assert_eq!(with(|it| it[0] = 4 << 3 | 5), Err(Refusal::Mode));
    assert_eq!(with(|it| it[0] = 2 << 3 | 4), Err(Refusal::Version));
    assert_eq!(parse(&answer(), ORIGIN + 1), Err(Refusal::Origin));
    assert_eq!(with(|it| it[0] |= 3 << 6), Err(Refusal::Unsynchronized));
    assert_eq!(with(|it| it[1] = 16), Err(Refusal::Unsynchronized));
    assert_eq!(with(|it| it[5] = 4), Err(Refusal::Distance));
    assert_eq!(with(|it| it[9] = 2), Err(Refusal::Distance));
    assert_eq!(with(|it| it[40..48].fill(0)), Err(Refusal::Time));
    assert_eq!(with(|it| it[40..48].copy_from_slice(&ntp(NOON, 0).to_be_bytes())), Err(Refusal::Time));
    assert_eq!(with(|it| it[40..48].copy_from_slice(&ntp(NOON + 3, 0).to_be_bytes())), Err(Refusal::Time));
    let year_2010 = ntp(1_262_304_000, 0).to_be_bytes();
    assert_eq!(with(|it| [32, 40].map(|at| it[at..at + 8].copy_from_slice(&year_2010)).fill(())), Err(Refusal::Time));
}

#[test]
fn kisses_count_only_with_our_origin() {
    let kiss = |code: &'static [u8; 4]| {
        with(|it| {
            it[0] |= 3 << 6;
            it[1] = 0;
            it[12..16].copy_from_slice(code);
        })
    };
    assert_eq!(kiss(b"RATE"), Err(Refusal::Slower));
    assert_eq!(kiss(b"DENY"), Err(Refusal::Denied));
    assert_eq!(kiss(b"RSTR"), Err(Refusal::Denied));
    assert_eq!(kiss(b"INIT"), Err(Refusal::Kiss(*b"INIT")));
    assert_eq!(format!("{}", kiss(b"\x1b[2J").unwrap_err()), r"the server says \x1b[2J");
    let mut forged = answer();
    forged[1] = 0;
    forged[12..16].copy_from_slice(b"DENY");
    assert_eq!(parse(&forged, ORIGIN + 1), Err(Refusal::Origin));
}

#[test]
fn time_goes_on_when_the_era_ends() {
    // 2036-02-07 06:28:16 UTC, when NTP's seconds start over.
    let end = (1 << 32) - EPOCHS;
    assert_eq!(unix(ntp(end - 1, 0)), Some((end - 1) * SECOND));
    assert_eq!(unix(1 << 32), Some((end + 1) * SECOND));
    assert_eq!(unix(ntp(FLOOR, 0)), Some(FLOOR * SECOND));
    assert_eq!(unix(ntp(FLOOR - 1, 0)), None);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_have_a_possible_time(
        message in prop::collection::vec(any::<u8>(), 0..100), ours: bool,
    ) {
        let origin = if ours { message.get(24..32).map_or(0, |it| u64::from_be_bytes(it.try_into().unwrap())) } else { ORIGIN };
        if let Ok(reply) = parse(&message, origin) {
            prop_assert!(is_possible(reply.received) && reply.sent >= reply.received && reply.distance >= 0);
        }
    }
}
