//! The second pass: the merged tree as one tar, contents in the order of the layers.
//!
//! Directories and everything without content come first, by path; then the files of the lowest layer in that layer's
//! own order, each with its other names behind it; then those of the next layer. A change in an upper layer therefore
//! leaves the data of the lower ones at the same place in the squashfs.

use super::merge::open;
use super::path;
use super::tree::{ContentId, InodeId, Node, ROOT, Tree};
use super::{Cause, Layer, LayerError};
use crate::progress::Bar;
use crate::tarball::reader::Reader;
use crate::tarball::writer::Writer;
use crate::tarball::{Attributes, Entry, Kind};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// Times that squashfs can hold: 32 bits without sign.
const TIMES: RangeInclusive<i64> = 0..=u32::MAX as i64;

/// A tree turned into an order of entries.
#[derive(Debug, Default)]
pub struct Plan {
    /// Everything without content, directories before what is in them.
    bare: Vec<Entry>,
    /// Files by where their content lies; the names of each in order, the first one being the file itself.
    files: BTreeMap<ContentId, File>,
    /// Bytes of all contents.
    pub content_bytes: u64,
    /// The latest of all times.
    pub newest: i64,
}

#[derive(Debug)]
struct File {
    entry: Entry,
    links: Vec<Vec<u8>>,
}

/// Orders the entries of `tree`. Times later than `latest` (SOURCE_DATE_EPOCH) become that.
#[must_use]
pub fn plan(tree: &Tree, latest: Option<i64>) -> Plan {
    let mut plan = Plan::default();
    // The first name of each inode, for the hard links to it.
    let mut first: HashMap<InodeId, Vec<u8>> = HashMap::new();
    let mut ahead = vec![(Vec::new(), ROOT)];
    while let Some((path, id)) = ahead.pop() {
        let inode = tree.inode(id);
        let attributes = Attributes { mtime: clamp(inode.attributes.mtime, latest), ..inode.attributes };
        plan.newest = plan.newest.max(attributes.mtime);
        for (name, child) in inode.children.iter().rev() {
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            ahead.push((below, child.inode));
        }
        if id == ROOT {
            continue;
        }
        let entry = |path, kind, size| Entry { path, kind, attributes, size, xattrs: inode.xattrs.clone() };
        match &inode.node {
            Node::Directory => plan.bare.push(entry(path, Kind::Directory, 0)),
            Node::File { size, content } => match plan.files.get_mut(content) {
                Some(file) => file.links.push(path),
                None => {
                    plan.content_bytes = plan.content_bytes.saturating_add(*size);
                    plan.files.insert(*content, File { entry: entry(path, Kind::File, *size), links: Vec::new() });
                }
            },
            Node::Special(kind) => match first.get(&id) {
                Some(target) => plan.bare.push(link(path, target, attributes)),
                None => {
                    first.insert(id, path.clone());
                    plan.bare.push(entry(path, kind.clone(), 0));
                }
            },
        }
    }
    plan
}

fn clamp(mtime: i64, latest: Option<i64>) -> i64 {
    mtime.min(latest.unwrap_or(i64::MAX)).clamp(*TIMES.start(), *TIMES.end())
}

fn link(path: Vec<u8>, target: &[u8], attributes: Attributes) -> Entry {
    Entry { path, kind: Kind::HardLink(target.to_vec()), attributes, size: 0, xattrs: Vec::new() }
}

/// Why the tree can't be streamed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A layer can't be read again.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The receiving end is gone.
    #[error("write the merged tar")]
    Write(#[source] io::Error),
}

/// Writes the planned tar to `out`; `bar` counts the contents' bytes.
///
/// # Errors
/// [`StreamError`]: a layer can't be read as it was in the first pass, or `out` can't be written.
pub fn stream<W: Write>(plan: &Plan, layers: &[Layer], out: W, bar: &Bar) -> Result<W, StreamError> {
    let mut writer = Writer::new(out);
    for entry in &plan.bare {
        writer.append(entry, io::empty()).map_err(StreamError::Write)?;
    }
    let unread = Bar::hidden();
    for (number, layer) in (0..).zip(layers) {
        let mut wanted = plan.files.range(content(number, 0)..=content(number, u32::MAX)).peekable();
        if wanted.peek().is_none() {
            continue;
        }
        let fail = |entry: Option<&[u8]>, cause: Cause| LayerError {
            layer: layer.name.clone(),
            entry: entry.map(|path| format!("entry {}", path::display(path))),
            cause,
        };
        let mut reader = Reader::new(open(layer, &unread).map_err(|error| fail(None, error.into()))?);
        let mut index = 0;
        for (id, file) in wanted {
            // Entries that are not wanted, up to the one that is.
            let entry = loop {
                let entry = reader.next_entry().map_err(|error| fail(None, error.into()))?;
                index += 1;
                if index > id.entry {
                    break entry.ok_or_else(|| fail(None, Cause::Changed))?;
                }
            };
            if entry.kind != Kind::File || entry.size != file.entry.size {
                return Err(fail(Some(&entry.path), Cause::Changed).into());
            }
            let mut content = Watched { inner: reader.content(), error: None };
            let written = writer.append(&file.entry, bar.reader(&mut content));
            if let Some(error) = content.error {
                return Err(fail(Some(&entry.path), error.into()).into());
            }
            written.map_err(StreamError::Write)?;
            for path in &file.links {
                let link = link(path.clone(), &file.entry.path, file.entry.attributes);
                writer.append(&link, io::empty()).map_err(StreamError::Write)?;
            }
        }
    }
    writer.finish().map_err(StreamError::Write)
}

fn content(layer: u32, entry: u32) -> ContentId {
    ContentId { layer, entry }
}

/// Tells an error of reading from one of writing, which a copy between the two can't.
struct Watched<R> {
    inner: R,
    error: Option<io::Error>,
}

impl<R: io::Read> io::Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }
}
