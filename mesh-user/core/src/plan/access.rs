//! Which traffic of a network group is allowed, as the shards judge it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use mesh_common::{
    datapath::{
        DropReason,
        access::{Allowance, Allowed, Rules, judge},
    },
    frame::SliceFrame,
    ids::ClassId,
};

use crate::{
    model::group::{Access, AccessRule, MemberId, Party, Protocol, Traffic},
    registry::Group,
    tunnel::flow,
};

/// The access rules of a group whose default is to deny, compiled: members that no rule names are one class, each other
/// member is its own. It depends on nothing but rules, and on members and addresses of the peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Of each peer of the group, in the order of addresses.
    classes: Vec<(IpAddr, ClassId)>,
    /// By who may begin, and with whom.
    allowances: BTreeMap<(Side, Side), Vec<Allowance>>,
}

/// One side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Any,
    Class(ClassId),
}

/// Of members that no rule names.
const UNNAMED: ClassId = ClassId(0);

impl Policy {
    /// `None`: everything is allowed.
    pub fn of(group: &Group) -> Option<Policy> {
        let rules = || group.rules.values().map(|rule| &*rule.object);
        match group.group.object.default_access {
            Access::Allow => None,
            Access::Deny => Some(Policy::compile(group, rules())),
        }
    }

    /// As if this were the only rule.
    pub fn of_rule(group: &Group, rule: &AccessRule) -> Policy {
        Policy::compile(group, std::iter::once(rule))
    }

    fn compile<'a>(group: &Group, rules: impl Iterator<Item = &'a AccessRule> + Clone) -> Policy {
        let parties = rules.clone().flat_map(|rule| [&rule.from, &rule.to]);
        let named: BTreeSet<&MemberId> = parties
            .filter_map(|party| match party {
                Party::Any => None,
                Party::Member(member) => Some(member),
            })
            .collect();
        // More named members than there are classes leave the last ones without any rule: denied, as the default is.
        let numbers: BTreeMap<&MemberId, ClassId> = named.into_iter().zip((1..=u16::MAX).map(ClassId)).collect();
        let mut policy = Policy::default();
        for rule in rules {
            let side = |party: &Party| match party {
                Party::Any => Some(Side::Any),
                Party::Member(member) => numbers.get(member).copied().map(Side::Class),
            };
            if let (Some(from), Some(to)) = (side(&rule.from), side(&rule.to)) {
                policy.allowances.entry((from, to)).or_default().push(allowance(rule.traffic));
            }
        }
        let class = |member| numbers.get(member).copied().unwrap_or(UNNAMED);
        let peers = group.peers.values().map(|peer| &*peer.object);
        policy.classes = peers.map(|peer| (peer.endpoint.address(), class(&peer.parent_member))).collect();
        policy.classes.sort_unstable();
        policy
    }

    /// Whether the rules let this packet pass, from whichever to whichever member its addresses are. What is not from and to
    /// peers of the group is not allowed.
    pub fn judge(&self, packet: &mut [u8]) -> Result<(), DropReason> {
        let (Some(from), Some(to)) = (flow::source(packet), flow::destination(packet)) else {
            return Err(DropReason::Truncated);
        };
        let (from, to) = (self.class(from)?, self.class(to)?);
        judge(&SliceFrame::new(packet), 0, from, to, self)
    }

    fn class(&self, address: IpAddr) -> Result<ClassId, DropReason> {
        let at = self.classes.binary_search_by_key(&address, |(known, _)| *known);
        at.map(|at| self.classes[at].1).map_err(|_| DropReason::NotAllowed)
    }
}

impl Rules for Policy {
    fn any(&self, from: ClassId, to: ClassId, is_such: impl Fn(&Allowance) -> bool) -> bool {
        let (from, to) = (Side::Class(from), Side::Class(to));
        let sides = [(from, to), (Side::Any, to), (from, Side::Any), (Side::Any, Side::Any)];
        sides.iter().filter_map(|sides| self.allowances.get(sides)).flatten().any(is_such)
    }
}

fn allowance(traffic: Traffic) -> Allowance {
    let protocol = match traffic.protocol {
        Protocol::Any => Allowed::Any,
        Protocol::Icmp => Allowed::Icmp,
        Protocol::Tcp => Allowed::Tcp,
        Protocol::Udp => Allowed::Udp,
    };
    Allowance { protocol, ports: traffic.ports.unwrap_or(Allowance::ALL_PORTS) }
}

#[cfg(test)]
pub(crate) mod tests;
