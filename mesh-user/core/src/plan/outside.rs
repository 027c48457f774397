//! Hosts outside the cluster: which address of our external CIDR remotes know each by, and how its packets are carried.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use mesh_common::{ids::RemapId, maps::Role};

use super::{Plan, TableEntry, fnv1a, names::Names, table};
use crate::{
    allocate::{Allocations, OutsideShare},
    model::{Ip, ObjectId, Problem, Problems, ValidIntent, prefix},
};

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) id: ObjectId,
    pub(super) host: IpAddr,
    /// Its address of our external CIDR, and what the mesh calls that.
    pub(super) external: IpAddr,
    pub(super) presented: IpAddr,
    pub(super) carried: Carried,
}

/// What happens to its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// They are rewritten without state: the host finds the way back by itself.
    AsTheyAre,
    /// By connection tracking: to remotes that call us by different names.
    Tracked,
    /// By connection tracking, and the host sees this node.
    Masqueraded,
    /// The host is another remote's: it sees our unknown source.
    ToAnotherRemote,
}

/// Addresses from here on are given out: those before are reserved for gateway nodes, where the CIDR has room for all.
const FIRST: u32 = 25;
const FIRST_OF_SMALL: u32 = 4;
/// Host bits of a CIDR with room for all.
const ROOMY: u8 = 5;

/// All hosts with their addresses: those given out before stay, new ones follow from the object's name, so that all nodes of
/// a cluster come to the same.
pub(super) fn assign(intent: &ValidIntent, names: &Names, previous: &Allocations) -> Result<Vec<Outside>, Problems> {
    let mut giving =
        Giving { intent, names, taken: BTreeSet::new(), hosts: BTreeMap::new(), problems: Problems::default() };
    let wanted: Vec<&Ip> = intent.ips.values().filter(|ip| giving.is_fine(ip)).collect();
    let before = |ip: &Ip| previous.outside.iter().find(|share| share.id == ip.id && share.host == ip.ip);
    let mut outside = Vec::new();
    let (kept, new): (Vec<&Ip>, Vec<&Ip>) = wanted.into_iter().partition(|ip| before(ip).is_some());
    for ip in kept {
        let kept = before(ip).map(|share| share.address).filter(|address| giving.may_keep(*address));
        outside.extend(giving.give(ip, kept));
    }
    for ip in new {
        outside.extend(giving.give(ip, None));
    }
    outside.sort_by(|a, b| a.id.cmp(&b.id));
    giving.problems.or(outside)
}

/// What to keep of them.
pub(super) fn shares(outside: &[Outside]) -> Vec<OutsideShare> {
    let share = |one: &Outside| OutsideShare { id: one.id.clone(), host: one.host, address: one.external };
    outside.iter().map(share).collect()
}

/// The entries by which packets of hosts are rewritten without state, and those by which tracked ones are delivered here.
pub(super) fn add_entries(plan: &mut Plan, outside: &[Outside], reserved: bool) {
    if plan.connections.is_empty() {
        return;
    }
    for one in outside {
        let [host, external, presented] = [one.host, one.external, one.presented].map(IpNet::from);
        if one.carried == Carried::AsTheyAre {
            let role = Role::LOCAL.with(Role::PRESENT_SOURCE);
            plan.table.insert(host, TableEntry { to: presented, remap: table::NO_REMAP, role });
            for name in [external, presented] {
                plan.table.insert(name, TableEntry { to: host, remap: table::NO_REMAP, role: Role::PRESENTED });
            }
        } else if reserved && presented != external {
            let remap = plan.table.iter().find(|(net, _)| net.contains(&presented)).map(|(_, entry)| entry.remap);
            let role = Role::PRESENTED.with(Role::RESERVED);
            plan.table.insert(presented, TableEntry { to: external, remap: remap.unwrap_or(RemapId(0)), role });
        }
    }
}

impl Outside {
    /// Connection tracking has to do with it.
    pub(super) fn is_tracked(&self) -> bool {
        self.carried != Carried::AsTheyAre
    }

    /// It begins connections to remotes by connection tracking.
    pub(super) fn speaks_tracked(&self) -> bool {
        matches!(self.carried, Carried::Tracked | Carried::Masqueraded)
    }
}

struct Giving<'a> {
    intent: &'a ValidIntent,
    names: &'a Names,
    taken: BTreeSet<IpAddr>,
    hosts: BTreeMap<IpAddr, &'a ObjectId>,
    problems: Problems,
}

impl<'a> Giving<'a> {
    fn is_fine(&mut self, ip: &'a Ip) -> bool {
        match self.fault(ip) {
            Some(problem) => self.problems.0.push(problem),
            None => {
                self.hosts.insert(ip.ip, &ip.id);
                return true;
            }
        }
        false
    }

    fn fault(&self, ip: &Ip) -> Option<Problem> {
        let refuse = |path: &str, message: String, hint: &str| Some(ip.place.problem(path, message, hint));
        let host = IpNet::from(ip.ip);
        if let Some(network) = &ip.network {
            let hint = "leave networkRef out";
            let message = format!("{network}: remotes reach addresses of the external CIDR only");
            return refuse("spec.networkRef", message, hint);
        }
        if let Some(other) = self.hosts.get(&ip.ip) {
            return refuse("spec.ip", format!("{} has an address already, by {other}", ip.ip), "keep one of the two");
        }
        let cluster = &self.intent.cluster;
        let own = cluster.pod.iter().chain(&cluster.service).chain(&self.names.external);
        let presented = self.intent.presented.iter().flat_map(|presented| presented.iter());
        if let Some(own) = own.chain(presented).find(|net| net.contains(&ip.ip)) {
            let message = format!("{} lies in {own} of this cluster, which remotes reach anyway", ip.ip);
            return refuse("spec.ip", message, "give the address of a host outside the cluster");
        }
        if let Some((remote, net)) = self.remote_of(&host).filter(|_| self.intent.remap.deny_direct_connections) {
            let message = format!("{} lies in {net}, the prefix of {remote}: remotes may not reach each other", ip.ip);
            return refuse("spec.ip", message, "set remap.deny_direct_connections = false in the settings to allow it");
        }
        if self.external(ip.ip).is_none() {
            let family = if ip.ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("this cluster has no external CIDR of {family}");
            return refuse("spec.ip", message, "add one to cidr.external in the settings");
        }
        None
    }

    /// The remote that this cluster calls so.
    fn remote_of(&self, host: &IpNet) -> Option<(String, IpNet)> {
        let of =
            |presented: &BTreeMap<IpNet, IpNet>| presented.values().find(|net| prefix::overlap(net, host)).copied();
        self.names.remotes.iter().find_map(|(id, share)| Some((id.to_string(), of(&share.presented)?)))
    }

    /// The external CIDR that addresses for hosts of this family come from, and what the mesh calls it.
    fn external(&self, host: IpAddr) -> Option<(IpNet, IpNet)> {
        let pairs = table::own_pairs(self.intent, self.names).split_off(self.intent.cluster.pod.len());
        pairs.into_iter().find(|(real, _)| real.addr().is_ipv4() == host.is_ipv4())
    }

    fn may_keep(&self, address: IpAddr) -> bool {
        let usable = |(net, _): (IpNet, IpNet)| net.contains(&address) && offset_in(&net, address) >= range(&net).start;
        self.external(address).is_some_and(usable) && !self.taken.contains(&address)
    }

    fn give(&mut self, ip: &Ip, kept: Option<IpAddr>) -> Option<Outside> {
        let (external, presented) = self.external(ip.ip)?;
        let Some(address) = kept.or_else(|| self.free(&external, &ip.id)) else {
            let message = format!("{external} has no free address");
            self.problems.0.push(ip.place.problem("spec.ip", message, "give a shorter cidr.external in the settings"));
            return None;
        };
        self.taken.insert(address);
        let carried = match ip.masquerade {
            _ if self.remote_of(&IpNet::from(ip.ip)).is_some() => Carried::ToAnotherRemote,
            true => Carried::Masqueraded,
            false if self.has_mixed_names() => Carried::Tracked,
            false => Carried::AsTheyAre,
        };
        let presented = at(&presented, offset_in(&external, address))?;
        Some(Outside { id: ip.id.clone(), host: ip.ip, external: address, presented, carried })
    }

    /// Some remotes call us by mesh-wide names and others do not.
    fn has_mixed_names(&self) -> bool {
        let is_mesh_wide = |remote: &crate::model::Remote| remote.configuration.presented.is_some();
        let connected = || self.intent.remotes.values().filter(|remote| remote.is_complete());
        self.intent.presented.is_some() && !connected().all(is_mesh_wide)
    }

    /// The first free address from the one on that the object's name leads to.
    fn free(&self, external: &IpNet, id: &ObjectId) -> Option<IpAddr> {
        let range = range(external);
        let count = range.end.checked_sub(range.start).filter(|count| *count > 0)?;
        let name = format!("{}/{}", id.namespace, id.name);
        let first = u32::try_from(fnv1a(name.as_bytes()) % u64::from(count)).ok()?;
        let offsets =
            (0..count).map(|step| range.start + ((u64::from(first) + u64::from(step)) % u64::from(count)) as u32);
        offsets.filter_map(|offset| at(external, offset)).find(|address| !self.taken.contains(address))
    }
}

/// Offsets of addresses that are given out; of IPv4 without that for broadcasts.
fn range(net: &IpNet) -> std::ops::Range<u32> {
    let host_bits = net.max_prefix_len() - net.prefix_len();
    let size = 1_u32.checked_shl(host_bits.into()).unwrap_or(u32::MAX);
    let start = if host_bits >= ROOMY { FIRST } else { FIRST_OF_SMALL };
    start..size.saturating_sub(1).max(start)
}

fn offset_in(net: &IpNet, address: IpAddr) -> u32 {
    let offset = match (net, address) {
        (IpNet::V4(net), IpAddr::V4(address)) => u128::from(address.to_bits() - net.network().to_bits()),
        (IpNet::V6(net), IpAddr::V6(address)) => address.to_bits() - net.network().to_bits(),
        _ => 0,
    };
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn at(net: &IpNet, offset: u32) -> Option<IpAddr> {
    prefix::numbered(net, prefix::number(net.network()).checked_add(offset.into())?)
}

#[cfg(test)]
mod tests;
