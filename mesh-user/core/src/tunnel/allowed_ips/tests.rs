//! Against a list that is searched from one end to the other.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::{collection::vec, prelude::*};

use super::*;

fn naive(prefixes: &[(IpNet, ConnectionId)], address: IpAddr) -> Option<ConnectionId> {
    let given: BTreeMap<IpNet, ConnectionId> = prefixes.iter().map(|(net, owner)| (net.trunc(), *owner)).collect();
    let matching = given.into_iter().filter(|(net, _)| net.contains(&address));
    let owner = matching.max_by_key(|(net, _)| net.prefix_len()).map(|(_, owner)| owner);
    owner.filter(|owner| owner.0 != u16::MAX)
}

/// Few different bits, so that prefixes nest and addresses hit.
fn address_v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        (0..2u8, 0..2u8, 0..3u8, any::<u8>()).prop_map(|(a, b, c, d)| Ipv4Addr::new(10 + a, b, c, d)),
        any::<u32>().prop_map(Ipv4Addr::from_bits),
    ]
}

fn address_v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        (0..2u16, 0..2u16, any::<u8>()).prop_map(|(a, b, c)| Ipv6Addr::new(0xfd00, a, 0, 0, b, 0, 0, c.into())),
        any::<u128>().prop_map(Ipv6Addr::from_bits),
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (address_v4(), 0..=32u8).prop_map(|(address, len)| Ipv4Net::new(address, len).unwrap().into()),
        (address_v6(), 0..=128u8).prop_map(|(address, len)| Ipv6Net::new(address, len).unwrap().into()),
    ]
}

fn owner() -> impl Strategy<Value = ConnectionId> {
    prop_oneof![0..4u16, Just(u16::MAX - 1), Just(u16::MAX)].prop_map(ConnectionId)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_longest_match_wins(
        prefixes in vec((prefix(), owner()), 0..40),
        v4 in vec(address_v4(), 40),
        v6 in vec(address_v6(), 40),
    ) {
        let table = AllowedIps::new(prefixes.clone());
        let edges = prefixes.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]);
        let addresses = v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).chain(edges);
        for address in addresses {
            prop_assert_eq!(table.lookup(address), naive(&prefixes, address), "{}", address);
        }
    }

    #[test]
    fn every_prefix_is_told_once_with_its_last_owner(prefixes in vec((prefix(), owner()), 0..40)) {
        let given: BTreeMap<IpNet, ConnectionId> = prefixes.iter().map(|(net, owner)| (net.trunc(), *owner)).collect();
        let table = AllowedIps::new(prefixes);
        prop_assert_eq!(table.iter().collect::<Vec<_>>(), given.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_owned_in_an_empty_table() {
    let table = AllowedIps::default();
    assert_eq!(table.lookup(Ipv4Addr::LOCALHOST.into()), None);
    assert_eq!(table.lookup(Ipv6Addr::LOCALHOST.into()), None);
}

#[test]
fn default_routes_catch_what_nobody_else_has() {
    let nets: [(&str, u16); 4] = [("0.0.0.0/0", 1), ("::/0", 2), ("10.0.0.0/8", 3), ("fd00::/8", 4)];
    let table = AllowedIps::new(nets.map(|(net, owner)| (net.parse().unwrap(), ConnectionId(owner))));
    let owner = |address: &str| table.lookup(address.parse().unwrap()).unwrap().0;
    assert_eq!(["9.255.255.255", "255.255.255.255", "10.1.2.3"].map(owner), [1, 1, 3]);
    assert_eq!(["fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fdff::"].map(owner), [2, 2, 4]);
}

/// 10,000 peers with one address of each family. The bound has room for a debug build on a busy machine.
#[test]
fn ten_thousand_peers_are_built_at_once_and_found() {
    let nets = (0..10_000u32).flat_map(|peer| {
        let owner = ConnectionId(peer as u16);
        let v4 = Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + peer * 7), 32).unwrap();
        let v6 = Ipv6Net::new(Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(peer)), 128).unwrap();
        [(v4.into(), owner), (v6.into(), owner)]
    });
    let nets: Vec<(IpNet, ConnectionId)> = nets.collect();
    let start = Instant::now();
    let table = AllowedIps::new(nets.iter().copied());
    let took = start.elapsed();
    for (net, owner) in nets {
        assert_eq!(table.lookup(net.addr()), Some(owner));
    }
    assert!(took < Duration::from_millis(500), "{took:?}");
}
