//! Class files of Java (The Java Virtual Machine Specification, chapter 4).

/// Bytes of a class file up to its version's end.
pub(super) const HEADER: u64 = 8;

/// Which servlets a class is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servlets {
    /// Those of Java EE, up to Tomcat 9.
    Javax,
    /// Those of Jakarta EE, since Tomcat 10.
    Jakarta,
}

/// The version of Java that a class file needs: 8, 17.
pub(super) fn java(header: &[u8]) -> Option<u32> {
    match header {
        &[0xca, 0xfe, 0xba, 0xbe, _, _, high, low, ..] => u32::from(u16::from_be_bytes([high, low])).checked_sub(44),
        _ => None,
    }
}

/// Whether a class uses servlets, and which: by the names in its constants. Of one that names both nothing is known, as
/// it must be asking which of them there are.
pub(super) fn servlets(class: &[u8]) -> Option<Servlets> {
    let (mut javax, mut jakarta) = (false, false);
    strings(class, |string| {
        // A name (`jakarta/servlet/Filter`), a descriptor (`(Ljakarta/servlet/Filter;)V`), a signature.
        javax |= memchr::memmem::find(string, b"javax/servlet/").is_some();
        jakarta |= memchr::memmem::find(string, b"jakarta/servlet/").is_some();
    });
    match (javax, jakarta) {
        (true, false) => Some(Servlets::Javax),
        (false, true) => Some(Servlets::Jakarta),
        _ => None,
    }
}

/// Calls for each string among the constants of a class file, up to where it is damaged.
fn strings(class: &[u8], mut visit: impl FnMut(&[u8])) -> Option<()> {
    java(class)?;
    let mut rest = class.get(8..)?;
    let count = u16::from_be_bytes(*take(&mut rest)?);
    let mut index = 1;
    while index < count {
        let [tag] = *take(&mut rest)?;
        // Table 4.4-B of the specification.
        let length = match tag {
            1 => usize::from(u16::from_be_bytes(*take(&mut rest)?)),
            3 | 4 | 9..=12 | 17 | 18 => 4,
            5 | 6 => 8,
            7 | 8 | 16 | 19 | 20 => 2,
            15 => 3,
            _ => return None,
        };
        let (constant, after) = rest.split_at_checked(length)?;
        if tag == 1 {
            visit(constant);
        }
        // Numbers of eight bytes take two places.
        index = index.checked_add(if matches!(tag, 5 | 6) { 2 } else { 1 })?;
        rest = after;
    }
    Some(())
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JAVAX: &[u8] = include_bytes!("../../testdata/javax_servlet_java8.class");
    const JAKARTA: &[u8] = include_bytes!("../../testdata/jakarta_servlet_java17.class");
    const MAIN: &[u8] = include_bytes!("../../testdata/main_java21.class");

    #[test]
    fn what_a_class_needs() {
        assert_eq!([JAVAX, JAKARTA, MAIN].map(java), [Some(8), Some(17), Some(21)]);
        assert_eq!([JAVAX, JAKARTA, MAIN].map(servlets), [Some(Servlets::Javax), Some(Servlets::Jakarta), None]);
        assert_eq!(java(b"\xca\xfe\xba\xbe\0\0\0"), None);
        let mut strings_of_main = Vec::new();
        strings(MAIN, |string| strings_of_main.push(String::from_utf8_lossy(string).into_owned()));
        // Behind a long and a double.
        assert!(strings_of_main.contains(&"SourceFile".to_owned()), "{strings_of_main:?}");
    }

    proptest! {
        #[test]
        fn damaged_classes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), from in 0..3usize) {
            let _ = (java(&bytes), servlets(&bytes));
            let class = [JAVAX, JAKARTA, MAIN][from];
            for (at, byte) in bytes.iter_mut().enumerate().filter(|(at, _)| at % 7 != 0) {
                *byte = class.get(at).copied().unwrap_or(*byte);
            }
            bytes.splice(..bytes.len().min(10), class[..10].iter().copied());
            let _ = servlets(&bytes);
        }
    }
}
