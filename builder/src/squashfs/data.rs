//! Where the layers' blocks lie in the file system, and which of them.
//!
//! Blocks keep the order and the distances that they have in their packed layers, lowest layer first, so that another
//! top layer leaves all others at their places. What upper layers delete or replace is not on the disk: its place is a
//! hole, and a block that living and dead files share is packed anew with zeros for the dead. Only a layer that has more than
//! a quarter of dead data is packed closely.

use crate::flatten::tree::{ContentId, Node, Tree};
use crate::pack::blocks::{BLOCK, Pending, Pool, STORED_PLAIN, stored_len};
use crate::pack::{Packed, Place};
use anyhow::{Context, Result, anyhow};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Beyond this part of a layer's data, dead ones are not left as holes.
const MAX_DEAD: f64 = 0.25;
/// Shared blocks that are packed anew at once.
const DEPTH: usize = 16;

/// A run of bytes of the file system and where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where they go.
    pub(super) at: u64,
    /// How many.
    pub(super) len: u64,
    /// Where they are.
    pub(super) from: From,
}

/// Where bytes come from: a file, and where in it they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The packed layer with this index.
    Layer(usize, u64),
    /// The shared blocks that were packed anew.
    Mended(u64),
}

/// A shared block as the fragment table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    /// Where it lies.
    pub(super) at: u64,
    /// Its size word.
    pub(super) word: u32,
}

/// All data of a file system.
#[derive(Debug)]
pub(super) struct Data {
    /// In the order of their places.
    pub(super) runs: Vec<Run>,
    /// The shared blocks that have something living, in order.
    pub(super) shared: Vec<Shared>,
    /// For each layer, where each block lies.
    blocks: Vec<Vec<u64>>,
    /// For each layer, which of [`Data::shared`] each of its shared blocks is.
    numbers: Vec<Vec<u32>>,
    /// Shared blocks that were packed anew.
    pub(super) mended: File,
    /// Where the data end.
    pub(super) end: u64,
}

impl Data {
    /// Where the blocks of a content start.
    pub(super) fn block(&self, layer: usize, first: u32) -> u64 {
        self.blocks.get(layer).and_then(|blocks| blocks.get(first as usize)).copied().unwrap_or_default()
    }

    /// The number in the file system of a shared block of a layer.
    pub(super) fn shared(&self, layer: usize, number: u32) -> u32 {
        self.numbers.get(layer).and_then(|numbers| numbers.get(number as usize)).copied().unwrap_or_default()
    }
}

/// Finds a place for everything that the tree still needs, from `start` on. `scratch` is an empty file.
pub(super) fn place(tree: &Tree, layers: &[Packed], start: u64, scratch: File) -> Result<Data> {
    let mut data = Data {
        runs: Vec::new(),
        shared: Vec::new(),
        blocks: Vec::new(),
        numbers: Vec::new(),
        mended: scratch,
        end: start,
    };
    let pool = Pool::start().context("start the threads that compress")?;
    let mut mended = 0;
    for (number, (layer, alive)) in layers.iter().zip(alive(tree, layers)).enumerate() {
        let life = life(layer, &alive)?;
        let anew = mend(layer, &life, &pool, &data.mended, &mut mended)
            .with_context(|| format!("pack the files anew that are left of layer {}", layer.name))?;
        lay_out(&mut data, number, layer, &life, &anew)?;
    }
    Ok(data)
}

/// For each layer, which of its entries the tree has the content of.
fn alive(tree: &Tree, layers: &[Packed]) -> Vec<Vec<bool>> {
    let mut alive: Vec<Vec<bool>> = layers.iter().map(|layer| vec![false; layer.index.places.len()]).collect();
    for (_, inode) in tree.reachable() {
        if let Node::File { content: ContentId { layer, entry }, .. } = inode.node
            && let Some(flag) = alive.get_mut(layer as usize).and_then(|layer| layer.get_mut(entry as usize))
        {
            *flag = true;
        }
    }
    alive
}

/// What is left of a layer.
struct Life {
    /// For each block, whether anything in it is alive.
    blocks: Vec<bool>,
    /// For each shared block, the parts that are dead, where some are and some aren't: start and length.
    partly: Vec<Vec<(usize, usize)>>,
}

fn life(layer: &Packed, alive: &[bool]) -> Result<Life> {
    let damaged = || anyhow!("the index of layer {} contradicts itself: builder cache prune --all", layer.name);
    let index = &layer.index;
    let mut life = Life { blocks: vec![false; index.words.len()], partly: vec![Vec::new(); index.shared.len()] };
    let mut dead: Vec<Vec<(usize, usize)>> = vec![Vec::new(); index.shared.len()];
    for (place, alive) in index.places.iter().zip(alive) {
        match *place {
            Place::Blocks { first, count } if *alive => {
                let range = first as usize..first as usize + count as usize;
                life.blocks.get_mut(range).ok_or_else(damaged)?.fill(true);
            }
            Place::Fragment { number, .. } if *alive => {
                let block = *index.shared.get(number as usize).ok_or_else(damaged)?;
                *life.blocks.get_mut(block as usize).ok_or_else(damaged)? = true;
            }
            Place::Fragment { number, offset, len } => {
                let dead = dead.get_mut(number as usize).ok_or_else(damaged)?;
                dead.push((offset as usize, len as usize));
            }
            Place::Blocks { .. } | Place::Nowhere => {}
        }
    }
    for ((partly, dead), block) in life.partly.iter_mut().zip(dead).zip(&index.shared) {
        if life.blocks[*block as usize] {
            *partly = dead;
        }
    }
    Ok(life)
}

/// A shared block that was packed anew.
#[derive(Clone, Copy)]
struct Anew {
    /// Where it lies in the scratch file.
    from: u64,
    word: u32,
}

/// Packs anew what is only partly alive, appending to `out`, and gives the result for each shared block.
fn mend(layer: &Packed, life: &Life, pool: &Pool, out: &File, end: &mut u64) -> Result<Vec<Option<Anew>>> {
    let offsets = offsets(&layer.index.words);
    let mut anew = vec![None; life.partly.len()];
    let mut pending: VecDeque<(usize, Pending)> = VecDeque::new();
    let mut take = |(number, pending): (usize, Pending), anew: &mut Vec<Option<Anew>>| -> io::Result<()> {
        let stored = pending.wait()?;
        out.write_all_at(&stored.bytes, *end)?;
        anew[number] = Some(Anew { from: *end, word: stored.word });
        *end += stored.bytes.len() as u64;
        Ok(())
    };
    for (number, dead) in life.partly.iter().enumerate().filter(|(_, dead)| !dead.is_empty()) {
        let block = layer.index.shared[number] as usize; // `life` looked at each
        let mut content = read_block(&layer.file, offsets[block], layer.index.words[block])?;
        for (start, length) in dead {
            content.get_mut(*start..start + length).context("a file lies outside of its block")?.fill(0);
        }
        pending.push_back((number, pool.compress(content)));
        if pending.len() == DEPTH
            && let Some(first) = pending.pop_front()
        {
            take(first, &mut anew)?;
        }
    }
    for last in pending {
        take(last, &mut anew)?;
    }
    Ok(anew)
}

fn read_block(file: &File, at: u64, word: u32) -> io::Result<Vec<u8>> {
    let mut stored = vec![0; stored_len(word) as usize]; // below 2^24
    file.read_exact_at(&mut stored, at)?;
    if word & STORED_PLAIN != 0 { Ok(stored) } else { zstd::bulk::decompress(&stored, BLOCK) }
}

/// Where each block starts in the packed layer.
fn offsets(words: &[u32]) -> Vec<u64> {
    let mut at = 0;
    let start = |word: &u32| {
        let start = at;
        at += stored_len(*word);
        start
    };
    words.iter().map(start).collect()
}

/// Gives the blocks of one layer their places.
fn lay_out(data: &mut Data, number: usize, layer: &Packed, life: &Life, anew: &[Option<Anew>]) -> Result<()> {
    let words = &layer.index.words;
    let total: u64 = words.iter().copied().map(stored_len).sum();
    let dead: u64 =
        words.iter().zip(&life.blocks).filter(|(_, alive)| !**alive).map(|(word, _)| stored_len(*word)).sum();
    let close = dead as f64 > total as f64 * MAX_DEAD;
    // Shared blocks by number of block; both rise.
    let mut shared = layer.index.shared.iter().zip(anew).enumerate().peekable();
    let (mut blocks, mut numbers) = (Vec::with_capacity(words.len()), vec![0; anew.len()]);
    let mut late = Vec::new();
    let (mut source, mut at) = (0, data.end);
    for (block, (word, alive)) in words.iter().zip(&life.blocks).enumerate() {
        let len = stored_len(*word);
        let mut from = From::Layer(number, source);
        let (mut word, mut used) = (*word, len);
        let fragment = shared.next_if(|(_, (shared, _))| **shared as usize == block);
        if let Some((fragment, (_, anew))) = fragment
            && *alive
        {
            if let Some(anew) = anew {
                (from, word, used) = (From::Mended(anew.from), anew.word, stored_len(anew.word));
            }
            numbers[fragment] = u32::try_from(data.shared.len()).context("more than 2^32 blocks of small files")?;
            data.shared.push(Shared { at, word });
            if !close && used > len {
                // With zeros it became longer, which compression does not promise not to do. It finds room at the end.
                late.push((data.shared.len() - 1, Run { at: 0, len: used, from }));
                used = 0;
            }
        }
        blocks.push(at);
        if *alive && used > 0 {
            push(&mut data.runs, Run { at, len: used, from });
        }
        source += len;
        at += if !close {
            len
        } else if *alive {
            used
        } else {
            0
        };
    }
    for (shared, run) in late {
        data.shared[shared].at = at;
        data.runs.push(Run { at, ..run });
        at += run.len;
    }
    data.blocks.push(blocks);
    data.numbers.push(numbers);
    data.end = at;
    Ok(())
}

/// Appends a run, which becomes part of the one before if it continues that.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && last.at + last.len == run.at
        && let (From::Layer(layer, start), From::Layer(next_layer, next_start)) = (last.from, run.from)
        && layer == next_layer
        && start + last.len == next_start
    {
        last.len += run.len;
        return;
    }
    runs.push(run);
}

/// Writes all runs to `out`, with zeros between them, from `start` on.
pub(super) fn write(
    data: &Data,
    layers: &[Packed],
    start: u64,
    out: &mut impl Write,
    mut done: impl FnMut(u64),
) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = start;
    for run in &data.runs {
        zeros(out, run.at - at).context("write the root")?;
        let (file, mut source) = match run.from {
            From::Layer(layer, source) => {
                (layers.get(layer).map(|layer| &*layer.file).context("no such layer")?, source)
            }
            From::Mended(source) => (&data.mended, source),
        };
        let mut left = run.len;
        while left > 0 {
            let length = left.min(buffer.len() as u64) as usize;
            let part = &mut buffer[..length];
            file.read_exact_at(part, source).context("read a packed layer of the cache")?;
            out.write_all(part).context("write the root")?;
            (source, left) = (source + length as u64, left - length as u64);
            done(length as u64);
        }
        at = run.at + run.len;
    }
    zeros(out, data.end - at).context("write the root")
}

fn zeros(out: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), out).map(drop)
}
