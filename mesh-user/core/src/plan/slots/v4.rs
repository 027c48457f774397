//! IPv4: 65,536 slots by the first 16 bits of an address; a slot with longer prefixes points to a chunk of 256 for the
//! next byte, whose slots may do the same.
//!
//! A slot holds the entry of the longest prefix that covers all of it. `len` of an entry says which prefix that is, so a
//! change touches exactly the slots whose prefix is the same or shorter.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::{IpNet, Ipv4Net};
use mesh_common::{
    ids::RemapId,
    locate::locate_v4,
    maps::{CHUNK_SLOTS, Entry4, Role, TOP_SLOTS},
};

use super::{MapWrite, SlotsError};
use crate::plan::TableEntry;

/// Bits of an address that select a top slot; a slot of its chunk; a slot of that one's chunk.
const LEVELS: [u8; 3] = [16, 24, 32];

#[derive(Clone, Debug)]
pub(super) struct Slots {
    prefixes: BTreeMap<Prefix, Entry4>,
    top: Vec<Entry4>,
    /// Chunks made so far, 256 slots each.
    chunks: Vec<Entry4>,
    capacity: u32,
    free: BTreeSet<u32>,
    /// Unlinked since the last barrier: a reader may still be on its way there.
    retired: BTreeSet<u32>,
}

/// Ordered so that a prefix comes before the longer ones inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    network: u32,
    len: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Top,
    Chunks,
}

/// Neighbouring slots.
#[derive(Clone, Copy, Debug)]
struct Span {
    level: Level,
    first: u32,
    count: u32,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Slots {
        Slots {
            prefixes: BTreeMap::new(),
            top: vec![Entry4::default(); TOP_SLOTS],
            chunks: Vec::new(),
            capacity,
            free: BTreeSet::new(),
            retired: BTreeSet::new(),
        }
    }

    /// `None`: not what [`Slots::set`] and [`Slots::remove`] make.
    pub(super) fn adopt(top: Vec<Entry4>, chunks: Vec<Entry4>, capacity: u32) -> Option<Slots> {
        if top.len() != TOP_SLOTS {
            return None;
        }
        let mut slots = Slots { top, chunks, ..Slots::new(capacity) };
        let mut linked = BTreeSet::new();
        for (network, width, entry) in slots.leaves(&mut linked)? {
            if entry.role == Role::NONE {
                continue;
            }
            let prefix = Prefix { network: network & mask(entry.len), len: entry.len };
            let known = slots.prefixes.insert(prefix, entry);
            if entry.len > width || known.is_some_and(|known| known != entry) {
                return None;
            }
        }
        slots.free =
            (0..u32::try_from(slots.chunks.len() / CHUNK_SLOTS).ok()?).filter(|i| !linked.contains(i)).collect();
        Some(slots)
    }

    pub(super) fn table(&self) -> impl Iterator<Item = (IpNet, TableEntry)> + '_ {
        self.prefixes.iter().filter_map(|(prefix, entry)| {
            let key = Ipv4Net::new(Ipv4Addr::from_bits(prefix.network), prefix.len).ok()?;
            let to = Ipv4Net::new(Ipv4Addr::from(entry.to), entry.len).ok()?;
            Some((key.into(), TableEntry { to: to.into(), remap: RemapId(entry.remap), role: entry.role }))
        })
    }

    pub(super) fn locate(&self, address: [u8; 4]) -> Option<Entry4> {
        let top = |slot: u32| self.top.get(slot as usize).copied();
        let entry = locate_v4(address, top, |slot| self.chunks.get(slot as usize).copied());
        (entry.role != Role::NONE).then_some(entry)
    }

    pub(super) fn set(&mut self, net: Ipv4Net, entry: Entry4) -> Result<Vec<MapWrite>, SlotsError> {
        let prefix = Prefix::from(net);
        let mut writes = Vec::new();
        if self.prefixes.get(&prefix) == Some(&entry) {
            return Ok(writes);
        }
        if self.missing_chunks(prefix) > self.free.len() + self.capacity as usize - self.chunks.len() / CHUNK_SLOTS {
            return Err(SlotsError::ChunksUsedUp { prefix: net.into(), capacity: self.capacity });
        }
        self.prefixes.insert(prefix, entry);
        let link = self.deepen(prefix, &mut writes);
        self.repaint(self.span(prefix), |old| old.len <= entry.len, entry, &mut writes);
        // Only now can the new chunks be reached.
        writes.extend(link);
        Ok(writes)
    }

    pub(super) fn remove(&mut self, net: Ipv4Net) -> Vec<MapWrite> {
        let prefix = Prefix::from(net);
        let mut writes = Vec::new();
        if self.prefixes.remove(&prefix).is_none() {
            return writes;
        }
        let shorter = self.covering(prefix);
        self.repaint(self.span(prefix), |old| old.len == prefix.len, shorter, &mut writes);
        for level in [24, 16] {
            if prefix.len > level {
                self.flatten(Prefix { network: prefix.network & mask(level), len: level }, &mut writes);
            }
        }
        writes
    }

    pub(super) fn barrier(&mut self) {
        self.free.append(&mut self.retired);
    }

    /// Every slot that is no pointer: network, bits that select it, entry. `None` where a pointer leads nowhere or twice
    /// to the same chunk.
    fn leaves(&self, linked: &mut BTreeSet<u32>) -> Option<Vec<(u32, u8, Entry4)>> {
        let mut leaves = Vec::new();
        let mut open: Vec<(u32, usize, Span)> = vec![(0, 0, Span::whole(Level::Top, 0))];
        while let Some((base, depth, span)) = open.pop() {
            let width = *LEVELS.get(depth)?;
            for index in span.first..span.first + span.count {
                let network = base | (index - span.first) << (32 - width);
                let entry = *self.slots(span.level).get(index as usize)?;
                match chunk(entry) {
                    None => leaves.push((network, width, entry)),
                    Some(target) if linked.insert(target) => {
                        open.push((network, depth + 1, Span::whole(Level::Chunks, target)));
                    }
                    Some(_) => return None,
                }
            }
        }
        Some(leaves)
    }

    fn missing_chunks(&self, prefix: Prefix) -> usize {
        let needed = LEVELS.iter().filter(|level| prefix.len > **level).count();
        let there = self.path(prefix.network).count() - 1;
        needed.saturating_sub(there)
    }

    /// The slots that a look-up of the address reads, outermost first.
    fn path(&self, address: u32) -> impl Iterator<Item = Span> + '_ {
        let [a, b, c, d] = address.to_be_bytes();
        let top = Span { level: Level::Top, first: u32::from(u16::from_be_bytes([a, b])), count: 1 };
        let mut bytes = [c, d].into_iter();
        std::iter::successors(Some(top), move |span| {
            let target = chunk(self.slots(span.level)[span.first as usize])?;
            let byte = bytes.next()?;
            Some(Span { level: Level::Chunks, first: target * CHUNK_SLOTS as u32 + u32::from(byte), count: 1 })
        })
    }

    /// Makes the chunks that a prefix of this length needs. The write that links them is returned, for the end.
    fn deepen(&mut self, prefix: Prefix, writes: &mut Vec<MapWrite>) -> Option<MapWrite> {
        let mut link = None;
        for level in LEVELS.into_iter().filter(|level| prefix.len > *level) {
            let depth = LEVELS.iter().position(|l| *l == level).unwrap_or_default();
            let span = self.path(prefix.network).nth(depth).expect("the level above was made in the turn before");
            let background = self.slots(span.level)[span.first as usize];
            if chunk(background).is_some() {
                continue;
            }
            let index = self.take_chunk();
            self.fill(Span::whole(Level::Chunks, index), background, writes);
            let mut linking = Vec::new();
            self.fill(span, pointer(index), &mut linking);
            // What lies under a link that is yet to be written cannot be reached either.
            if link.is_none() { link = linking.pop() } else { writes.append(&mut linking) }
        }
        link
    }

    /// Takes a chunk away whose slots have become all the same.
    fn flatten(&mut self, chunk_prefix: Prefix, writes: &mut Vec<MapWrite>) {
        let last = Prefix { network: chunk_prefix.network | !mask(chunk_prefix.len), len: 32 };
        if self.prefixes.range(chunk_prefix..=last).any(|(prefix, _)| prefix.len > chunk_prefix.len) {
            return;
        }
        let span = self.span(chunk_prefix);
        let Some(index) = chunk(self.slots(span.level)[span.first as usize]) else { return };
        let background = self.chunks[index as usize * CHUNK_SLOTS];
        self.fill(span, background, writes);
        self.retired.insert(index);
    }

    /// The slots that a prefix covers at the level that its length belongs to. The chunks on the way exist.
    fn span(&self, prefix: Prefix) -> Span {
        let depth = LEVELS.iter().position(|level| prefix.len <= *level).unwrap_or(LEVELS.len() - 1);
        let first = self.path(prefix.network).nth(depth).expect("a prefix in the table has its chunks");
        Span { count: 1 << (LEVELS[depth] - prefix.len), ..first }
    }

    /// Gives the slots that `matches` chooses, in the chunks below as well, another entry.
    fn repaint(
        &mut self,
        span: Span,
        matches: impl Fn(Entry4) -> bool + Copy,
        entry: Entry4,
        writes: &mut Vec<MapWrite>,
    ) {
        let end = span.first + span.count;
        let mut run = Span { count: 0, ..span };
        for index in span.first..end {
            let old = self.slots(span.level)[index as usize];
            let below = chunk(old);
            if below.is_none() && old != entry && matches(old) {
                run.count += 1;
                continue;
            }
            self.fill(run, entry, writes);
            run = Span { first: index + 1, count: 0, ..span };
            if let Some(target) = below {
                self.repaint(Span::whole(Level::Chunks, target), matches, entry, writes);
            }
        }
        self.fill(run, entry, writes);
    }

    fn fill(&mut self, span: Span, entry: Entry4, writes: &mut Vec<MapWrite>) {
        let Span { level, first, count } = span;
        if count == 0 {
            return;
        }
        let slots = match level {
            Level::Top => &mut self.top,
            Level::Chunks => &mut self.chunks,
        };
        slots[first as usize..(first + count) as usize].fill(entry);
        writes.push(match level {
            Level::Top => MapWrite::Top { first, count, entry },
            Level::Chunks => MapWrite::Chunks { first, count, entry },
        });
    }

    fn take_chunk(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let next = self.chunks.len() / CHUNK_SLOTS;
            self.chunks.resize((next + 1) * CHUNK_SLOTS, Entry4::default());
            next as u32
        })
    }

    /// The entry of the next shorter prefix around this one.
    fn covering(&self, prefix: Prefix) -> Entry4 {
        let shorter = (0..prefix.len).rev();
        let mut around = shorter.map(|len| Prefix { network: prefix.network & mask(len), len });
        around.find_map(|prefix| self.prefixes.get(&prefix)).copied().unwrap_or_default()
    }

    fn slots(&self, level: Level) -> &[Entry4] {
        match level {
            Level::Top => &self.top,
            Level::Chunks => &self.chunks,
        }
    }
}

/// Equal where look-ups are: which chunk holds what does not count.
impl PartialEq for Slots {
    fn eq(&self, other: &Slots) -> bool {
        self.prefixes == other.prefixes
    }
}

impl Eq for Slots {}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Prefix {
        Prefix { network: net.network().to_bits(), len: net.prefix_len() }
    }
}

impl Span {
    fn whole(level: Level, chunk: u32) -> Span {
        match level {
            Level::Top => Span { level, first: 0, count: TOP_SLOTS as u32 },
            Level::Chunks => Span { level, first: chunk * CHUNK_SLOTS as u32, count: CHUNK_SLOTS as u32 },
        }
    }
}

fn pointer(index: u32) -> Entry4 {
    Entry4 { to: index.to_be_bytes(), role: Role::CHUNK, ..Entry4::default() }
}

fn chunk(entry: Entry4) -> Option<u32> {
    (entry.role == Role::CHUNK).then_some(u32::from_be_bytes(entry.to))
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}
