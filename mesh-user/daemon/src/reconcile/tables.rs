//! What packets are judged by: the plan's table, remaps and reserved addresses, for the shards and for the BPF maps.
//!
//! Steps change our own [`Slots`]. The maps follow each change at once; the shards get all changes up to a step that relies
//! on them together.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use ipnet::IpNet;
use mesh_common::{
    datapath::Tables as _,
    ids::RemapId,
    maps::{self, Node},
};
use mesh_core::{
    plan::{
        Plan, Remap, TableEntry, Transport,
        slots::{MapWrite, Slots},
    },
    reconcile::Step,
};
use tokio::sync::watch;

use super::{World, maps as bpf_maps};
use crate::{kernel::bpf, shard::Command};

/// No interface has this index.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) slots: Slots,
    /// The copy that the shards and the drivers have.
    shared: watch::Sender<Arc<Slots>>,
    /// It is older than `slots`.
    pub(super) stale: bool,
    /// Absent while no interface has a hook.
    pub(super) maps: Option<bpf::Tables>,
}

impl Judgement {
    pub(super) fn new(maps: Option<bpf::Tables>) -> Self {
        Judgement { maps, ..Judgement::default() }
    }

    /// What packets are judged by, for one who is no shard.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<Slots>> {
        self.shared.subscribe()
    }

    /// Takes note of a change of the slots.
    pub(super) fn changed(&mut self, writes: &[MapWrite]) -> Result<()> {
        self.stale = true;
        self.maps.as_mut().map_or(Ok(()), |maps| bpf_maps::write(maps, writes))
    }
}

pub(super) fn is_table_step(step: &Step) -> bool {
    matches!(
        step,
        Step::SetNode(_) | Step::SetEntry(..) | Step::RemoveEntry(_) | Step::SetRemap(..) | Step::RemoveRemap(_)
    )
}

impl World {
    /// The tables begin as the maps hold them, or as planned where there are none. Says whether they are as planned.
    pub(super) fn resume_tables(&mut self, plan: &Plan) -> Result<bool> {
        self.tables.stale = true;
        if let Some(maps) = &mut self.tables.maps {
            self.remaps = self.record.remaps();
            self.tables.slots = bpf_maps::read(maps, self.remaps.keys().copied())?;
            return Ok(self.tables.slots.table() == plan.table && self.observe_remaps() == plan.remaps);
        }
        (self.tables.slots, _) = Slots::default().transition(&plan.table)?;
        self.set_node(plan.node)?;
        for (id, remap) in &plan.remaps {
            self.set_remap(*id, remap)?;
        }
        Ok(true)
    }

    pub(super) fn observe_node(&self) -> Node {
        self.tables.slots.node().unwrap_or_default()
    }

    /// Remaps that stand in the tables as they should; the interface of a `direct` remote may have been made again.
    pub(super) fn observe_remaps(&self) -> BTreeMap<RemapId, Remap> {
        let stands = |(id, remap): &(&RemapId, &Remap)| self.tables.slots.remap(**id) == Some(self.facts_of(remap));
        self.remaps.iter().filter(stands).map(|(id, remap)| (*id, *remap)).collect()
    }

    pub(super) fn set_node(&mut self, node: Node) -> Result<()> {
        let writes = self.tables.slots.set_node(node);
        self.tables.changed(&writes)
    }

    pub(super) fn set_entry(&mut self, prefix: IpNet, entry: TableEntry) -> Result<()> {
        let writes = self.tables.slots.set(prefix, entry)?;
        self.tables.changed(&writes)
    }

    pub(super) fn remove_entry(&mut self, prefix: IpNet) -> Result<()> {
        let writes = self.tables.slots.remove(prefix);
        self.tables.changed(&writes)
    }

    pub(super) fn set_remap(&mut self, id: RemapId, remap: &Remap) -> Result<()> {
        let writes = self.tables.slots.set_remap(id, self.facts_of(remap));
        self.remaps.insert(id, *remap);
        self.record.set_remap(id, remap);
        self.tables.changed(&writes)
    }

    pub(super) fn remove_remap(&mut self, id: RemapId) -> Result<()> {
        let writes = self.tables.slots.remove_remap(id);
        self.remaps.remove(&id);
        self.record.remove_remap(id);
        self.tables.changed(&writes)
    }

    /// What packets are judged by now.
    pub fn tables(&self) -> Arc<Slots> {
        Arc::clone(&self.tables.shared.borrow())
    }

    /// Gives the shards the present tables, if theirs are older.
    pub(super) fn publish_tables(&mut self) -> Result<()> {
        if self.tables.stale {
            let tables = Arc::new(self.tables.slots.clone());
            self.tables.shared.send_replace(Arc::clone(&tables));
            self.shards.apply(Command::SetTables(tables))?;
            self.tables.stale = false;
        }
        Ok(())
    }

    pub(super) fn await_shards(&mut self) -> Result<()> {
        self.shards.apply(Command::Barrier)?;
        self.tables.slots.barrier();
        Ok(())
    }

    /// A `direct` remote may send by its interface only, and by none while that is absent.
    fn facts_of(&self, remap: &Remap) -> maps::Remap {
        let connection = remap.connection.and_then(|id| self.connections.get(&id));
        let ingress = match connection.map(|connection| &connection.transport) {
            Some(Transport::Direct { device, .. }) => self.index(device).map_or(NOWHERE, |index| index.0),
            Some(Transport::WireguardServer { .. } | Transport::WireguardClient { .. }) | None => 0,
        };
        maps::Remap { ingress, connection: remap.connection.unwrap_or_default().0, mtu: remap.mtu }
    }
}
