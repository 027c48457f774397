//! Which of the members that this node runs are blocked?

use mesh_core::plan::block::{BlockedInstances, blocked_instances};

use super::Agent;
use crate::control::WantedBlocks;

impl Agent {
    /// Of instances and joins, whether or not they are in a group now; `None` while a hub has not been heard.
    pub(super) fn blocked(&self) -> WantedBlocks {
        let mut blocked = BlockedInstances::new();
        for office in &self.offices {
            let sight = office.sight();
            if !sight.is_informed {
                return None;
            }
            let instances = self.instances.iter().filter(|_| office.home == self.home);
            let instances = instances.map(|instance| (&instance.org, &instance.member, &instance.netns));
            let joins = self.ledger.joins.iter().map(|joined| &joined.purpose);
            let joins = joins.filter(|purpose| purpose.home == office.home);
            let joins = joins.map(|purpose| (&purpose.org, &purpose.member, &purpose.netns));
            for (netns, members) in blocked_instances(&sight.registry, instances.chain(joins)) {
                blocked.entry(netns).or_default().extend(members);
            }
        }
        Some(blocked)
    }
}
