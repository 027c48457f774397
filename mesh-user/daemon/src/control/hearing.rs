//! What the loop does about what the shards tell it, and about gateway nodes of the cluster that fell silent.

use super::Control;
use crate::{shard, vigil::Silent};

impl Control {
    /// The routes of a worker lead to those that answer.
    pub(super) async fn heed(&mut self, silent: Silent) {
        self.silent = silent;
        self.repair().await;
    }

    pub(super) async fn hear(&mut self, event: shard::Event) {
        match event {
            shard::Event::TunLost(device) | shard::Event::SocketLost(device) if self.world.is_group(&device) => {
                tracing::warn!(device = device.0, "the tunnel of a group lost its device or socket");
                self.world.release_group(&device);
                self.converge_groups().await;
            }
            shard::Event::SessionChanged(device, _) if self.world.is_group(&device) => self.world.note_session(),
            shard::Event::TunLost(device) | shard::Event::SocketLost(device) => {
                tracing::warn!(device = device.0, "the tunnel lost its device or socket");
                self.world.forget_tunnel(&device);
                self.repair().await;
            }
            shard::Event::SessionChanged(device, peer) => {
                tracing::debug!(device = device.0, ?peer, "session changed");
                if let Err(error) = self.world.remember_endpoint(&device, &peer) {
                    tracing::warn!(device = device.0, ?peer, "{error:#}");
                }
            }
        }
    }
}
