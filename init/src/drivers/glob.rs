//! Shell patterns, as modules.alias writes them: `*`, `?` and `[a-z]` (glob(7)).

/// Whether `text` as a whole matches `pattern`. Linear in memory, and never worse than `pattern × text` in time.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how much text it has swallowed: the only place ever to go back to.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let rest = pattern.get(p..).unwrap_or_default();
        match (rest.first(), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, t));
                continue;
            }
            (Some(_), Some(byte)) => {
                if let Some(width) = one(rest, *byte) {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            _ => {}
        }
        let Some((after_star, swallowed)) = star.filter(|(_, swallowed)| *swallowed < text.len()) else { return false };
        p = after_star;
        t = swallowed + 1;
        star = Some((p, t));
    }
}

/// How many pattern bytes the first element takes if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let length = class.iter().position(|end| *end == b']')?;
            let members = class.get(..length)?;
            in_class(members, byte).then_some(length + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

fn in_class(mut members: &[u8], byte: u8) -> bool {
    loop {
        match members {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                members = rest;
            }
            [member, rest @ ..] => {
                if *member == byte {
                    return true;
                }
                members = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_as_they_stand_in_modules_alias() {
        for (pattern, text, expected) in [
            ("pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*", "pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", true),
            ("pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*", "pci:v00001D0Fd0000EC21sv00001D0Fsd0000EC20bc02sc00i00", false),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("acpi*:PNP0C0C:*", "acpi:PNP0C0C:", true),
            ("acpi*:LNXPWRBN:*", "acpi:PNP0C0C:", false),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("input:b*v*p*e*-e*1,*k*", "input:b0019v0000p0001e0000-e0,1,k74,ramlsfw", true),
            ("cpu:type:x86,ven*fam*mod*:feature:*00[89A]0*", "cpu:type:x86,ven0fam6mod1:feature:,0090,", true),
            ("a[bc]d", "abd", true),
            ("a[bc]d", "aed", false),
            ("a[bc", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_against_a_long_text_take_no_exponential_time() {
        assert!(!matches(&b"*a".repeat(200), &b"a".repeat(199)));
        assert!(!matches(&b"*a*b".repeat(50), &b"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_any_of_its_beginnings_with_a_star(text in "[a-zA-Z0-9:,-]{0,40}", cut in 0usize..40) {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            let beginning = format!("{}*", &text[..cut.min(text.len())]);
            prop_assert!(matches(beginning.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_makes_it_panic(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = matches(&pattern, &text);
        }
    }
}
