//! Blocked members in the control loop. Their addresses are part of the plan; what guards their doors is kept beside it.

use std::collections::BTreeSet;

use mesh_core::{
    model::group::MemberId,
    plan::{Plan, block::BlockedInstances},
};

use super::Control;

/// What the agent knows of blocks; `None`: nothing yet, and what was blocked before stays so.
pub type WantedBlocks = Option<Blocks>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Members that run here and are closed to everything but their groups.
    pub blocked: BlockedInstances,
    /// Whether these are blocked is not known yet: what was before stays so.
    pub unknown: BlockedInstances,
}

impl Blocks {
    /// What is blocked, where `before` was so far.
    fn over(self, before: &BlockedInstances) -> BlockedInstances {
        let mut blocked = self.blocked;
        for (netns, members) in self.unknown {
            let stays = before.get(&netns).into_iter().flatten().filter(|member| members.contains(*member));
            let stays: BTreeSet<MemberId> = stays.cloned().collect();
            if !stays.is_empty() {
                blocked.entry(netns).or_default().extend(stays);
            }
        }
        blocked
    }
}

impl Control {
    pub(super) async fn take_up_blocks(&mut self, wanted: WantedBlocks) {
        let wanted = wanted.map(|blocks| blocks.over(&self.blocked));
        let Some(blocked) = wanted.filter(|blocked| *blocked != self.blocked) else { return };
        for (netns, members) in &blocked {
            tracing::info!(
                ?netns,
                "blocked: {}",
                members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            );
        }
        self.blocked = blocked;
        self.repair().await;
        if let Err(error) = self.world.state().save_blocked(&self.blocked) {
            tracing::warn!("a restart would begin with other blocks: {error:#}");
        }
    }

    /// Bars what is blocked in the plan.
    pub(super) async fn block(&mut self, plan: &mut Plan) {
        let unclosed = self.world.block(plan, &self.blocked).await;
        for line in unclosed.iter().filter(|line| !self.unclosed.contains(line)) {
            tracing::warn!("{line}");
        }
        self.unclosed = unclosed;
    }

    /// Nobody tells when an instance gets another address or interface.
    pub(super) fn watches_doors(&self) -> bool {
        !self.blocked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// NG-44
    #[test]
    fn a_hub_that_was_not_heard_unblocks_nobody_and_hinders_no_other() {
        let members = |ids: &[&str]| -> BTreeSet<MemberId> { ids.iter().map(|id| id.parse().unwrap()).collect() };
        let (here, inside) = (None, Some(PathBuf::from("/run/netns/x")));
        let before = BlockedInstances::from([
            (here.clone(), members(&["app_a", "app_b"])),
            (inside.clone(), members(&["app_c"])),
        ]);
        let blocks = Blocks {
            blocked: BlockedInstances::from([(here.clone(), members(&["app_d"]))]),
            unknown: BlockedInstances::from([
                (here.clone(), members(&["app_a", "app_e"])),
                (inside, members(&["app_f"])),
            ]),
        };
        assert_eq!(blocks.over(&before), BlockedInstances::from([(here, members(&["app_a", "app_d"]))]));
    }
}
