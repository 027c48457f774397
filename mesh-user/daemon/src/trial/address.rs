//! Which address does a trial get?
//!
//! One that nobody can have: the highest of the pod CIDR to which no route of this node leads. Where a route leads to all
//! of the CIDR, only who knows its pods can say, and must.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Refused;

/// Routes that are stepped over before we give up.
const STEPS: usize = 4_096;

/// Those that are `wanted`, else one of each family of `pods`. `taken`: prefixes that somebody has.
pub(super) fn choose(pods: &[IpNet], wanted: &[IpAddr], taken: &[IpNet]) -> Result<Vec<IpAddr>, Refused> {
    if pods.is_empty() {
        return Err(Refused::Conflict("this node has no pod CIDR: its settings give no cidr.pod".to_owned()));
    }
    if !wanted.is_empty() {
        return wanted.iter().map(|address| check(*address, pods, wanted, taken)).collect();
    }
    let first = |is_v4: bool| pods.iter().filter(move |net| net.addr().is_ipv4() == is_v4);
    let of_family = |is_v4: bool| first(is_v4).find_map(|net| highest_free(net, taken));
    let found: Vec<IpAddr> = [true, false].into_iter().filter_map(of_family).collect();
    if found.is_empty() {
        let pods = pods.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let message = format!(
            "routes of this node lead to all addresses of {pods}: name one that no pod has in `addresses` (--pod-ip)"
        );
        return Err(Refused::Conflict(message));
    }
    Ok(found)
}

/// Who names an address knows the pods: only what is certainly somebody's is refused.
fn check(address: IpAddr, pods: &[IpNet], wanted: &[IpAddr], taken: &[IpNet]) -> Result<IpAddr, Refused> {
    if !pods.iter().any(|net| net.contains(&address)) {
        return Err(Refused::Invalid(format!("{address} is in no pod CIDR of this cluster")));
    }
    if wanted.iter().filter(|other| other.is_ipv4() == address.is_ipv4()).count() > 1 {
        return Err(Refused::Invalid("addresses: one of each family at most".to_owned()));
    }
    if taken.contains(&IpNet::from(address)) {
        return Err(Refused::Conflict(format!("{address} is in use on this node: name another")));
    }
    Ok(address)
}

fn highest_free(pods: &IpNet, taken: &[IpNet]) -> Option<IpAddr> {
    let is_v4 = pods.addr().is_ipv4();
    // The last address of IPv4 is for broadcasts, the first of either is the network's.
    let mut candidate = number(pods.broadcast()).checked_sub(u128::from(is_v4))?;
    for _ in 0..STEPS {
        if candidate <= number(pods.network()) {
            return None;
        }
        let address = address(candidate, is_v4);
        let is_in_the_way = |net: &&IpNet| net.prefix_len() > 0 && net.contains(&address);
        match taken.iter().filter(is_in_the_way).min_by_key(|net| net.prefix_len()) {
            None => return Some(address),
            Some(net) => candidate = number(net.network()).checked_sub(1)?,
        }
    }
    None
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_v4 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn chosen(pods: &[&str], wanted: &[&str], taken: &[&str]) -> Result<Vec<String>, String> {
        let wanted: Vec<IpAddr> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        match choose(&nets(pods), &wanted, &nets(taken)) {
            Ok(addresses) => Ok(addresses.iter().map(ToString::to_string).collect()),
            Err(Refused::Invalid(message)) => Err(format!("invalid: {message}")),
            Err(Refused::Conflict(message)) => Err(format!("conflict: {message}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_of_each_family_where_no_route_leads() {
        let pods = ["10.243.0.0/16", "fd00:10:243::/48"];
        let both = chosen(&pods, &[], &["10.243.1.0/24", "0.0.0.0/0", "::/0"]).unwrap();
        assert_eq!(both, ["10.243.255.254", "fd00:10:243:ffff:ffff:ffff:ffff:ffff"]);
        let stepped = chosen(&pods[..1], &[], &["10.243.255.0/24", "10.243.254.128/25", "10.243.254.127/32"]);
        assert_eq!(stepped.unwrap(), ["10.243.254.126"]);
    }

    #[test]
    fn a_cidr_that_is_routed_as_a_whole_needs_a_word() {
        let whole = ["10.243.0.0/17", "10.243.128.0/17"];
        assert!(chosen(&["10.243.0.0/16"], &[], &whole).unwrap_err().starts_with("conflict: routes of this node"));
        // A route that is wider leads to those pods as well, but for the default route.
        assert!(chosen(&["10.243.0.0/16"], &[], &["10.240.0.0/12"]).unwrap_err().starts_with("conflict: routes"));
        assert_eq!(chosen(&["10.243.0.0/16"], &["10.243.9.9"], &whole).unwrap(), ["10.243.9.9"]);
        assert!(chosen(&["10.243.0.0/32"], &[], &[]).is_err());
        assert!(chosen(&[], &[], &[]).unwrap_err().contains("no pod CIDR"));
    }

    #[test]
    fn what_is_certainly_wrong_is_refused() {
        let pods = ["10.243.0.0/16"];
        assert!(chosen(&pods, &["10.1.1.1"], &[]).unwrap_err().contains("in no pod CIDR"));
        assert!(chosen(&pods, &["10.243.1.1"], &["10.243.1.1/32"]).unwrap_err().contains("in use"));
        assert!(chosen(&pods, &["10.243.1.1", "10.243.1.2"], &[]).unwrap_err().contains("one of each family"));
    }
}
