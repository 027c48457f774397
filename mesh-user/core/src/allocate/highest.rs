//! The highest free block of a pool: what a network group takes, far from the prefixes that [`super::Blocks`] gives out
//! from below.

use ipnet::IpNet;

use crate::model::prefix::{number, numbered};

/// The highest block with `host_bits` host bits that overlaps nothing used, of the first pool that has one.
pub(crate) fn highest(pools: &[IpNet], used: impl IntoIterator<Item = IpNet>, host_bits: u8) -> Option<IpNet> {
    let mut used: Vec<IpNet> = used.into_iter().collect();
    used.sort_by_key(|net| net.network());
    pools.iter().find_map(|pool| highest_of(pool, &used, host_bits))
}

/// `used` is in the order of its networks.
fn highest_of(pool: &IpNet, used: &[IpNet], host_bits: u8) -> Option<IpNet> {
    let len = pool.max_prefix_len().checked_sub(host_bits).filter(|len| *len >= pool.prefix_len())?;
    let same_family = used.iter().filter(|net| net.max_prefix_len() == pool.max_prefix_len());
    let ranges = disjoint(same_family.map(|net| (number(net.network()), number(net.broadcast()))));
    let size = 1_u128.checked_shl(host_bits.into())?;
    let (low, mut high) = (number(pool.network()), number(pool.broadcast()));
    loop {
        let first = (high.checked_add(1)? / size).checked_sub(1)? * size;
        if first < low {
            return None;
        }
        let last = first + (size - 1);
        let below = ranges.partition_point(|(begin, _)| *begin <= last);
        match ranges[..below].last() {
            Some((begin, end)) if *end >= first => high = begin.checked_sub(1)?,
            _ => return IpNet::new(numbered(pool, first)?, len).ok(),
        }
    }
}

/// Ranges in the order of their begin, joined where they overlap or touch.
fn disjoint(ranges: impl Iterator<Item = (u128, u128)>) -> Vec<(u128, u128)> {
    let mut joined: Vec<(u128, u128)> = Vec::new();
    for (begin, end) in ranges {
        match joined.last_mut() {
            Some((_, last)) if begin <= last.saturating_add(1) => *last = end.max(*last),
            _ => joined.push((begin, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn taken(pools: &[&str], used: &[&str], host_bits: u8) -> Option<String> {
        let net = |text: &&str| text.parse::<IpNet>().unwrap();
        let pools: Vec<IpNet> = pools.iter().map(net).collect();
        highest(&pools, used.iter().map(net), host_bits).map(|net| net.to_string())
    }

    #[test]
    fn blocks_come_from_the_top() {
        let pool = ["10.0.0.0/8"];
        assert_eq!(taken(&pool, &[], 16).unwrap(), "10.255.0.0/16");
        assert_eq!(taken(&pool, &["10.255.0.0/16"], 16).unwrap(), "10.254.0.0/16");
        assert_eq!(taken(&pool, &["10.255.255.1/32"], 16).unwrap(), "10.254.0.0/16");
        assert_eq!(taken(&pool, &["10.128.0.0/9", "10.200.0.0/16"], 10).unwrap(), "10.127.252.0/22");
        assert_eq!(taken(&pool, &["10.0.0.0/8"], 16), None);
        assert_eq!(taken(&pool, &["0.0.0.0/0"], 16), None);
        assert_eq!(taken(&pool, &[], 25), None);
        assert_eq!(taken(&["10.0.0.0/16", "10.9.0.0/16"], &["10.0.3.0/24"], 16).unwrap(), "10.9.0.0/16");
        assert_eq!(taken(&["0.0.0.0/1"], &["0.0.0.0/1"], 16), None);
        assert_eq!(taken(&["fd00::/64"], &["10.0.0.0/8"], 16).unwrap(), "fd00::ffff:ffff:ffff:0/112");
    }

    proptest! {
        /// NG-01
        #[test]
        fn the_block_is_the_highest_that_is_free(
            used in proptest::collection::vec((any::<u16>(), 18..=30_u8), 0..40),
            host_bits in 4..=12_u8,
        ) {
            let pool: IpNet = "10.1.0.0/16".parse().unwrap();
            let used: Vec<IpNet> = used.into_iter().map(|(low, len)| {
                IpNet::new(IpAddr::V4((0x0a01_0000 | u32::from(low)).into()), len).unwrap().trunc()
            }).collect();
            let free = |net: &IpNet| !used.iter().any(|other| other.contains(net) || net.contains(other));
            let expected = pool.subnets(32 - host_bits).unwrap().filter(free).last();
            prop_assert_eq!(highest(&[pool], used.iter().copied(), host_bits), expected);
        }
    }
}
