//! Domain names: which ones may be written into files, and the lists in which DNS's wire format packs them.

/// Longest name in text, dots included (RFC 1035, section 2.3.4, less the root).
const LONGEST_NAME: usize = 253;
/// More domains than anybody searches: a list of pointers can name one long domain hundreds of times.
const MOST_NAMES: usize = 16;

/// Whether a name can be written into /etc/hosts and resolv.conf: dotted labels (RFC 1123), 253 bytes at the most.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

/// The names of a list in wire format (RFC 1035, sections 3.1 and 4.1.4), as DHCPv4, DHCPv6 and router
/// advertisements carry it. Pointers count from the start of the list (RFC 3397). What breaks off ends the list;
/// names that cannot be written into a file are left out, and so is the root, which router advertisements pad with.
#[must_use]
pub fn decode_list(list: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < list.len() && names.len() < MOST_NAMES {
        let Some((name, next)) = decode_name(list, at) else { break };
        at = next;
        if is_host_name(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name at a place, and where the next one starts. Labels that are no UTF-8 become ones that are no host name.
fn decode_name(list: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut next = None;
    // Each pointer must lead to before all that was read so far, so there is an end to following them.
    let (mut at, mut before) = (start, start);
    loop {
        match *list.get(at)? {
            0 => return Some((name, next.unwrap_or(at + 1))),
            length @ 1..=63 => {
                let label = list.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&String::from_utf8_lossy(label));
                at += 1 + usize::from(length);
                if name.len() > 3 * LONGEST_NAME {
                    return None;
                }
            }
            high @ 0xC0.. => {
                let target = usize::from(u16::from_be_bytes([high & 0x3F, *list.get(at + 1)?]));
                if target >= before {
                    return None;
                }
                next = next.or(Some(at + 2));
                (at, before) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_of_the_rfc_with_its_pointers() {
        // RFC 3397, section 2: eng.apple.com and marketing.apple.com.
        let list = b"\x03eng\x05apple\x03com\0\x09marketing\xC0\x04";
        assert_eq!(decode_list(list), ["eng.apple.com", "marketing.apple.com"]);
    }

    #[test]
    fn what_breaks_off_or_runs_in_circles_ends_the_list() {
        assert_eq!(decode_list(b"\x01a\0\x03co"), ["a"]);
        assert_eq!(decode_list(b"\x01a\0\x01b\xC0\x03"), ["a"], "a pointer to its own name");
        assert_eq!(decode_list(b"\x01a\0\xC0\x05\x01b\0"), ["a"], "a pointer ahead");
        assert_eq!(decode_list(b"\x01a\0\x80\x01b\0"), ["a"], "a label of no known kind");
        assert_eq!(decode_list(b""), [""; 0]);
    }

    #[test]
    fn names_that_could_do_harm_are_left_out() {
        assert_eq!(decode_list(b"\x0Ca\nnameserver\0\x03a b\0\0\x02ok\0\0\0\x01\xFF\0"), ["ok"]);
        assert_eq!(decode_list(b"\x03a.b\0"), ["a.b"], "a dot inside of a label: harmless in a file");
    }

    #[test]
    fn a_list_of_pointers_to_a_long_name_stays_small() {
        let mut list = [&[63][..], &[b'a'; 63]].concat().repeat(3);
        list.push(0);
        list.extend([0xC0, 0].repeat(600));
        assert_eq!(decode_list(&list).len(), 1);
    }

    proptest! {
        #[test]
        fn no_list_makes_the_reader_panic_and_every_name_can_be_written(
            list in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..4, Just(0xC0)], 0..400),
        ) {
            let names = decode_list(&list);
            prop_assert!(names.len() <= MOST_NAMES);
            prop_assert!(names.iter().all(|name| is_host_name(name)));
        }
    }
}
