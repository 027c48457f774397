//! Where a gateway is reached: an address, or a DNS name that stands for some.

use std::{fmt, net::IpAddr, str::FromStr};

/// Bytes of a DNS name without its final dot (RFC 1035, section 2.3.4), and of one label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHost {
    #[error("{0} is no address of one host")]
    Group(IpAddr),
    #[error("{0:?} is neither an IP address nor a DNS name")]
    Text(String),
}

impl FromStr for Host {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let one = !address.is_unspecified() && !address.is_multicast();
            return if one { Ok(Host::Address(address)) } else { Err(NotAHost::Group(address)) };
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            (1..=LABEL_MAX).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
        };
        // 10.0.0.300 is an address with a slip, not a name.
        let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() <= NAME_MAX && name.split('.').all(is_label) && !is_number {
            Ok(Host::Name(name))
        } else {
            Err(NotAHost::Text(text.to_owned()))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => write!(f, "{address}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        assert_eq!("192.0.2.1".parse(), Ok(Host::Address([192, 0, 2, 1].into())));
        assert_eq!("GW.Example.".parse(), Ok(Host::Name("gw.example".to_owned())));
        assert_eq!("localhost".parse(), Ok(Host::Name("localhost".to_owned())));
        for wrong in ["", ".", "0.0.0.0", "ff02::1", "10.0.0.300", "7", "a..b", "-a.example", "a b", "a:51840", "[::1]"]
        {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
    }
}
