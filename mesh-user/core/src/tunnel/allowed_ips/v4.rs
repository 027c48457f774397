//! IPv4: up to 65,536 slots by the first 16 bits; where longer prefixes begin, a slot links to 256 slots for the next byte,
//! and those to 256 for the last one. What all prefixes are within is all that there are slots for: a network group has one.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Mark;

const CHUNK_SLOTS: usize = 1 << 8;

/// The owner of the longest prefix that covers all of the slot, or where longer ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot(u32);

#[derive(Clone, Default)]
pub(super) struct Table {
    /// By the first 16 bits less `base`. Empty: no IPv4 prefix at all.
    top: Vec<Slot>,
    base: u16,
    /// By the third byte.
    middle: Vec<[Slot; CHUNK_SLOTS]>,
    /// By the last byte. Nothing lies below, so half a slot is enough.
    bottom: Vec<[Mark; CHUNK_SLOTS]>,
}

impl Table {
    pub(super) fn new(mut prefixes: Vec<(Ipv4Net, Mark)>) -> Table {
        let first = prefixes.iter().map(|(net, _)| high(net.network())).min();
        let last = prefixes.iter().map(|(net, _)| high(net.broadcast())).max();
        let (Some(base), Some(last)) = (first, last) else { return Table::default() };
        let slots = 1 + usize::from(last - base);
        let mut table = Table { top: vec![Slot::default(); slots], base, ..Table::default() };
        // Shorter ones first: what is painted later is the longer match.
        prefixes.sort_by_key(|(net, _)| net.prefix_len());
        for (net, mark) in prefixes {
            table.paint(net, mark);
        }
        table
    }

    #[inline]
    pub(super) fn lookup(&self, [a, b, c, d]: [u8; 4]) -> Mark {
        let top = self.top.get(usize::from(u16::from_be_bytes([a, b]).wrapping_sub(self.base)));
        let middle = match top.map_or(Err(Mark::default()), |slot| slot.link()) {
            Ok(link) => &self.middle[link],
            Err(mark) => return mark,
        };
        match middle[usize::from(c)].link() {
            Ok(link) => self.bottom[link][usize::from(d)],
            Err(mark) => mark,
        }
    }

    fn paint(&mut self, net: Ipv4Net, mark: Mark) {
        let [_, _, c, d] = net.network().octets();
        let len = net.prefix_len();
        let top = usize::from(high(net.network()) - self.base);
        if let Some(bits) = 16u8.checked_sub(len) {
            return self.top[top..top + (1 << bits)].fill(Slot::of(mark));
        }
        let (middle, c) = (self.middle_below(top), usize::from(c));
        if let Some(bits) = 24u8.checked_sub(len) {
            return self.middle[middle][c..c + (1 << bits)].fill(Slot::of(mark));
        }
        let (bottom, d) = (self.bottom_below(middle, c), usize::from(d));
        self.bottom[bottom][d..d + (1 << (32 - len))].fill(mark);
    }

    fn middle_below(&mut self, top: usize) -> usize {
        self.top[top].link().unwrap_or_else(|mark| {
            self.middle.push([Slot::of(mark); CHUNK_SLOTS]);
            self.top[top] = Slot::to(self.middle.len() - 1);
            self.middle.len() - 1
        })
    }

    fn bottom_below(&mut self, middle: usize, c: usize) -> usize {
        self.middle[middle][c].link().unwrap_or_else(|mark| {
            self.bottom.push([mark; CHUNK_SLOTS]);
            self.middle[middle][c] = Slot::to(self.bottom.len() - 1);
            self.bottom.len() - 1
        })
    }
}

fn high(address: Ipv4Addr) -> u16 {
    let [a, b, ..] = address.octets();
    u16::from_be_bytes([a, b])
}

impl Slot {
    /// Set where the rest is a link: an index below 2^24, since there are no more slots of 24 bits.
    const LINK: u32 = 1 << 31;

    fn of(mark: Mark) -> Slot {
        Slot(u32::from(mark.0))
    }

    fn to(index: usize) -> Slot {
        Slot(Self::LINK | index as u32)
    }

    /// Where to look on, or whose this is.
    #[inline]
    fn link(self) -> Result<usize, Mark> {
        if self.0 & Self::LINK != 0 { Ok((self.0 & !Self::LINK) as usize) } else { Err(Mark(self.0 as u16)) }
    }
}
