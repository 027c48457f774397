//! Which address the next peer of a group gets.
//!
//! The first five addresses of a CIDR and its last one are never given out. A cursor walks upwards from the sixth; what was
//! given back behind it is given out again only after the cursor came to the end and began anew, at the lowest that is
//! free. An address in use is never given out.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::model::prefix::{number, numbered};

/// Addresses at the beginning of a CIDR that no peer gets.
const RESERVED: u128 = 5;

/// Where the cursor of a new group stands.
pub(crate) fn origin(network: &IpNet) -> IpAddr {
    address(network, usable(network).start() - 1)
}

/// The first free address behind the cursor; `None`: all are in use.
pub(crate) fn next<T>(network: &IpNet, cursor: IpAddr, in_use: &BTreeMap<IpAddr, T>) -> Option<IpAddr> {
    let usable = usable(network);
    let (low, high) = (*usable.start(), *usable.end());
    let begin = number(cursor).saturating_add(1).max(low);
    free(network, begin..=high, in_use).or_else(|| free(network, low..=high, in_use))
}

/// Whether it can be given out: inside the CIDR, and not one that no peer gets.
pub(crate) fn is_usable(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address) && usable(network).contains(&number(address))
}

fn free<T>(network: &IpNet, range: RangeInclusive<u128>, in_use: &BTreeMap<IpAddr, T>) -> Option<IpAddr> {
    if range.is_empty() {
        return None;
    }
    let mut candidate = *range.start();
    for used in in_use.range(address(network, candidate)..).map(|(used, _)| number(*used)) {
        if used != candidate {
            break;
        }
        candidate += 1;
    }
    range.contains(&candidate).then(|| address(network, candidate))
}

fn usable(network: &IpNet) -> RangeInclusive<u128> {
    number(network.network()) + RESERVED..=number(network.broadcast()) - 1
}

/// The address of a number inside `network`.
fn address(network: &IpNet, number: u128) -> IpAddr {
    numbered(network, number).expect("a number inside a CIDR is one of its family")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(network: &str, cursor: &str, in_use: &[&str]) -> Option<String> {
        let in_use = in_use.iter().map(|address| (address.parse().unwrap(), ())).collect();
        next(&network.parse().unwrap(), cursor.parse().unwrap(), &in_use).map(|address| address.to_string())
    }

    /// NG-23
    #[test]
    fn the_cursor_walks_on_and_begins_anew() {
        let network = "10.1.0.0/28".parse().unwrap();
        assert_eq!(origin(&network).to_string(), "10.1.0.4");
        let next = |cursor: &str, in_use: &[&str]| after("10.1.0.0/28", cursor, in_use).unwrap();
        assert_eq!(next("10.1.0.4", &[]), "10.1.0.5");
        assert_eq!(next("10.1.0.5", &[]), "10.1.0.6");
        assert_eq!(next("10.1.0.5", &["10.1.0.6", "10.1.0.7", "10.1.0.9"]), "10.1.0.8");
        assert_eq!(next("10.1.0.13", &[]), "10.1.0.14");
        assert_eq!(next("10.1.0.14", &["10.1.0.5"]), "10.1.0.6");
        assert_eq!(next("10.1.0.12", &["10.1.0.13", "10.1.0.14"]), "10.1.0.5");
    }

    #[test]
    fn only_what_a_peer_may_get_can_be_asked_for() {
        let network = "10.1.0.0/28".parse().unwrap();
        let usable = |address: &str| is_usable(&network, address.parse().unwrap());
        assert!(usable("10.1.0.5") && usable("10.1.0.14"));
        assert!(!["10.1.0.4", "10.1.0.15", "10.1.1.5", "fd00::5"].into_iter().any(usable));
    }

    /// NG-23
    #[test]
    fn a_full_cidr_has_none() {
        let all: Vec<String> = (5..=14).map(|host| format!("10.1.0.{host}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(after("10.1.0.0/28", "10.1.0.9", &all), None);
        assert_eq!(after("10.1.0.0/28", "10.1.0.9", &all[..9]).unwrap(), "10.1.0.14");
        assert_eq!(after("fd00::/64", "fd00::4", &["fd00::5"]).unwrap(), "fd00::6");
    }
}
