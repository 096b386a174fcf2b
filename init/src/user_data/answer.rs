//! What the child that asks the metadata service tells init, as bytes of a pipe.

/// What came of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The machine's name, where it was asked for and is told.
    pub hostname: Option<String>,
    /// The user data, unpacked.
    pub data: Data,
}

/// The user data, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The instance has none.
    None,
    /// Their text, which is yet to be read.
    Text(Vec<u8>),
    /// There are some, and they cannot be acted on.
    Bad(String),
    /// The metadata service did not say.
    Unknown(String),
}

impl Answer {
    /// A byte for the kind, a line for the name, and the rest.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, rest): (u8, &[u8]) = match &self.data {
            Data::None => (b'N', &[]),
            Data::Text(text) => (b'T', text),
            Data::Bad(why) => (b'B', why.as_bytes()),
            Data::Unknown(why) => (b'U', why.as_bytes()),
        };
        [&[kind], self.hostname.as_deref().unwrap_or_default().as_bytes(), b"\n", rest].concat()
    }

    /// The same back. A child that died before it had said anything did not find out.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let read = || {
            let (kind, rest) = bytes.split_first()?;
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (hostname, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
            let why = || String::from_utf8_lossy(rest).into_owned();
            let data = match kind {
                b'N' => Data::None,
                b'T' => Data::Text(rest.to_vec()),
                b'B' => Data::Bad(why()),
                b'U' => Data::Unknown(why()),
                _ => return None,
            };
            let hostname = str::from_utf8(hostname).ok().filter(|name| !name.is_empty()).map(str::to_owned);
            Some(Answer { hostname, data })
        };
        let unknown = || Answer { hostname: None, data: Data::Unknown("no answer in time".to_owned()) };
        read().unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_arrives() {
        for data in
            [Data::None, Data::Text(b"A=1\n\xff".to_vec()), Data::Bad("x".to_owned()), Data::Unknown(String::new())]
        {
            for hostname in [None, Some("box".to_owned())] {
                let answer = Answer { hostname, data: data.clone() };
                assert_eq!(Answer::decode(&answer.encode()), answer);
            }
        }
        assert_eq!(Answer::decode(b"").data, Data::Unknown("no answer in time".to_owned()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Answer::decode(&bytes);
        }
    }
}
