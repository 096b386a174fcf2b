//! What the bytes of a file say that keeps it out of a machine: that it holds a private key, or is a disk.

use memchr::memmem;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// Bytes of a PEM block by which it is known: its first line, headers, and the start of what it holds.
const BLOCK: usize = 1 << 10;
/// Characters of base64 that make a block of a text that only speaks of one: the shortest key (Ed25519) has 64.
const LEAST_BASE64: usize = 40;
/// Bytes of a file that are read: files with keys are small, and a file with holes may have any size.
const LONGEST: u64 = 64 << 20;
/// What a PEM block begins with, before its label.
const BEGIN: &[u8] = b"-----BEGIN ";
/// What stands behind a label, and before the line that ends a block.
const DASHES: &[u8] = b"-----";
/// Bytes of a label: `ENCRYPTED PRIVATE KEY` is a long one.
const LONGEST_LABEL: usize = 64;

/// A reason to leave a file out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A PEM block with a private key (RFC 7468, and OpenSSH's and OpenPGP's of that form).
    PrivateKey,
    /// A disk image of this format.
    Disk(&'static str),
}

/// Formats of disks: an offset, the bytes there, and a name.
const DISKS: &[(usize, &[u8], &str)] = &[
    (512, b"EFI PART", "raw"),
    (4096, b"EFI PART", "raw"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"conectix", "vhd"),
];

/// Reads a file until such a reason is found; where there is none, all of its first 64 MiB. A key behind them is not
/// found: files with keys are small.
///
/// # Errors
/// When the file cannot be read.
pub fn look(file: &Path) -> io::Result<Option<Content>> {
    search(File::open(file)?)
}

fn search(file: impl Read) -> io::Result<Option<Content>> {
    let mut file = file.take(LONGEST);
    let mut bytes = Vec::new();
    let mut is_start = true;
    loop {
        let kept = bytes.len();
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)?;
        if is_start && let Some(disk) = disk(&bytes) {
            return Ok(Some(Content::Disk(disk)));
        }
        is_start = false;
        if has_private_key(&bytes) {
            return Ok(Some(Content::PrivateKey));
        }
        if read == 0 {
            return Ok(None);
        }
        // A block may lie across the end of what was read.
        let _ = bytes.drain(..(kept + read).saturating_sub(BLOCK));
    }
}

fn disk(start: &[u8]) -> Option<&'static str> {
    let is = |(at, magic, _): &&(usize, &[u8], &str)| start.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    DISKS.iter().find(is).map(|(_, _, name)| *name)
}

fn has_private_key(bytes: &[u8]) -> bool {
    let behind = |at: usize| bytes.get(at..(at + BLOCK).min(bytes.len()));
    memmem::find_iter(bytes, BEGIN).filter_map(behind).any(is_private_key)
}

/// Whether a private key's block begins here. Source code and manuals name such blocks, and hold none. JSON has its
/// line ends as `\n`.
///
/// Nothing is copied before the label is known, and no more than what stands before the next dashes: the time is that
/// of the file's length, however many such beginnings it has.
fn is_private_key(block: &[u8]) -> bool {
    let Some(text) = block.strip_prefix(BEGIN) else { return false };
    let Some(end) = memmem::find(&text[..text.len().min(LONGEST_LABEL + DASHES.len())], DASHES) else { return false };
    let (label, rest) = (&text[..end], &text[end + DASHES.len()..]);
    if !label.ends_with(b"PRIVATE KEY") && !label.ends_with(b"PRIVATE KEY BLOCK") {
        return false;
    }
    let rest = &rest[..memmem::find(rest, DASHES).unwrap_or(rest.len())];
    if rest.len() < LEAST_BASE64 {
        return false;
    }
    let rest = String::from_utf8_lossy(rest).replace("\\r", "").replace("\\n", "\n");
    // Headers, as `Proc-Type: 4,ENCRYPTED`, stand before what is encoded.
    let lines = rest.lines().map(str::trim).filter(|line| !line.contains(": "));
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    lines.flat_map(str::bytes).take_while(|byte| is_base64(*byte)).count() >= LEAST_BASE64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<Content> {
        search(bytes).unwrap()
    }

    fn block(label: &str, headers: &str) -> String {
        let line = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        format!("-----BEGIN {label}-----\n{headers}{line}\n-----END {label}-----\n")
    }

    #[test]
    fn a_private_key_is_found_in_every_form_and_place() {
        let labels = ["", "RSA ", "EC ", "DSA ", "ENCRYPTED ", "OPENSSH "].map(|kind| format!("{kind}PRIVATE KEY"));
        for label in labels.iter().map(String::as_str).chain(["PGP PRIVATE KEY BLOCK"]) {
            assert_eq!(found(block(label, "").as_bytes()), Some(Content::PrivateKey), "{label}");
        }
        let encrypted = block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233\n\n");
        let key = block("PRIVATE KEY", "");
        let json = format!("{{\"private_key\": \"{}\"}}", key.replace('\n', "\\n"));
        let bundle = format!("{}{key}", block("CERTIFICATE", ""));
        let yaml = format!("key: |\n  {}", key.replace('\n', "\r\n  "));
        for text in [encrypted, json, bundle, yaml] {
            assert_eq!(found(text.as_bytes()), Some(Content::PrivateKey), "{text}");
        }
        // Wherever the pieces end in which it is read.
        for before in [CHUNK - 500, CHUNK - 60, CHUNK - 5, CHUNK, 3 * CHUNK - 40] {
            let bytes = ["x".repeat(before).as_bytes(), key.as_bytes(), &vec![0; CHUNK]].concat();
            assert_eq!(found(&bytes), Some(Content::PrivateKey), "{before}");
        }
    }

    #[test]
    fn public_parts_and_texts_about_keys_are_none() {
        for label in ["CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST", "RSA PUBLIC KEY"] {
            assert_eq!(found(block(label, "").as_bytes()), None, "{label}");
        }
        for text in [
            "if pem.startswith('-----BEGIN PRIVATE KEY-----'):\n    return load(pem)\n",
            "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN ",
            "",
        ] {
            assert_eq!(found(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn neither_size_nor_beginnings_take_time() {
        let key = block("PRIVATE KEY", "");
        let before = |length: u64| io::repeat(b'x').take(length).chain(key.as_bytes());
        assert_eq!(search(before(LONGEST - 1_000)).unwrap(), Some(Content::PrivateKey));
        assert_eq!(search(before(LONGEST)).unwrap(), None);
        assert_eq!(search(io::repeat(0)).unwrap(), None, "a file without end");
        for text in ["-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n"] {
            let mut bytes = text.repeat((8 << 20) / text.len());
            assert_eq!(found(bytes.as_bytes()), None, "{text}");
            bytes.push_str(&key);
            assert_eq!(found(bytes.as_bytes()), Some(Content::PrivateKey), "{text}");
        }
    }

    #[test]
    fn disks_are_known_by_their_magic() {
        for (at, magic, name) in DISKS {
            let bytes = [&vec![0; *at], *magic, &[0; 9]].concat();
            assert_eq!(found(&bytes), Some(Content::Disk(name)), "{name} at {at}");
            assert_eq!(found(&bytes[..at + magic.len() - 1]), None);
        }
    }
}
