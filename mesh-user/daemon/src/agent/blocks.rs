//! Which of the members that this node runs are blocked?

use std::path::PathBuf;

use mesh_core::{
    model::group::{MemberId, Org},
    plan::block::blocked_instances,
};

use super::{Agent, Home};
use crate::control::Blocks;

impl Agent {
    /// Of instances and joins, whether or not they are in a group now.
    pub(super) fn blocks(&self) -> Blocks {
        let mut blocks = Blocks::default();
        for home in self.homes() {
            let sight = self.sight(&home);
            if !sight.is_informed {
                for (_, member, netns) in self.running(&home) {
                    blocks.unknown.entry(netns.clone()).or_default().insert(member.clone());
                }
                continue;
            }
            for (netns, members) in blocked_instances(&sight.registry, self.running(&home)) {
                blocks.blocked.entry(netns).or_default().extend(members);
            }
        }
        blocks
    }

    /// What a home may block.
    fn running<'a>(&'a self, home: &'a Home) -> impl Iterator<Item = (&'a Org, &'a MemberId, &'a Option<PathBuf>)> {
        let instances = self.instances.iter().filter(move |_| *home == self.home);
        let instances = instances.map(|instance| (&instance.org, &instance.member, &instance.netns));
        let joins = self.ledger.joins.iter().map(|joined| &joined.purpose).filter(move |purpose| purpose.home == *home);
        instances.chain(joins.map(|purpose| (&purpose.org, &purpose.member, &purpose.netns)))
    }
}
