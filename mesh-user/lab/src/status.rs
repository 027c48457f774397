//! What `meshctl status -o json` says, as far as checks ask. A second reading of the documented shape, from outside.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    pub cluster: String,
    pub public_key: String,
    pub interfaces: Vec<Interface>,
    pub connections: Vec<Connection>,
    pub remaps: Vec<Remap>,
    pub drops: BTreeMap<String, u64>,
    pub problems: Vec<String>,
    pub notices: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    pub name: String,
    pub wanted: String,
    pub hook: String,
    pub why: String,
    pub packets: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Connection {
    pub name: String,
    pub remote: String,
    pub kind: String,
    pub state: String,
    pub latency_us: Option<u64>,
    pub detail: String,
    pub device: Option<String>,
    pub endpoint: Option<String>,
    pub listen_port: Option<u16>,
    pub handshake_age_s: Option<u64>,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Remap {
    pub connection: String,
    pub real: String,
    pub presented: String,
    pub packets: u64,
}

impl Status {
    pub fn parse(json: &str) -> Result<Status> {
        serde_json::from_str(json).with_context(|| format!("`meshctl status -o json` printed something else: {json}"))
    }

    pub fn connection(&self, remote: &str) -> Result<&Connection> {
        let found = self.connections.iter().find(|connection| connection.remote == remote);
        found.with_context(|| format!("{} has no connection to {remote}: {:?}", self.cluster, self.connections))
    }

    pub fn is_connected(&self, remote: &str) -> bool {
        self.connections.iter().any(|connection| connection.remote == remote && connection.state == "Connected")
    }

    /// Packets dropped for this reason; 0 if it is not listed.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops.get(reason).copied().unwrap_or(0)
    }
}

/// `10.71.0.0/16`, for membership and for the same host under another network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

impl Prefix {
    pub fn parse(text: &str) -> Result<Prefix> {
        let (network, length) = text.split_once('/').with_context(|| format!("`{text}` is not ADDRESS/LENGTH"))?;
        let prefix = Prefix { network: network.parse()?, length: length.parse()? };
        let longest = if prefix.network.is_ipv4() { 32 } else { 128 };
        anyhow::ensure!(prefix.length <= longest, "`{text}` is longer than an address");
        Ok(prefix)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.of(address) == Some(address)
    }

    /// The address with this network and the host bits of `address`; `None` across families.
    pub fn of(&self, address: IpAddr) -> Option<IpAddr> {
        let mix = |network: u128, host: u128, width: u32| {
            let mask = u128::MAX.checked_shr(128 - width + u32::from(self.length)).unwrap_or(0);
            (network & !mask) | (host & mask)
        };
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(host)) => {
                let mixed = mix(u32::from(network).into(), u32::from(host).into(), 32);
                u32::try_from(mixed).ok().map(|bits| IpAddr::V4(bits.into()))
            }
            (IpAddr::V6(network), IpAddr::V6(host)) => Some(IpAddr::V6(mix(network.into(), host.into(), 128).into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_keep_host_bits() {
        let prefix = Prefix::parse("10.71.0.0/16").unwrap();
        assert_eq!(prefix.of("10.243.2.7".parse().unwrap()), Some("10.71.2.7".parse().unwrap()));
        assert!(prefix.contains("10.71.255.255".parse().unwrap()));
        assert!(!prefix.contains("10.72.0.0".parse().unwrap()));
        assert!(Prefix::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(!Prefix::parse("192.0.2.1/32").unwrap().contains("192.0.2.2".parse().unwrap()));
        let prefix = Prefix::parse("fd00:71::/48").unwrap();
        assert_eq!(prefix.of("fd00:243::2:7".parse().unwrap()), Some("fd00:71::2:7".parse().unwrap()));
        assert!(!prefix.contains("10.71.0.1".parse().unwrap()));
        assert!(Prefix::parse("10.0.0.0/33").is_err());
    }
}
