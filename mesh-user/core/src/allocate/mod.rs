//! Which prefix a remote cluster's prefix is presented as: a pure state of what is taken and by whom.
//!
//! *Shared* prefixes (pod, service, reserved, those of the host) may overlap each other; *exclusive* ones (external,
//! internal, presented) overlap nothing. What was given out is kept in [`Allocations`].

mod allocations;
mod buddy;
mod highest;

pub(crate) use allocations::Numbers;
pub use allocations::{Allocations, NetworkShare, NumberedRemap, OutsideShare, Share};
pub(crate) use highest::highest;

use std::collections::BTreeMap;

use ipnet::IpNet;

/// What is taken on one node while its plan is made.
#[derive(Clone, Debug)]
pub struct Blocks {
    pools: Vec<IpNet>,
    used: Vec<(IpNet, String)>,
    /// The first owner of each prefix, by its place in `used`.
    owners: BTreeMap<IpNet, usize>,
}

/// Why a prefix could not be had; both owners are named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{wanted} for {owner} overlaps {taken} of {other}")]
    Taken { wanted: IpNet, owner: String, taken: IpNet, other: String },
    #[error("{wanted} for {owner} lies in no pool")]
    OutOfPool { wanted: IpNet, owner: String },
    #[error("no pool has a free /{} for {owner} ({wanted})", .wanted.prefix_len())]
    Full { wanted: IpNet, owner: String },
}

impl Blocks {
    pub fn new(pools: &[IpNet]) -> Self {
        Blocks { pools: pools.to_vec(), used: Vec::new(), owners: BTreeMap::new() }
    }

    /// Takes a prefix that others may share.
    pub fn share(&mut self, net: IpNet, owner: &str) {
        self.owners.entry(net.trunc()).or_insert(self.used.len());
        self.used.push((net, owner.to_owned()));
    }

    /// Takes exactly this prefix, in a pool or not.
    pub fn claim(&mut self, wanted: IpNet, owner: &str) -> Result<(), Refusal> {
        if let Some((taken, other)) = self.overlapping(&wanted).and_then(|at| self.used.get(at)) {
            return Err(Refusal::Taken { wanted, owner: owner.to_owned(), taken: *taken, other: other.clone() });
        }
        self.share(wanted, owner);
        Ok(())
    }

    /// The first one taken of those around or inside of a prefix.
    fn overlapping(&self, wanted: &IpNet) -> Option<usize> {
        let wanted = wanted.trunc();
        let around = std::iter::successors(Some(wanted), IpNet::supernet).filter_map(|net| self.owners.get(&net));
        let last = IpNet::from(wanted.broadcast());
        let inside = self.owners.range(wanted..=last).filter(|(net, _)| wanted.contains(*net)).map(|(_, at)| at);
        around.chain(inside).min().copied()
    }

    /// Takes exactly this prefix, which the operator chose: an IPv4 prefix must lie in a pool.
    pub fn claim_in_pool(&mut self, wanted: IpNet, owner: &str) -> Result<(), Refusal> {
        if matches!(wanted, IpNet::V4(_)) && !self.pools.iter().any(|pool| pool.contains(&wanted)) {
            return Err(Refusal::OutOfPool { wanted, owner: owner.to_owned() });
        }
        self.claim(wanted, owner)
    }

    /// Takes the wish if it is free, else a block of the same size.
    ///
    /// An IPv6 wish is kept wherever it lies, since it is unique as a rule; an IPv4 wish outside the pools is moved.
    pub fn take(&mut self, wish: IpNet, owner: &str) -> Result<IpNet, Refusal> {
        let used: Vec<IpNet> = self.used.iter().map(|(net, _)| *net).collect();
        let keep = matches!(wish, IpNet::V6(_)) && buddy::is_free(&used, &wish);
        let block = if keep { Some(wish) } else { buddy::find(&self.pools, &used, &wish) };
        let block = block.ok_or_else(|| Refusal::Full { wanted: wish, owner: owner.to_owned() })?;
        self.share(block, owner);
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pools() -> Vec<IpNet> {
        ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fd00::/8"].map(net).to_vec()
    }

    /// A cluster with the usual external and internal CIDRs, and what its requests get.
    fn results(shared: [&str; 2], requests: &[&str]) -> Vec<String> {
        let mut blocks = Blocks::new(&pools());
        for prefix in shared {
            blocks.share(net(prefix), "shared");
        }
        for own in ["10.70.0.0/16", "10.80.0.0/16"] {
            assert_eq!(blocks.take(net(own), "own"), Ok(net(own)));
        }
        requests.iter().map(|wish| blocks.take(net(wish), "remote").unwrap().to_string()).collect()
    }

    #[test]
    fn golden_table() {
        let (pod, external) = ("10.243.0.0/16", "10.70.0.0/16");
        assert_eq!(
            results([pod, "10.95.0.0/16"], &[pod, external, pod]),
            ["10.71.0.0/16", "10.68.0.0/16", "10.69.0.0/16"]
        );
        assert_eq!(
            results([pod, "10.96.0.0/12"], &[pod, external, pod, external]),
            ["10.71.0.0/16", "10.68.0.0/16", "10.69.0.0/16", "10.64.0.0/16"]
        );
        assert_eq!(
            results(["10.244.0.0/16", "10.96.0.0/16"], &["10.244.0.0/16", external]),
            ["10.71.0.0/16", "10.68.0.0/16"]
        );
        assert_eq!(
            results(["10.42.0.0/16", "10.43.0.0/16"], &["10.42.0.0/16", external, "10.42.0.0/16"]),
            ["10.40.0.0/16", "10.41.0.0/16", "10.44.0.0/16"]
        );
    }

    #[test]
    fn a_free_wish_is_kept_and_a_foreign_one_moved() {
        let mut blocks = Blocks::new(&pools());
        assert_eq!(blocks.take(net("10.9.0.0/16"), "a"), Ok(net("10.9.0.0/16")));
        assert_eq!(blocks.take(net("100.64.0.0/16"), "b"), Ok(net("10.8.0.0/16")));
        assert_eq!(blocks.take(net("2001:db8::/64"), "c"), Ok(net("2001:db8::/64")));
        assert_eq!(blocks.take(net("2001:db8::/64"), "d"), Ok(net("fd00::/64")));
        assert!(matches!(blocks.claim_in_pool(net("100.64.0.0/16"), "e"), Err(Refusal::OutOfPool { .. })));
        let refusal = blocks.claim(net("10.9.4.0/24"), "e").unwrap_err().to_string();
        assert_eq!(refusal, "10.9.4.0/24 for e overlaps 10.9.0.0/16 of a");
    }

    #[test]
    fn a_full_side_falls_to_the_other() {
        let mut blocks = Blocks::new(&[net("10.0.0.0/14")]);
        for expected in ["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"] {
            assert_eq!(blocks.take(net("10.0.0.0/16"), "x"), Ok(net(expected)));
        }
        assert!(matches!(blocks.take(net("10.0.0.0/16"), "x"), Err(Refusal::Full { .. })));
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        // Of each pool, and of no pool.
        let bases = prop::sample::select(vec![0x0a00_0000_u32, 0x0a00_0000, 0xc0a8_0000, 0xac10_0000, 0x6440_0000]);
        let v4 = (bases, any::<u32>(), 8..=30_u8).prop_map(|(base, bits, len)| {
            IpNet::new(std::net::Ipv4Addr::from_bits(base | bits & 0x000f_ffff).into(), len).unwrap().trunc()
        });
        let v6 = (any::<u16>(), 40..=64_u8).prop_map(|(bits, len)| {
            IpNet::new(std::net::Ipv6Addr::from([0xfd00, bits, bits, 0, 0, 0, 0, 0]).into(), len).unwrap().trunc()
        });
        prop_oneof![3 => v4, 1 => v6]
    }

    proptest! {
        /// LQ-23: what was given out is claimed first after a restart, in whatever order, and nothing moves.
        #[test]
        fn a_restart_in_another_order_moves_nothing(
            wishes in prop::collection::vec(prefix(), 1..16),
            more in prop::collection::vec(prefix(), 0..8),
            turn in 0..16_usize,
        ) {
            let mut blocks = Blocks::new(&pools());
            let mut given: Vec<IpNet> = wishes.iter().filter_map(|wish| blocks.take(*wish, "before").ok()).collect();
            let places = given.len().max(1);
            given.rotate_left(turn % places);
            let mut again = Blocks::new(&pools());
            for block in &given {
                prop_assert_eq!(again.claim(*block, "after"), Ok(()));
            }
            for wish in more {
                let (next, same) = (blocks.take(wish, "new").ok(), again.take(wish, "new").ok());
                prop_assert_eq!(next, same, "{} depends on the order of the others", wish);
            }
        }

        /// LQ-23: of every length from 8 to 30, with several pools.
        #[test]
        fn blocks_are_unique_of_the_same_size_and_in_a_pool(
            shared in prop::collection::vec(prefix(), 0..6),
            wishes in prop::collection::vec(prefix(), 1..24),
        ) {
            let mut blocks = Blocks::new(&pools());
            shared.iter().for_each(|net| blocks.share(*net, "shared"));
            let mut given: Vec<IpNet> = Vec::new();
            for wish in wishes {
                let Ok(block) = blocks.take(wish, "remote") else { continue };
                prop_assert_eq!(block.prefix_len(), wish.prefix_len());
                prop_assert!(pools().iter().any(|pool| pool.contains(&block)));
                for other in shared.iter().chain(&given) {
                    prop_assert!(!other.contains(&block) && !block.contains(other), "{block} overlaps {other}");
                }
                let free = shared.iter().chain(&given).all(|other| !other.contains(&wish) && !wish.contains(other));
                let in_pool = pools().iter().any(|pool| pool.contains(&wish));
                prop_assert!(!free || !in_pool || block == wish, "{wish} was free");
                given.push(block);
            }
        }
    }
}
