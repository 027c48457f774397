//! `[ng]`: where network groups get their prefixes, names, ports and kinds from.

use std::{collections::BTreeMap, ops::RangeInclusive};

use ipnet::IpNet;
use toml::Spanned;

use super::{file::GroupsSection, reading::Reading};
use crate::{
    model::{
        DEFAULT_MTU,
        group::{DomainName, GroupId, MemberKind},
        prefix,
    },
    registry::Rules,
};

const DEFAULT_PORTS: (u16, u16) = (51_820, 52_819);
/// Smaller ones have no room for peers, larger ones would use the pool up.
const PREFIX_LENGTHS: RangeInclusive<u8> = 16..=28;
/// Bytes: what every IPv4 host takes, and the most that a TUN device has.
const MTUS: RangeInclusive<u16> = 576..=65_535;
/// Shorter ones end while a node is busy, longer ones tell nobody that a node is dead.
const LEASES: RangeInclusive<u32> = 3..=86_400;

/// The settings of network groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Where groups get their CIDRs; IPv4, without overlaps.
    pub pool: Vec<IpNet>,
    /// Of a group's CIDR unless its creator says otherwise.
    pub prefix_length: u8,
    /// Below which names of members lie; never empty, the first is the default.
    pub suffixes: Vec<DomainName>,
    /// UDP ports for the peers that this node runs.
    pub ports: RangeInclusive<u16>,
    /// Bytes, of the tunnel devices of groups.
    pub mtu: u16,
    /// How long a node's peers outlive its last word.
    pub lease_seconds: u32,
    /// What kind of member an id stands for, by what it begins with.
    pub kinds: BTreeMap<String, MemberKind>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        let Rules { suffixes, pool, prefix_length, kinds, taken: _, lease_seconds } = Rules::default();
        let ports = DEFAULT_PORTS.0..=DEFAULT_PORTS.1;
        GroupSettings { pool, prefix_length, suffixes, ports, mtu: DEFAULT_MTU, lease_seconds, kinds }
    }
}

impl GroupSettings {
    /// The rules that they make, with nothing taken.
    pub fn rules(&self) -> Rules {
        Rules {
            suffixes: self.suffixes.clone(),
            pool: self.pool.clone(),
            prefix_length: self.prefix_length,
            kinds: self.kinds.clone(),
            taken: Vec::new(),
            lease_seconds: self.lease_seconds,
        }
    }
}

impl Reading<'_> {
    pub(super) fn groups(&mut self, section: &GroupsSection) -> GroupSettings {
        let mut settings = GroupSettings::default();
        if let Some(length) = &section.prefix_length {
            settings.prefix_length = self.prefix_length(length);
        }
        if let Some(pool) = &section.pool {
            settings.pool = self.group_pool(pool, settings.prefix_length);
        }
        if let Some(suffixes) = &section.suffixes {
            let hint = "write the end of a domain name, such as cc-ng.cloud";
            let parsed = suffixes.iter().filter_map(|suffix| self.parse(suffix, "ng.suffixes", hint));
            settings.suffixes = parsed.collect();
            if suffixes.is_empty() {
                self.report(None, "ng.suffixes", "no suffix", "give at least one, or leave it out");
            }
        }
        if let Some(ports) = &section.ports {
            settings.ports = self.ports(ports).unwrap_or(settings.ports);
        }
        if !MTUS.contains(section.mtu.get_ref()) {
            let message = format!("{} bytes", section.mtu.get_ref());
            self.refuse(&section.mtu, "ng.mtu", message, &format!("write {} to {}", MTUS.start(), MTUS.end()));
        }
        settings.mtu = *section.mtu.get_ref();
        if let Some(seconds) = &section.lease_seconds {
            if !LEASES.contains(seconds.get_ref()) {
                let message = format!("{} s", seconds.get_ref());
                let hint = format!("write {} to {}", LEASES.start(), LEASES.end());
                self.refuse(seconds, "ng.lease_seconds", message, &hint);
            }
            settings.lease_seconds = *seconds.get_ref();
        }
        for (prefix, kind) in &section.kinds {
            settings.kinds.extend(self.kind(prefix, kind));
        }
        settings
    }

    fn prefix_length(&mut self, length: &Spanned<u8>) -> u8 {
        if !PREFIX_LENGTHS.contains(length.get_ref()) {
            let hint = format!("write {} to {}", PREFIX_LENGTHS.start(), PREFIX_LENGTHS.end());
            self.refuse(length, "ng.prefix_length", format!("/{}", length.get_ref()), &hint);
        }
        *length.get_ref()
    }

    fn group_pool(&mut self, list: &[Spanned<String>], prefix_length: u8) -> Vec<IpNet> {
        if list.is_empty() {
            self.report(None, "ng.pool", "no pool", "give at least one prefix, or leave it out");
        }
        let mut pool: Vec<IpNet> = Vec::new();
        for text in list {
            for net in self.cidrs("ng.pool", std::slice::from_ref(text)) {
                let IpNet::V4(_) = net else {
                    let hint = "give IPv4 prefixes; a group gets an IPv6 one by --cidr";
                    self.refuse(text, "ng.pool", format!("{net} is no IPv4 prefix"), hint);
                    continue;
                };
                if net.prefix_len() > prefix_length {
                    let message = format!("{net} has no room for a group of /{prefix_length}");
                    self.refuse(text, "ng.pool", message, "give a larger prefix, or a longer ng.prefix_length");
                }
                if let Some(other) = pool.iter().find(|other| prefix::overlap(&net, other)) {
                    self.refuse(text, "ng.pool", format!("{other} and {net} overlap"), "keep the larger one");
                }
                pool.push(net);
            }
        }
        pool
    }

    fn ports(&mut self, text: &Spanned<String>) -> Option<RangeInclusive<u16>> {
        let ports = text.get_ref().split_once('-').and_then(|(first, last)| {
            let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
            Some(port(first)?..=port(last)?).filter(|ports| !ports.is_empty())
        });
        if ports.is_none() {
            let message = format!("{:?} is no range of ports", text.get_ref());
            self.refuse(text, "ng.ports", message, "write FIRST-LAST, such as 51820-52819");
        }
        ports
    }

    fn kind(&mut self, prefix: &Spanned<String>, kind: &Spanned<String>) -> Option<(String, MemberKind)> {
        let text = prefix.get_ref();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(2..=32).contains(&text.len()) || !text.ends_with('_') || !text.bytes().all(allowed) {
            let hint = "write letters, digits, - and _ with _ at the end, such as app_";
            self.refuse(prefix, "ng.kinds", format!("{text:?} is no beginning of an id"), hint);
        }
        if text == GroupId::PREFIX {
            self.refuse(prefix, "ng.kinds", format!("{text} is what ids of groups begin with"), "choose another one");
        }
        self.parse(kind, "ng.kinds", "write one of the kinds").map(|kind| (text.clone(), kind))
    }
}
