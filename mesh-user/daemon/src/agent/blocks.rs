//! Which of the members that this node runs are blocked?

use mesh_core::plan::block::{BlockedInstances, blocked_instances};

use super::Agent;
use crate::control::WantedBlocks;

impl Agent {
    /// Of instances and joins, whether or not they are in a group now; `None` while a hub of theirs has not been heard.
    pub(super) fn blocked(&self) -> WantedBlocks {
        let mut blocked = BlockedInstances::new();
        for home in self.homes() {
            if self.filter(&home).is_empty() {
                // Nothing here is of it, and it is not asked.
                continue;
            }
            let sight = self.sight(&home);
            if !sight.is_informed {
                return None;
            }
            let instances = self.instances.iter().filter(|_| home == self.home);
            let instances = instances.map(|instance| (&instance.org, &instance.member, &instance.netns));
            let joins = self.ledger.joins.iter().map(|joined| &joined.purpose);
            let joins = joins.filter(|purpose| purpose.home == home);
            let joins = joins.map(|purpose| (&purpose.org, &purpose.member, &purpose.netns));
            for (netns, members) in blocked_instances(&sight.registry, instances.chain(joins)) {
                blocked.entry(netns).or_default().extend(members);
            }
        }
        Some(blocked)
    }
}
