//! This cluster: its id, its own prefixes, and the pools that names for others come from.

use ipnet::IpNet;

use super::{cluster_id::ClusterId, configuration::Prefixes, prefix, problem::Problem};

/// Bits that must be left for hosts in the first external CIDR: the network, two reserved addresses and the rest.
const RESERVED_HOST_BITS: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub id: ClusterId,
    /// Shared: may overlap `service` and `reserved`. Empty, as `external` and `internal` are then, on a node that has no
    /// connections.
    pub pod: Vec<IpNet>,
    pub service: Vec<IpNet>,
    pub external: Wish,
    pub internal: Wish,
    /// What the whole mesh calls us, index-aligned with pod and external CIDRs; `None`: nothing, unless a Configuration
    /// says so.
    pub presented: Option<Prefixes>,
    /// Where presented prefixes come from, in this order.
    pub pools: Vec<IpNet>,
    /// Never given out.
    pub reserved: Vec<IpNet>,
}

/// Prefixes that move elsewhere if they are taken, unless the operator gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub cidrs: Vec<IpNet>,
    pub given: bool,
}

impl Cluster {
    /// What contradicts itself; `problem` makes one for a field of the settings.
    pub(crate) fn problems(&self, problem: impl Fn(&str, String, &str) -> Problem) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, pool) in self.pools.iter().enumerate() {
            if let Some(other) = self.pools[..index].iter().find(|other| prefix::overlap(pool, other)) {
                let message = format!("pools {other} and {pool} overlap");
                problems.push(problem("cidr.pools", message, "keep the larger one"));
            }
        }
        for net in &self.external.cidrs {
            if net.max_prefix_len() - net.prefix_len() < RESERVED_HOST_BITS {
                let message = format!("{net} has no room for the two reserved addresses");
                problems.push(problem("cidr.external", message, "give at least a /30, or a /126 in IPv6"));
            }
        }
        let real = Prefixes { pod: self.pod.clone(), external: self.external.cidrs.clone() };
        if let Some((field, message)) = self.presented.as_ref().and_then(|presented| presented.misaligned(&real)) {
            let path = format!("cidr.presented.{field}");
            problems.push(problem(&path, message, "give one of the same length for each"));
        }
        problems.extend(self.clashes(&problem));
        problems
    }

    /// Exclusive prefixes that the operator gave on top of others.
    fn clashes(&self, problem: &impl Fn(&str, String, &str) -> Problem) -> Vec<Problem> {
        let named = |name: &'static str, nets: &[IpNet]| nets.iter().map(|net| (name, *net)).collect::<Vec<_>>();
        let shared = [named("pod", &self.pod), named("service", &self.service), named("reserved", &self.reserved)];
        let mut taken = shared.concat();
        let mut problems = Vec::new();
        for (name, wish) in [("external", &self.external), ("internal", &self.internal)] {
            for net in wish.cidrs.iter().filter(|_| wish.given) {
                if let Some((other_name, other)) = taken.iter().find(|(_, other)| prefix::overlap(net, other)) {
                    let message = format!("{net} overlaps {other_name} {other}");
                    problems.push(problem(&format!("cidr.{name}"), message, "give a prefix that is free, or none"));
                }
                taken.push((name, *net));
            }
        }
        problems
    }
}
