//! What the loop knows of this node that no manifest says.

use std::sync::Arc;

use anyhow::Result;
use mesh_core::plan::NodeFacts;

use super::Control;

impl Control {
    /// As they are now, with the network groups that keep away from connections.
    pub(super) async fn facts(&mut self) -> Result<NodeFacts> {
        let mut facts = self.world.facts().await?;
        facts.silent_gateways.clone_from(&self.silent);
        self.whereabouts.tell(&mut facts);
        let registry = Arc::clone(&self.registrar.registry().borrow());
        facts.groups =
            registry.groups.values().map(|group| (group.group.network_ip, group.group.label.to_string())).collect();
        // Those of a hub are not in our store.
        let joined = self.groups.iter().flat_map(|wanted| wanted.tunnels.values());
        let foreign = joined.filter(|tunnel| !registry.groups.contains_key(&tunnel.group));
        facts.groups.extend(foreign.map(|tunnel| (tunnel.address.trunc(), tunnel.group.to_string())));
        Ok(facts)
    }
}
