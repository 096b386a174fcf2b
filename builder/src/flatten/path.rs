//! Names of entries and targets of links, split into what they mean.

/// Longest name of a directory entry on Linux and in squashfs, in bytes (NAME_MAX).
const MAX_NAME: usize = 255;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// The root itself: `.`, `/`, `./`.
    Root,
    /// An entry: the directories that lead to it, and its own name.
    Entry(Vec<&'a [u8]>, &'a [u8]),
}

/// Why a path can't be an entry of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More `..` than there are directories to come back from.
    #[error("its \"..\" lead out of the root")]
    Leaves,
    /// A name longer than Linux has.
    #[error("a name of more than 255 bytes")]
    LongName,
}

/// Splits a path: `./a//b/` is `a`, `b`, and so is `a/x/../b`: Docker cleans names by their text alone, too, before it
/// looks at any symbolic link (filepath.Clean).
///
/// # Errors
/// [`PathError`] for what leaves the root, where Docker puts it into the root, and for names that no file system holds.
pub fn split(path: &[u8]) -> Result<Named<'_>, PathError> {
    let mut names = Vec::new();
    for name in components(path) {
        if name == b".." {
            names.pop().ok_or(PathError::Leaves)?;
            continue;
        }
        if name.len() > MAX_NAME {
            return Err(PathError::LongName);
        }
        names.push(name);
    }
    Ok(match names.pop() {
        None => Named::Root,
        Some(last) => Named::Entry(names, last),
    })
}

/// The names in a path, without what stands for "here".
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// A path for messages: printable, whatever its bytes are.
#[must_use]
pub fn display(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_whatever_way_they_are_written() {
        for path in [&b"a/b"[..], b"./a/b", b"/a/b", b"a//./b/", b"//a/b/.", b"a/x/../b", b"x/../a/b/y/.."] {
            assert_eq!(split(path), Ok(Named::Entry(vec![b"a"], b"b")));
        }
        for path in [&b"."[..], b"./", b"/", b"", b"//.", b"a/.."] {
            assert_eq!(split(path), Ok(Named::Root));
        }
        for path in [&b".."[..], b"../b", b"/..", b"a/../../b", b"a/../../a/b"] {
            assert_eq!(split(path), Err(PathError::Leaves));
        }
        assert_eq!(split(&[b'x'; 256]), Err(PathError::LongName));
        assert_eq!(split(b"..."), Ok(Named::Entry(vec![], b"...")));
    }
}
