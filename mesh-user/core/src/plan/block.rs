//! What is closed because a member of network groups is blocked: every address of its instances on this node.
//!
//! A blocked member is reached through its groups only. Their packets come by their own devices and on the node's UDP
//! ports, never by an interface of the instance, so nothing else has to be let through.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use ipnet::IpNet;
use mesh_common::maps::Role;

use super::{Plan, TableEntry, slots::Slots, table::NO_REMAP};
use crate::{
    model::group::{MemberId, Org},
    registry::Registry,
};

/// Blocked members that this node runs, by the network namespace of their instances; `None`: that of the daemon.
pub type BlockedInstances = BTreeMap<Option<PathBuf>, BTreeSet<MemberId>>;

/// Those of `running` that are blocked.
pub fn blocked_instances<'a>(
    registry: &Registry,
    running: impl IntoIterator<Item = (&'a Org, &'a MemberId, &'a Option<PathBuf>)>,
) -> BlockedInstances {
    let mut blocked = BlockedInstances::new();
    for (org, member, netns) in running {
        if registry.blocks.contains_key(&(org.clone(), member.clone())) {
            blocked.entry(netns.clone()).or_default().insert(member.clone());
        }
    }
    blocked
}

impl Plan {
    /// Bars every packet from and to this address of a member. Says so if there is no room for that.
    pub fn block(&mut self, address: IpAddr, member: &MemberId) -> Result<(), String> {
        let net = IpNet::from(address);
        let before = self.table.insert(net, TableEntry { to: net, remap: NO_REMAP, role: Role::BARRED });
        if let Err(error) = Slots::default().transition(&self.table) {
            match before {
                Some(before) => self.table.insert(net, before),
                None => self.table.remove(&net),
            };
            return Err(format!("{member} is blocked, but {address} cannot be: {error}"));
        }
        self.blocked.insert(net, member.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        allocate::Allocations,
        model::{
            fixtures::{CLIENT, CONFIGURATION, KEY, facts, valid},
            group::Block,
        },
        plan::{check, plan},
        reconcile::{Observed, Step, steps},
        registry::{Revision, Stored},
    };

    fn member(id: &str) -> MemberId {
        id.parse().unwrap()
    }

    /// NG-44
    #[test]
    fn a_member_is_blocked_in_its_own_org() {
        let (org, other) = (Org::default(), "other".parse::<Org>().unwrap());
        let (web, db) = (member("app_web"), member("postgresql_db"));
        let (inside, here) = (Some(PathBuf::from("/run/netns/web")), None);
        let mut registry = Registry::default();
        let block = Block { owner_id: org.clone(), member: web.clone() };
        let stored = Stored { modified: Revision(3), object: Arc::new(block) };
        registry.blocks.insert((org.clone(), web.clone()), stored);
        let running = [(&org, &web, &inside), (&other, &web, &here), (&org, &db, &here)];
        let expected = BlockedInstances::from([(inside.clone(), BTreeSet::from([web.clone()]))]);
        assert_eq!(blocked_instances(&registry, running), expected);
    }

    /// NG-44
    #[test]
    fn an_address_is_barred_and_opened_by_one_entry() {
        let (open, _) = plan(&valid(&[CONFIGURATION, CLIENT, KEY]), &facts(), &Allocations::default()).unwrap();
        let mut closed = open.clone();
        for address in ["10.243.1.5", "192.0.2.77", "fd00::7"] {
            closed.block(address.parse().unwrap(), &member("app_web")).unwrap();
        }
        assert_eq!(check(&closed), []);
        assert_eq!(closed.blocked.len(), 3);
        let as_found = |plan: &Plan| Observed {
            tunnels: plan.tunnels.clone(),
            interfaces: plan.interfaces.clone(),
            addresses: plan.addresses.clone(),
            routes: plan.routes.clone(),
            neighbours: plan.neighbours.clone(),
            sysctls: BTreeMap::new(),
            table: plan.table.clone(),
            remaps: plan.remaps.clone(),
            connections: plan.connections.clone(),
            node: plan.node,
            nat: plan.nat.clone(),
            groups: BTreeMap::new(),
        };
        let entries = |steps: Vec<Step>| {
            let of_entries = |step: &Step| matches!(step, Step::SetEntry(..) | Step::RemoveEntry(_));
            let others = steps.iter().filter(|step| !of_entries(step) && !matches!(step, Step::SetSysctl(..)));
            assert!(others.clone().all(|step| matches!(step, Step::AwaitShards)), "{:?}", others.collect::<Vec<_>>());
            steps.into_iter().filter(of_entries).count()
        };
        assert_eq!(entries(steps(&closed, &as_found(&open))), 3);
        assert_eq!(entries(steps(&open, &as_found(&closed))), 3);
        assert_eq!(entries(steps(&closed, &as_found(&closed))), 0);
    }
}
