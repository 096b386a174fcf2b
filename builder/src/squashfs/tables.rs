//! Everything behind the data: inodes, directories, shared blocks, owners and extended attributes, in this order.

use super::data::Data;
use super::directory::{self, Listed};
use super::inode::{self, Common, NONE};
use super::metadata::{self, Position, Stream};
use super::xattrs::Sets;
use crate::flatten::tree::{Child, InodeId, Node, ROOT, Tree};
use crate::pack::{Packed, Place};
use crate::tarball::Kind;
use anyhow::{Context, Result, anyhow};
use std::collections::HashMap;
use std::collections::btree_map;

/// Where tables start in the file system, or where in them the superblock has to point.
#[derive(Debug)]
pub(super) struct Starts {
    pub(super) inodes: u64,
    pub(super) directories: u64,
    pub(super) shared: u64,
    pub(super) ids: u64,
    pub(super) xattrs: Option<u64>,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Tables {
    /// As they lie behind the data.
    pub(super) bytes: Vec<u8>,
    pub(super) starts: Starts,
    /// How many inodes there are.
    pub(super) inodes: u32,
    /// How many owners.
    pub(super) ids: u16,
    /// The root directory's inode.
    pub(super) root: Position,
    /// The latest of all times.
    pub(super) newest: u32,
}

impl Tables {
    pub(super) fn new(tree: &Tree, layers: &[Packed], data: &Data, latest: Option<i64>) -> Result<Self> {
        let survey = Survey::of(tree, latest);
        let mut writer = Writer {
            tree,
            layers,
            data,
            survey: &survey,
            latest,
            ids: Ids::default(),
            xattrs: Sets::new()?,
            inodes: Stream::new()?,
            directories: Stream::new()?,
            places: vec![None; tree.len()],
        };
        let root = writer.tree()?;
        let Writer { ids, xattrs, inodes, directories, .. } = writer;

        let mut bytes = inodes.finish()?;
        let directories_start = data.end + bytes.len() as u64;
        bytes.extend(directories.finish()?);
        let mut records = Vec::new();
        for shared in &data.shared {
            records.extend_from_slice(&shared.at.to_le_bytes());
            records.extend_from_slice(&shared.word.to_le_bytes());
            records.extend_from_slice(&0u32.to_le_bytes());
        }
        let shared = append(&mut bytes, data.end, &records)?;
        let count =
            u16::try_from(ids.list.len()).context("the image has files of more than 65,535 users and groups")?;
        let records: Vec<u8> = ids.list.iter().flat_map(|id| id.to_le_bytes()).collect();
        let ids = append(&mut bytes, data.end, &records)?;
        let xattrs = xattrs.finish(data.end + bytes.len() as u64)?.map(|(table, start)| {
            bytes.extend(table);
            start
        });
        let starts = Starts { inodes: data.end, directories: directories_start, shared, ids, xattrs };
        Ok(Tables { bytes, starts, inodes: survey.inodes, ids: count, root, newest: survey.newest })
    }
}

/// Appends a table, and gives where its list of blocks starts in the file system.
fn append(bytes: &mut Vec<u8>, start: u64, records: &[u8]) -> Result<u64> {
    let start = start + bytes.len() as u64;
    let table = metadata::table(records, start)?;
    bytes.extend(table.bytes);
    Ok(start + table.list)
}

/// What has to be known of all inodes before the first one is written.
struct Survey {
    /// The number of each inode, which stands for it in directories; 0 for what nobody meets.
    numbers: Vec<u32>,
    /// Names of each inode; for a directory, two and its subdirectories.
    links: Vec<u32>,
    inodes: u32,
    newest: u32,
}

impl Survey {
    fn of(tree: &Tree, latest: Option<i64>) -> Self {
        let mut survey = Survey { numbers: vec![0; tree.len()], links: vec![0; tree.len()], inodes: 1, newest: 0 };
        survey.numbers[ROOT.index()] = 1;
        let mut ahead = vec![ROOT];
        while let Some(directory) = ahead.pop() {
            survey.links[directory.index()] += 2;
            // What lies in one directory has numbers that follow each other, as its listing likes it.
            for child in tree.inode(directory).children.values() {
                let (id, inode) = (child.inode, tree.inode(child.inode));
                if survey.numbers[id.index()] == 0 {
                    survey.inodes += 1;
                    survey.numbers[id.index()] = survey.inodes;
                    survey.newest = survey.newest.max(clamp(inode.attributes.mtime, latest));
                }
                if matches!(inode.node, Node::Directory) {
                    survey.links[directory.index()] += 1;
                    ahead.push(id);
                } else {
                    survey.links[id.index()] += 1;
                }
            }
        }
        survey
    }
}

/// A time as squashfs holds it: 32 bits without sign.
fn clamp(mtime: i64, latest: Option<i64>) -> u32 {
    mtime.min(latest.unwrap_or(i64::MAX)).clamp(0, i64::from(u32::MAX)) as u32
}

/// Users and groups, which share one table.
#[derive(Default)]
struct Ids {
    list: Vec<u32>,
    known: HashMap<u32, u16>,
}

impl Ids {
    fn index(&mut self, id: u32) -> Result<u16> {
        if let Some(index) = self.known.get(&id) {
            return Ok(*index);
        }
        let index = u16::try_from(self.list.len()).ok().filter(|index| *index < u16::MAX);
        let index = index.context("the image has files of more than 65,535 users and groups")?;
        self.list.push(id);
        self.known.insert(id, index);
        Ok(index)
    }
}

struct Writer<'t> {
    tree: &'t Tree,
    layers: &'t [Packed],
    data: &'t Data,
    survey: &'t Survey,
    latest: Option<i64>,
    ids: Ids,
    xattrs: Sets<'t>,
    inodes: Stream,
    directories: Stream,
    /// Where each inode was written, and its basic type.
    places: Vec<Option<(Position, u16)>>,
}

/// A directory that is being gone through.
struct Open<'t> {
    id: InodeId,
    name: &'t [u8],
    children: btree_map::Iter<'t, Box<[u8]>, Child>,
    listed: Vec<Listed<'t>>,
}

impl<'t> Writer<'t> {
    /// Writes all inodes and listings, what is in a directory before the directory. Gives the root's place.
    fn tree(&mut self) -> Result<Position> {
        let open = |id, name| Open { id, name, children: self.tree.inode(id).children.iter(), listed: Vec::new() };
        let mut path = vec![open(ROOT, &b""[..])];
        loop {
            let Some(here) = path.last_mut() else { return Err(anyhow!("the tree has no root")) };
            if let Some((name, child)) = here.children.next() {
                let inode = self.tree.inode(child.inode);
                if matches!(inode.node, Node::Directory) {
                    let children = inode.children.iter();
                    path.push(Open { id: child.inode, name, children, listed: Vec::new() });
                    continue;
                }
                let (place, kind) = match self.places[child.inode.index()] {
                    Some(known) => known,
                    None => self.leaf(child.inode)?,
                };
                here.listed.push(Listed { name, inode: place, number: self.number(child.inode), kind });
                continue;
            }
            let Some(done) = path.pop() else { continue };
            let parent = path.last().map_or(self.survey.inodes + 1, |above| self.number(above.id));
            let place = self.directory(&done, parent)?;
            match path.last_mut() {
                None => return Ok(place),
                Some(above) => above.listed.push(Listed {
                    name: done.name,
                    inode: place,
                    number: self.survey.numbers[done.id.index()],
                    kind: inode::DIRECTORY,
                }),
            }
        }
    }

    fn number(&self, id: InodeId) -> u32 {
        self.survey.numbers[id.index()]
    }

    fn common(&mut self, id: InodeId) -> Result<Common> {
        let inode = self.tree.inode(id);
        let attributes = inode.attributes;
        // The root directory has no time that a container would show: see flatten's documentation.
        let mtime = if id == ROOT { self.survey.newest } else { clamp(attributes.mtime, self.latest) };
        Ok(Common {
            // Linux knows no other mode of a symbolic link, whatever an archive says (symlink(7)).
            mode: match inode.node {
                Node::Special(Kind::Symlink(_)) => 0o777,
                _ => (attributes.mode & 0o7777) as u16,
            },
            uid: self.ids.index(attributes.uid)?,
            gid: self.ids.index(attributes.gid)?,
            mtime,
            number: self.number(id),
            links: self.survey.links[id.index()],
            xattrs: self.xattrs.number(&inode.xattrs)?,
        })
    }

    fn directory(&mut self, open: &Open<'_>, parent: u32) -> Result<Position> {
        let common = self.common(open.id)?;
        let listing = directory::write(&open.listed, &mut self.directories)?;
        let place = self.inodes.position();
        self.inodes.write(&inode::directory(&common, &listing, parent))?;
        Ok(place)
    }

    /// Writes what is no directory.
    fn leaf(&mut self, id: InodeId) -> Result<(Position, u16)> {
        let common = self.common(id)?;
        let (kind, bytes) = match &self.tree.inode(id).node {
            Node::File { size, content } => {
                (inode::FILE, self.file(&common, *size, content.layer as usize, content.entry as usize)?)
            }
            Node::Special(kind) => inode::special(&common, kind),
            Node::Directory => return Err(anyhow!("a directory where none can be")),
        };
        let place = self.inodes.position();
        self.inodes.write(&bytes)?;
        self.places[id.index()] = Some((place, kind));
        Ok((place, kind))
    }

    fn file(&self, common: &Common, size: u64, layer: usize, entry: usize) -> Result<Vec<u8>> {
        let lost = || anyhow!("a file's content is in no layer: this is a fault of builder's own");
        let index = &self.layers.get(layer).ok_or_else(lost)?.index;
        let none = inode::Data { size, start: 0, words: &[], fragment: (NONE, 0) };
        let data = match *index.places.get(entry).ok_or_else(lost)? {
            Place::Nowhere => none,
            Place::Blocks { first, count } => {
                let words = index.words.get(first as usize..first as usize + count as usize).ok_or_else(lost)?;
                inode::Data { start: self.data.block(layer, first), words, ..none }
            }
            Place::Fragment { number, offset, .. } => {
                inode::Data { fragment: (self.data.shared(layer, number), offset), ..none }
            }
        };
        Ok(inode::file(common, &data))
    }
}
