//! How the loop begins: the first plan, over whatever an earlier run left.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use mesh_core::{allocate::Allocations, model::ValidIntent, plan::Plan};

use super::{Control, Leave};
use crate::{kernel::bpf::Pins, manifests};

/// How a refused start leaves the node.
const UNTOUCHED: &str = "not started, nothing was applied";
const ADOPTED: &str = "not started; what an earlier run left was taken over, nothing else was applied";

impl Control {
    pub(super) async fn begin(&mut self) -> Result<()> {
        let (intent, plan, allocations) = self.first_plan().await.context(UNTOUCHED)?;
        let adopted = self.world.resume(&plan).context(ADOPTED)?;
        if adopted > 0 {
            tracing::info!(tunnels = adopted, "adopted what an earlier run left");
        }
        let converged = self.converge(plan, allocations, Leave::Nothing).await;
        let trouble = converged.context(if adopted > 0 { ADOPTED } else { UNTOUCHED })?;
        self.set_trouble(trouble);
        self.intent = Some(Arc::new(intent));
        self.declare().await;
        self.remove_old_programs()
    }

    async fn first_plan(&mut self) -> Result<(ValidIntent, Plan, Allocations)> {
        self.manifests = manifests::read(&self.settings.directories.manifests)?;
        self.list_known();
        let intent = self.validate()?;
        let (plan, allocations) = self.plan(&intent).await?;
        Ok((intent, plan, allocations))
    }

    /// Without a hook in the settings, programs that an earlier run attached go. Not before the plan holds: a start that is
    /// refused leaves them at work.
    fn remove_old_programs(&self) -> Result<()> {
        if !self.world.has_programs() && Pins::remove(&self.settings.directories.pins)? > 0 {
            tracing::info!("all hooks are off now: the programs of an earlier run were removed");
        }
        Ok(())
    }
}
