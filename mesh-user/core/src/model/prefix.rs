//! What counts as a prefix of a cluster, and how two prefixes relate.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses that no cluster can own, with the reason.
const UNUSABLE: [(&str, &str); 8] = [
    ("0.0.0.0/8", "'this network'"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/3", "multicast and reserved addresses"),
    ("::/127", "the unspecified address and loopback"),
    ("::ffff:0:0/96", "IPv4-mapped addresses"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
];

/// A prefix that a cluster may own, or what is wrong with the text and what to write instead.
pub fn parse_cidr(text: &str) -> Result<IpNet, (String, String)> {
    let Ok(net) = text.parse::<IpNet>() else {
        let hint = "write ADDRESS/LENGTH, such as 10.243.0.0/16 or fd00:243::/64".to_owned();
        return Err((format!("{text:?} is no CIDR"), hint));
    };
    if net.trunc() != net {
        return Err((format!("{net} has host bits set"), format!("write {}", net.trunc())));
    }
    for (range, reason) in UNUSABLE {
        let range: IpNet = range.parse().expect("the ranges above are CIDRs");
        if overlap(&net, &range) {
            return Err((format!("{net} holds {reason} ({range})"), "give a prefix of unicast addresses".to_owned()));
        }
    }
    Ok(net)
}

/// One holds the other, or both are the same.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// An address as a number, to reckon with.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with this number in the family of `net`; `None`: the family has no such.
pub(crate) fn numbered(net: &IpNet, number: u128) -> Option<IpAddr> {
    match net {
        IpNet::V4(_) => u32::try_from(number).ok().map(|bits| IpAddr::V4(bits.into())),
        IpNet::V6(_) => Some(IpAddr::V6(number.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_right_prefix() {
        assert_eq!(parse_cidr("10.243.0.7/16").unwrap_err().1, "write 10.243.0.0/16");
        assert_eq!(parse_cidr("10.243.0.0/16").unwrap().to_string(), "10.243.0.0/16");
        for bad in ["10.243.0.0", "10.243.0.0/33", "x", "", "0.0.0.0/0", "127.0.0.0/16", "::/0", "fe80::/64"] {
            assert!(parse_cidr(bad).is_err(), "{bad}");
        }
    }
}
