//! Against a naive longest-prefix match, after every single write, as a reader of the BPF maps sees it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use mesh_common::{
    locate::{locate_v4, locate_v6},
    maps::{CHUNK_SLOTS, Role, TOP_SLOTS},
};
use proptest::{collection::vec, prelude::*};

use super::*;

type Table = BTreeMap<IpNet, TableEntry>;

/// The BPF maps, changed by nothing but the writes. Chunks that were never filled hold a trap.
struct Kernel {
    top: Vec<Entry4>,
    chunks: Vec<Entry4>,
    v6: BTreeMap<Prefix6, Entry6>,
    lengths: [u8; V6_LENGTHS],
}

impl Kernel {
    fn new() -> Kernel {
        let trap = Entry4 { to: [6; 4], remap: 666, len: 6, role: Role::BARRED };
        Kernel {
            top: vec![Entry4::default(); TOP_SLOTS],
            chunks: vec![trap; CHUNK_SLOTS * 64],
            v6: BTreeMap::new(),
            lengths: [0; V6_LENGTHS],
        }
    }

    /// One store after the other; `seen` looks after each.
    fn apply(&mut self, writes: &[MapWrite], mut seen: impl FnMut(&Kernel)) {
        for write in writes {
            match *write {
                MapWrite::Top { first, count, entry } => {
                    for slot in first..first + count {
                        self.top[slot as usize] = entry;
                    }
                }
                MapWrite::Chunks { first, count, entry } => {
                    for slot in first..first + count {
                        self.chunks[slot as usize] = entry;
                    }
                }
                MapWrite::SetPrefix6(prefix, entry) => drop(self.v6.insert(prefix, entry)),
                MapWrite::RemovePrefix6(prefix) => drop(self.v6.remove(&prefix)),
                MapWrite::Lengths6(lengths) => self.lengths = lengths,
                MapWrite::Remap(..)
                | MapWrite::Node(_)
                | MapWrite::AddWireguardPort(_)
                | MapWrite::RemoveWireguardPort(_) => unreachable!("no part of a transition"),
            }
            seen(self);
        }
    }

    fn locate(&self, address: IpAddr) -> Option<TableEntry> {
        match address {
            IpAddr::V4(address) => unpack4(locate_v4(
                address.octets(),
                |slot| self.top.get(slot as usize).copied(),
                |slot| self.chunks.get(slot as usize).copied(),
            )),
            IpAddr::V6(address) => {
                unpack6(locate_v6(address.octets(), self.lengths, |prefix| self.v6.get(prefix).copied()))
            }
        }
    }

    /// What a reader gets that read the top slot before, and goes on only now.
    fn resume(&self, address: Ipv4Addr, top: Entry4) -> Option<TableEntry> {
        unpack4(locate_v4(address.octets(), |_| Some(top), |slot| self.chunks.get(slot as usize).copied()))
    }
}

fn unpack4(entry: Entry4) -> Option<TableEntry> {
    let Entry { to, remap, len, role } = entry;
    if role == Role::NONE {
        return None;
    }
    Some(TableEntry { to: Ipv4Net::new(to.into(), len).unwrap().into(), remap: RemapId(remap), role })
}

fn unpack6(entry: Entry6) -> Option<TableEntry> {
    let Entry { to, remap, len, role } = entry;
    if role == Role::NONE {
        return None;
    }
    Some(TableEntry { to: Ipv6Net::new(to.into(), len).unwrap().into(), remap: RemapId(remap), role })
}

fn naive(table: &Table, address: IpAddr) -> Option<TableEntry> {
    let holding = table.iter().filter(|(prefix, _)| prefix.contains(&address));
    holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, entry)| *entry)
}

/// A small universe, so that prefixes meet: 10.0.0.0/14 and fd00::/48, all lengths that matter at their edges.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0..1_u32 << 18, prop::sample::select(vec![8, 14, 15, 16, 17, 23, 24, 25, 31, 32]))
        .prop_map(|(bits, len)| IpNet::from(Ipv4Net::new((0x0a00_0000 | spread(bits)).into(), len).unwrap()));
    let v6 = (0..16_u128, prop::sample::select(vec![32, 48, 63, 64, 65, 96, 112, 128])).prop_map(|(bits, len)| {
        let address = 0xfd00_u128 << 112 | (bits & 3) << 63 | (bits >> 2) << 14;
        IpNet::from(Ipv6Net::new(address.into(), len).unwrap())
    });
    prop_oneof![3 => v4, 1 => v6].prop_map(|net| net.trunc())
}

/// 18 bits to few values of each byte.
fn spread(bits: u32) -> u32 {
    (bits & 3) << 16 | (bits >> 2 & 3) << 14 | (bits >> 4 & 1) << 8 | (bits >> 5 & 3) << 6 | bits >> 7 & 3
}

fn table() -> impl Strategy<Value = Table> {
    vec((prefix(), any::<u16>(), 1..16_u8), 0..24).prop_map(|entries| {
        let entry = |prefix: IpNet, remap, role| {
            let to = match prefix {
                IpNet::V4(net) => IpNet::from(Ipv4Net::new(Ipv4Addr::new(203, 0, 113, 0), net.prefix_len()).unwrap()),
                IpNet::V6(net) => IpNet::from(Ipv6Net::new(Ipv6Addr::LOCALHOST, net.prefix_len()).unwrap()),
            };
            TableEntry { to: to.trunc(), remap: RemapId(remap), role: Role(role) }
        };
        entries.into_iter().map(|(prefix, remap, role)| (prefix, entry(prefix, remap, role))).collect()
    })
}

/// The first and last address of every prefix, and their neighbours outside.
fn edges<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<IpAddr> {
    let prefixes: BTreeSet<&IpNet> = tables.into_iter().flat_map(|table| table.keys()).collect();
    let around = |prefix: &IpNet| match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|a| IpAddr::from(Ipv4Addr::from(a)))
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|a| IpAddr::from(Ipv6Addr::from(a)))
        }
    };
    prefixes.into_iter().flat_map(around).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_write_leads_from_the_old_answer_to_the_new(tables in vec(table(), 1..4)) {
        let mut slots = Slots::with_chunks(64);
        let mut kernel = Kernel::new();
        let mut old = Table::new();
        for new in &tables {
            let (next, writes) = slots.transition(new).unwrap();
            let addresses = edges([&old, new]);
            kernel.apply(&writes, |kernel| {
                for address in &addresses {
                    let answer = kernel.locate(*address);
                    assert!(
                        answer == naive(&old, *address) || answer == naive(new, *address),
                        "{address}: {answer:?} is neither the old nor the new answer"
                    );
                }
            });
            for address in &addresses {
                prop_assert_eq!(kernel.locate(*address), naive(new, *address), "kernel, {}", address);
                let in_memory = match address {
                    IpAddr::V4(address) => next.locate_v4(address.octets()).and_then(unpack4),
                    IpAddr::V6(address) => next.locate_v6(address.octets()).and_then(unpack6),
                };
                prop_assert_eq!(in_memory, naive(new, *address), "memory, {}", address);
            }
            prop_assert_eq!(&next.table(), new);
            prop_assert_eq!(next.transition(new).unwrap().1, vec![]);
            slots = next;
            slots.barrier();
            old = new.clone();
        }
    }

    #[test]
    fn a_late_reader_meets_no_foreign_chunk_before_the_barrier(tables in vec(table(), 2..5)) {
        let mut slots = Slots::with_chunks(64);
        let mut kernel = Kernel::new();
        let addresses = edges(&tables);
        let mut readers: Vec<(Ipv4Addr, Entry4)> = Vec::new();
        for (turn, new) in tables.iter().enumerate() {
            let (next, writes) = slots.transition(new).unwrap();
            kernel.apply(&writes, |_| ());
            slots = next;
            for address in &addresses {
                let IpAddr::V4(address) = address else { continue };
                readers.push((*address, kernel.top[(address.to_bits() >> 16) as usize]));
            }
            for (address, top) in &readers {
                let answer = kernel.resume(*address, *top);
                let known = tables[..=turn].iter().any(|table| naive(table, (*address).into()) == answer);
                prop_assert!(known, "{}: {:?} was never right", address, answer);
            }
        }
    }

    #[test]
    fn what_is_read_back_is_what_was_written(before in table(), new in table()) {
        let mut kernel = Kernel::new();
        let (slots, writes) = Slots::with_chunks(64).transition(&before).unwrap();
        kernel.apply(&writes, |_| ());
        let adopted = Slots::adopt(kernel.top.clone(), kernel.chunks.clone(), kernel.v6.clone()).unwrap();
        for address in edges([&before, &new]) {
            prop_assert_eq!(naive(&adopted.table(), address), naive(&slots.table(), address));
        }
        let (_, writes) = adopted.transition(&new).unwrap();
        kernel.apply(&writes, |_| ());
        for address in edges([&before, &new]) {
            prop_assert_eq!(kernel.locate(address), naive(&new, address));
        }
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn remote(prefix: IpNet) -> TableEntry {
    TableEntry { to: prefix, remap: RemapId(1), role: Role::TUNNEL }
}

#[test]
fn ten_thousand_prefixes_at_once() {
    let prefixes = (0..10_000_u32).map(|i| Ipv4Net::new((0x0a00_0000 + (i << 8)).into(), 24).unwrap().into());
    let table: Table = prefixes.map(|prefix| (prefix, remote(prefix))).collect();
    let (slots, writes) = Slots::default().transition(&table).unwrap();
    assert_eq!(slots.table().len(), 10_000);
    // One slot each, and filling and linking 40 chunks.
    assert_eq!(writes.len(), 10_000 + 2 * 40);
    let (_, writes) = slots.transition(&Table::new()).unwrap();
    assert_eq!(writes.len(), 10_000 + 40);
}

#[test]
fn refused_with_nothing_changed() {
    let mut slots = Slots::with_chunks(1);
    slots.set(net("10.1.2.0/24"), remote(net("10.1.2.0/24"))).unwrap();
    let before = slots.clone();
    let refused = [
        (net("10.1.2.3/32"), SlotsError::ChunksUsedUp { prefix: net("10.1.2.3/32"), capacity: 1 }),
        (net("10.2.2.0/24"), SlotsError::ChunksUsedUp { prefix: net("10.2.2.0/24"), capacity: 1 }),
        (net("::/0"), SlotsError::WholeFamily { prefix: net("::/0") }),
    ];
    for (prefix, error) in refused {
        assert_eq!(slots.set(prefix, remote(prefix)), Err(error));
    }
    let mismatch = slots.set(net("10.3.0.0/16"), remote(net("10.3.0.0/17")));
    assert_eq!(mismatch, Err(SlotsError::Mismatch { prefix: net("10.3.0.0/16"), to: net("10.3.0.0/17") }));
    assert_eq!(slots, before);
}

#[test]
fn a_ninth_length_is_refused() {
    let mut slots = Slots::default();
    for len in 40..48 {
        slots.set(net(&format!("fd00::/{len}")), remote(net(&format!("fd00::/{len}")))).unwrap();
    }
    let ninth = net("fd00::/48");
    assert_eq!(slots.set(ninth, remote(ninth)), Err(SlotsError::TooManyLengths { prefix: ninth }));
    slots.remove(net("fd00::/40"));
    slots.set(ninth, remote(ninth)).unwrap();
}

#[test]
fn a_contradiction_is_not_adopted() {
    let mut top = vec![Entry4::default(); TOP_SLOTS];
    top[10] = Entry4 { to: 7_u32.to_be_bytes(), role: Role::CHUNK, ..Entry4::default() };
    assert_eq!(Slots::adopt(top, vec![Entry4::default(); CHUNK_SLOTS], BTreeMap::new()), None);
}

#[test]
fn announced_prefixes_are_those_of_one_remote() {
    let (one, other) = (ConnectionId(1), ConnectionId(2));
    let mut slots = Slots::default();
    let entry = |to: &str| TableEntry { to: net(to), remap: RemapId(3), role: Role::LOCAL };
    let announced = BTreeMap::from([
        (net("10.243.0.0/16"), entry("10.71.0.0/16")),
        (net("10.243.8.0/24"), entry("10.72.8.0/24")),
        (net("fd00::/64"), entry("fd01::/64")),
    ]);
    slots.set_announced(one, &announced).unwrap();
    let to = |connection, address| slots.announced_v4(connection, address).map(|entry| entry.to);
    assert_eq!(to(one, [10, 243, 9, 1]), Some([10, 71, 0, 0]));
    assert_eq!(to(one, [10, 243, 8, 1]), Some([10, 72, 8, 0]));
    assert_eq!(to(one, [10, 244, 8, 1]), None);
    assert_eq!(to(other, [10, 243, 8, 1]), None);
    assert!(slots.announced_v6(one, "fd00::9".parse::<Ipv6Addr>().unwrap().octets()).is_some());
    assert!(slots.announced_v6(one, "fd00:0:0:1::9".parse::<Ipv6Addr>().unwrap().octets()).is_none());
}

#[test]
fn only_changes_are_written() {
    let mut slots = Slots::default();
    let remap = Remap { ingress: 4, connection: 2, mtu: 0 };
    assert_eq!(slots.set_remap(RemapId(1), remap), [MapWrite::Remap(RemapId(1), remap)]);
    assert_eq!(slots.set_remap(RemapId(1), remap), []);
    assert_eq!(slots.remove_remap(RemapId(1)), [MapWrite::Remap(RemapId(1), Remap::default())]);
    assert_eq!(slots.set_wireguard_ports([1, 2].into()).len(), 2);
    let writes = slots.set_wireguard_ports([2, 3].into());
    assert_eq!(writes, [MapWrite::AddWireguardPort(3), MapWrite::RemoveWireguardPort(1)]);
    assert!(slots.is_wireguard_port(3) && !slots.is_wireguard_port(1));
    assert_eq!(slots.set_node(Node::default()), []);
}

#[test]
fn icmp_tokens_are_shared_with_the_next_table() {
    let slots = Slots::default();
    let (next, _) = slots.transition(&Table::new()).unwrap();
    assert_eq!((0..2 * ICMP_BURST).filter(|_| next.icmp_token()).count(), ICMP_BURST as usize);
    assert!(!slots.icmp_token());
    slots.refill_icmp();
    assert!(next.icmp_token());
}
