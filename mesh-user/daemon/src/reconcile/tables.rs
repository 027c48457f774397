//! What the shards judge packets by: their copy of the plan's table, remaps and reserved addresses.
//!
//! Steps change our own [`Slots`]; the shards get all changes up to a step that relies on them at once.

use std::sync::Arc;

use anyhow::Result;
use ipnet::IpNet;
use mesh_common::{
    datapath::Tables as _,
    ids::RemapId,
    maps::{self, Node},
};
use mesh_core::{
    plan::{Plan, Remap, TableEntry, slots::Slots},
    reconcile::Step,
};

use super::World;
use crate::shard::Command;

#[derive(Debug, Default)]
pub(super) struct ShardTables {
    pub(super) slots: Slots,
    /// The copy that the shards have.
    shared: Arc<Slots>,
    /// It is older than `slots`.
    pub(super) stale: bool,
}

pub(super) fn is_table_step(step: &Step) -> bool {
    matches!(
        step,
        Step::SetNode(_) | Step::SetEntry(..) | Step::RemoveEntry(_) | Step::SetRemap(..) | Step::RemoveRemap(_)
    )
}

impl World {
    pub(super) fn resume_tables(&mut self, plan: &Plan) -> Result<()> {
        let (slots, _) = Slots::default().transition(&plan.table)?;
        self.tables.slots = slots;
        self.tables.stale = true;
        self.set_node(plan.node);
        for (id, remap) in &plan.remaps {
            self.set_remap(*id, remap);
        }
        Ok(())
    }

    pub(super) fn observe_node(&self) -> Node {
        self.tables.slots.node().unwrap_or_default()
    }

    pub(super) fn set_node(&mut self, node: Node) {
        self.tables.slots.set_node(node);
        self.tables.stale = true;
    }

    pub(super) fn set_entry(&mut self, prefix: IpNet, entry: TableEntry) -> Result<()> {
        self.tables.slots.set(prefix, entry)?;
        self.tables.stale = true;
        Ok(())
    }

    pub(super) fn remove_entry(&mut self, prefix: IpNet) {
        self.tables.slots.remove(prefix);
        self.tables.stale = true;
    }

    pub(super) fn set_remap(&mut self, id: RemapId, remap: &Remap) {
        let connection = remap.connection.unwrap_or_default().0;
        // Shards have no underlay interface: what comes through a tunnel is authentic.
        self.tables.slots.set_remap(id, maps::Remap { ingress: 0, connection, reserved: 0 });
        self.tables.stale = true;
        self.remaps.insert(id, *remap);
        self.record.set_remap(id, remap);
    }

    pub(super) fn remove_remap(&mut self, id: RemapId) {
        self.tables.slots.remove_remap(id);
        self.tables.stale = true;
        self.remaps.remove(&id);
        self.record.remove_remap(id);
    }

    /// What packets are judged by now.
    pub fn tables(&self) -> Arc<Slots> {
        Arc::clone(&self.tables.shared)
    }

    /// Gives the shards the present tables, if theirs are older.
    pub(super) fn publish_tables(&mut self) -> Result<()> {
        if self.tables.stale {
            self.tables.shared = Arc::new(self.tables.slots.clone());
            self.shards.apply(Command::SetTables(Arc::clone(&self.tables.shared)))?;
            self.tables.stale = false;
        }
        Ok(())
    }

    pub(super) fn await_shards(&mut self) -> Result<()> {
        self.shards.apply(Command::Barrier)?;
        self.tables.slots.barrier();
        Ok(())
    }
}
