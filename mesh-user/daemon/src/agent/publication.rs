//! What the agent tells the control loop, the DNS server and the API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_core::{
    dns::LocalGroups,
    model::{Instance, group::GroupId},
    plan::{DeviceName, Placement, PublicKey, group_device_name, plan_groups},
    registry::Group,
};

use super::{Agent, Home, Kept, local::Local, registration::Attempt};
use crate::control::Wanted;

const UNSEEN: &str =
    "the hub shows no such group: it was deleted, or a role of this node was; 'meshctl ng leave' ends the join";

impl Agent {
    /// Tells what there is now to whoever acts on it.
    pub(super) fn publish(&mut self) {
        let groups = self.groups();
        let purposes = self.wanted();
        let wanted = |kept: &&Kept| purposes.iter().any(|want| want.purpose == kept.purpose);
        let placements: Vec<Placement> = self.ledger.peers.iter().filter(wanted).map(placement).collect();
        let locals = self.locals(&groups);
        self.outlets.locals.send_replace(Arc::new(locals));
        self.publish_objects();
        let blocks = Some(self.blocks());
        self.outlets.blocks.send_if_modified(|known| {
            let changed = *known != blocks;
            if changed {
                *known = blocks;
            }
            changed
        });
        let mut plan = plan_groups(&groups, &placements, self.mtu, &self.plan);
        let mut unknown = self.unknown();
        unknown.retain(|device| !plan.keep(device, &self.plan));
        let tunnels = Wanted { tunnels: plan.tunnels.clone(), unknown };
        // A namespace that was made again has the same path: the tunnel must be made again too.
        let moved = self.presence.take_moved();
        let changed = moved || self.outlets.tunnels.borrow().as_deref() != Some(&tunnels);
        self.plan = plan;
        if changed {
            self.outlets.tunnels.send_replace(Some(Arc::new(tunnels)));
        }
        let names = self.names();
        self.outlets.names.send_if_modified(|known| {
            let changed = !is_same(known, &names);
            if changed {
                *known = Arc::new(names);
            }
            changed
        });
    }

    /// Those of the hub that this node's cluster follows.
    fn publish_objects(&self) {
        let sight = self.sight(&self.home);
        if self.home == Home::Own || !sight.is_informed {
            return;
        }
        self.outlets.objects.send_if_modified(|known| {
            let changed = !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &sight.registry.objects));
            if changed {
                *known = Some(Arc::clone(&sight.registry.objects));
            }
            changed
        });
    }

    /// Devices of peers at hubs that were not heard: what is there of them stays until it is known whether it is wanted.
    fn unknown(&self) -> BTreeSet<DeviceName> {
        let may_be_wanted = |kept: &&Kept| {
            let purpose = &kept.purpose;
            let is_of = |instance: &Instance| {
                (&instance.org, &instance.member, &instance.netns) == (&purpose.org, &purpose.member, &purpose.netns)
            };
            self.instances.iter().any(is_of) || self.ledger.joins.iter().any(|joined| joined.purpose == *purpose)
        };
        let unheard = self.ledger.peers.iter().filter(|kept| !self.sight(&kept.purpose.home).is_informed);
        let unheard = unheard.filter(may_be_wanted);
        unheard.map(|kept| group_device_name(&kept.purpose.group, &kept.peer)).collect()
    }

    /// The groups that local peers are in. Where two ways lead to one hub, what the fresher copy says.
    fn groups(&self) -> BTreeMap<GroupId, Arc<Group>> {
        let mut groups: BTreeMap<GroupId, (bool, Arc<Group>)> = BTreeMap::new();
        for kept in &self.ledger.peers {
            let sight = self.sight(&kept.purpose.home);
            let Some(group) = sight.registry.groups.get(&kept.purpose.group) else { continue };
            let freshness = (sight.is_current, group.group.modified);
            let known = groups.get(group.id()).map(|(is_current, known)| (*is_current, known.group.modified));
            if known.is_none_or(|known| known < freshness) {
                groups.insert(group.id().clone(), (sight.is_current, Arc::clone(group)));
            }
        }
        groups.into_iter().map(|(id, (_, group))| (id, group)).collect()
    }

    fn names(&self) -> LocalGroups {
        let groups = self.plan.groups();
        let mut names = LocalGroups::default();
        for tunnel in self.plan.tunnels.values() {
            let Some(group) = groups.get(&tunnel.group).copied() else { continue };
            let here = names.by_netns.entry(tunnel.netns.clone()).or_default();
            if !here.iter().any(|known| Arc::ptr_eq(known, group)) {
                here.push(Arc::clone(group));
            }
        }
        names
    }

    fn locals(&self, groups: &BTreeMap<GroupId, Arc<Group>>) -> Vec<Arc<Local>> {
        let local = |kept: &Kept| {
            let sight = self.sight(&kept.purpose.home);
            let key = self.keys.get(&kept.peer).copied();
            let group = groups.get(&kept.purpose.group).cloned();
            let peer = group.as_ref().and_then(|group| group.peers.get(&kept.peer));
            let attempt = self.attempts.get(&kept.peer).and_then(Attempt::trouble);
            let is_unseen = group.is_none() && kept.was_registered && sight.is_current;
            let detail = match attempt {
                Some(trouble) => trouble.error.message.clone(),
                None if is_unseen => UNSEEN.to_owned(),
                None => String::new(),
            };
            Arc::new(Local {
                kept: kept.clone(),
                is_joined: self.ledger.joins.iter().any(|joined| joined.purpose == kept.purpose),
                hv: self.node.clone(),
                public_key: key.unwrap_or(PublicKey([0; 32])),
                device: group_device_name(&kept.purpose.group, &kept.peer),
                is_registered: peer.is_some_and(|peer| Some(peer.public_key) == key),
                detail: if detail.is_empty() { sight.trouble } else { detail },
                group,
                hub_reachable: sight.is_reachable,
            })
        };
        self.ledger.peers.iter().map(local).collect()
    }
}

fn placement(kept: &Kept) -> Placement {
    Placement {
        group: kept.purpose.group.clone(),
        peer: kept.peer.clone(),
        netns: kept.purpose.netns.clone(),
        listen_port: kept.listen_port,
    }
}

fn is_same(old: &LocalGroups, new: &LocalGroups) -> bool {
    let same = |(old, new): (&Vec<Arc<Group>>, &Vec<Arc<Group>>)| {
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
    };
    old.by_netns.keys().eq(new.by_netns.keys()) && old.by_netns.values().zip(new.by_netns.values()).all(same)
}
