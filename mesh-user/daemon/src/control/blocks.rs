//! Blocked members in the control loop. Their addresses are part of the plan; what guards their doors is kept beside it.

use mesh_core::plan::{Plan, block::BlockedInstances};

use super::Control;

/// Members that run here and are closed to everything but their groups; `None`: the agent does not know yet, and what was
/// blocked before stays so.
pub type WantedBlocks = Option<BlockedInstances>;

impl Control {
    pub(super) async fn take_up_blocks(&mut self, wanted: WantedBlocks) {
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
