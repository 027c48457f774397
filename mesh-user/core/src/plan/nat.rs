//! What connection tracking has to do for us: sources that are no workloads, and hosts whose answers would not come back.
//!
//! Everything else is rewritten without state. What is here becomes one nftables table, which this node has only while a
//! connection needs it.

mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{NodeFacts, Plan, kernel::Reserved, names::is_routable};
use crate::{
    model::ValidIntent,
    plan::outside::{Carried, Outside},
};
use mesh_common::maps::Role;

/// The nftables table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    pub v4: Family,
    pub v6: Family,
}

/// Its rules for one address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Towards remotes behind tunnels, and towards those that are reached without one.
    pub tunnelled: Leaving,
    pub direct: Leaving,
    /// What remotes call a host, and the host's own address.
    pub inside: BTreeMap<IpAddr, IpAddr>,
    /// Hosts that see this node instead of a remote's workload.
    pub masqueraded: BTreeSet<IpAddr>,
}

/// What becomes of the source of packets to these remotes, by the first part of it that says something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Prefixes of the remotes, as we call them.
    pub to: BTreeSet<IpNet>,
    /// Hosts, and what remotes call them.
    pub outside: BTreeMap<IpAddr, IpAddr>,
    /// The same for hosts that are rewritten without state. Where they come in no hook may have done it.
    pub renamed: BTreeMap<IpAddr, IpAddr>,
    pub unknown: Option<Unknown>,
    /// Whose packets to and from the remotes connection tracking does not see. Without a tunnel it must not: a hook takes
    /// some fragments past the kernel, which would wait for them.
    pub untracked: BTreeSet<IpNet>,
}

/// The address that stands for every source which remotes do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    pub address: IpAddr,
    /// Sources that stay what they are.
    pub kept: BTreeSet<IpNet>,
    /// Sources to which this node knows a way; others are not believed, unless a destination NAT of this node let them in.
    /// `None`: all become it.
    pub nearby: Option<BTreeSet<IpNet>>,
}

impl Nat {
    /// `None`: there is nothing to do.
    pub(super) fn of(
        intent: &ValidIntent,
        facts: &NodeFacts,
        plan: &Plan,
        reserved: &Reserved,
        outside: &[Outside],
    ) -> Option<Nat> {
        let family = |is_v4| Family::of(&Making { intent, facts, plan, reserved, outside, is_v4 });
        let nat = Nat { v4: family(true), v6: family(false) };
        let is_idle = |family: &Family| {
            let translates = |leaving: &Leaving| {
                leaving.unknown.is_some() || !leaving.outside.is_empty() || !leaving.renamed.is_empty()
            };
            !translates(&family.tunnelled) && !translates(&family.direct) && family.inside.is_empty()
        };
        (!is_idle(&nat.v4) || !is_idle(&nat.v6)).then_some(nat)
    }
}

struct Making<'a> {
    intent: &'a ValidIntent,
    facts: &'a NodeFacts,
    plan: &'a Plan,
    reserved: &'a Reserved,
    outside: &'a [Outside],
    is_v4: bool,
}

impl Making<'_> {
    fn nets<'n>(&self, nets: impl IntoIterator<Item = &'n IpNet>) -> BTreeSet<IpNet> {
        disjoint(nets.into_iter().filter(|net| matches!(net, IpNet::V4(_)) == self.is_v4))
    }

    /// Prefixes with this role, as we call them.
    fn with_role(&self, role: Role) -> BTreeSet<IpNet> {
        self.nets(self.plan.table.iter().filter(|(_, entry)| entry.role.has(role)).map(|(net, _)| net))
    }

    fn leaving(&self, is_direct: bool) -> Leaving {
        let to = self.with_role(if is_direct { Role::DIRECT } else { Role::TUNNEL });
        if to.is_empty() {
            return Leaving::default();
        }
        let called = |one: &Outside| if is_direct { one.presented } else { one.external };
        let tracked = self.outside.iter().filter(|one| one.speaks_tracked() && one.host.is_ipv4() == self.is_v4);
        let outside = tracked.map(|one| (one.host, called(one))).collect();
        // A tunnel rewrites them itself.
        let stateless =
            self.outside.iter().filter(|one| is_direct && !one.is_tracked() && one.host.is_ipv4() == self.is_v4);
        let renamed = stateless.map(|one| (one.host, called(one))).collect();
        Leaving { to, outside, renamed, unknown: self.unknown(is_direct), untracked: self.untracked(is_direct) }
    }

    /// As we and as the mesh call them: a hook may have rewritten them before.
    fn untracked(&self, is_direct: bool) -> BTreeSet<IpNet> {
        if is_direct {
            let stateless = |role: Role| role.has(Role::LOCAL.with(Role::PRESENTED)) && !role.has(Role::RESERVED);
            let reserved: Vec<IpNet> = self
                .plan
                .table
                .iter()
                .filter(|(_, entry)| entry.role.has(Role::RESERVED))
                .map(|(net, _)| *net)
                .collect();
            let all = self.plan.table.iter().filter(|(_, entry)| stateless(entry.role)).map(|(net, _)| net);
            // An external CIDR has addresses that are tracked.
            return self.nets(all.filter(|net| !reserved.iter().any(|one| net.contains(one))));
        }
        let asked = self.intent.remap.notrack;
        let own = self.intent.cluster.pod.iter().chain(self.intent.presented.iter().flat_map(|own| &own.pod));
        if asked { self.nets(own) } else { BTreeSet::new() }
    }

    fn unknown(&self, is_direct: bool) -> Option<Unknown> {
        let settings = &self.intent.remap;
        if !settings.unknown_source && !settings.full_masquerade {
            return None;
        }
        let pair = if self.is_v4 { self.reserved.v4 } else { self.reserved.v6 }?;
        // As the source stands when it leaves: towards `direct` remotes it was rewritten before.
        let own = if is_direct { Role::PRESENTED } else { Role::LOCAL };
        // Sources that a hook rewrote are not seen here.
        let is_full = settings.full_masquerade && !is_direct;
        let kept = match is_full {
            true => self.nets(&pair.speaking(is_direct)),
            false => self.with_role(own),
        };
        let nearby = (!is_full).then(|| {
            let known = self.facts.interfaces.values().flatten().chain(&self.facts.routes);
            let usable = known.filter(|net| net.prefix_len() > 0 && is_routable(net)).map(IpNet::trunc);
            self.nets(&usable.collect::<Vec<_>>())
        });
        Some(Unknown { address: pair.unknown_towards(is_direct), kept, nearby })
    }
}

impl Family {
    fn of(making: &Making<'_>) -> Family {
        let (tunnelled, direct) = (making.leaving(false), making.leaving(true));
        let is_reached = !tunnelled.to.is_empty() || !direct.to.is_empty();
        let hosts =
            making.outside.iter().filter(|one| is_reached && one.is_tracked() && one.host.is_ipv4() == making.is_v4);
        let has_direct = !direct.to.is_empty();
        let called = |one: &Outside| [Some(one.external), has_direct.then_some(one.presented)];
        let inside = hosts.clone().flat_map(|one| called(one).into_iter().flatten().map(|name| (name, one.host)));
        Family {
            inside: inside.collect(),
            masqueraded: hosts.filter(|one| one.carried == Carried::Masqueraded).map(|one| one.host).collect(),
            tunnelled,
            direct,
        }
    }
}

/// The same addresses in prefixes that do not lie in each other: nftables wants them so.
fn disjoint<'n>(nets: impl Iterator<Item = &'n IpNet>) -> BTreeSet<IpNet> {
    let (mut v4, mut v6) = (Vec::<Ipv4Net>::new(), Vec::<Ipv6Net>::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(*net),
            IpNet::V6(net) => v6.push(*net),
        }
    }
    let (v4, v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
    v4.into_iter().map(IpNet::V4).chain(v6.into_iter().map(IpNet::V6)).collect()
}

#[cfg(test)]
mod tests;
