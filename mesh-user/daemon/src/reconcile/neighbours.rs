//! How the kernel is made to keep the next hops of `direct` remotes resolved.

use anyhow::{Context as _, Result};
use mesh_core::plan::Neighbour;

use super::World;

impl World {
    pub(super) async fn add_neighbour(&mut self, neighbour: &Neighbour) -> Result<()> {
        let index = self
            .index(&neighbour.device)
            .with_context(|| format!("no device {} for the next hop {}", neighbour.device.0, neighbour.address))?;
        self.netlink.add_neighbour(index, neighbour).await
    }

    pub(super) async fn remove_neighbour(&mut self, neighbour: &Neighbour) -> Result<()> {
        match self.index(&neighbour.device) {
            Some(index) => self.netlink.remove_neighbour(index, neighbour).await,
            None => Ok(()),
        }
    }
}
