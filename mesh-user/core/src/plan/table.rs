//! The one classification table: what every prefix of the plan is, and what its addresses become.

use std::collections::BTreeMap;

use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::Role,
};

use super::{Remap, TableEntry, compile::settings_problem, names::Names};
use crate::{
    allocate::{Allocations, NumberedRemap, Numbers, Share},
    model::{ClusterId, Gateway, MssClamp, Problems, Remote, ValidIntent},
};

pub(super) type Announced = BTreeMap<IpNet, TableEntry>;

/// The table of a plan with what it refers to.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<IpNet, TableEntry>,
    pub(super) remaps: BTreeMap<RemapId, Remap>,
    /// What each tunnelled remote may use as source.
    pub(super) announced: BTreeMap<ClusterId, Announced>,
}

/// Entries without a remap of their own: nothing is counted for them.
pub(super) const NO_REMAP: RemapId = RemapId(0);

/// The table, and the numbers of its remaps to keep.
pub(super) fn build(
    intent: &ValidIntent,
    names: &Names,
    previous: &Allocations,
) -> Result<(Table, Vec<NumberedRemap>), Problems> {
    let mut numbering = Numbering::new(previous);
    let mut table = Table::default();
    table.add_own(intent, names, &mut numbering);
    for (id, remote) in &intent.remotes {
        table.add_remote((id, remote), &names.remotes[id], &mut numbering, intent.remap.mss);
    }
    if numbering.is_full {
        let problem = settings_problem(intent, "", "more than 65,535 remaps".to_owned(), "announce fewer prefixes");
        return Err(Problems(vec![problem]));
    }
    Ok((table, numbering.taken))
}

/// Our own real prefix and what the mesh calls it, or itself.
pub(super) fn own_pairs(intent: &ValidIntent, names: &Names) -> Vec<(IpNet, IpNet)> {
    let real: Vec<IpNet> = intent.cluster.pod.iter().chain(&names.external).copied().collect();
    match &intent.presented {
        Some(presented) => real.into_iter().zip(presented.iter().copied()).collect(),
        None => real.into_iter().map(|net| (net, net)).collect(),
    }
}

impl Table {
    fn add_own(&mut self, intent: &ValidIntent, names: &Names, numbering: &mut Numbering) {
        for (real, presented) in own_pairs(intent, names) {
            let remap = if intent.presented.is_some() {
                self.remap(numbering, None, Remap { connection: None, real, presented, mtu: 0 })
            } else {
                NO_REMAP
            };
            if real == presented {
                let role = if intent.presented.is_some() { Role::LOCAL.with(Role::PRESENTED) } else { Role::LOCAL };
                self.entries.insert(real, TableEntry { to: real, remap, role });
            } else {
                self.entries.insert(real, TableEntry { to: presented, remap, role: Role::LOCAL });
                self.entries.insert(presented, TableEntry { to: real, remap, role: Role::PRESENTED });
            }
        }
    }

    fn add_remote(
        &mut self,
        (id, remote): (&ClusterId, &Remote),
        share: &Share,
        numbering: &mut Numbering,
        clamp: MssClamp,
    ) {
        let connection = Some(ConnectionId(share.connection));
        let mesh_wide = remote.configuration.presented.is_some();
        let is_direct = remote.gateway.as_ref().is_some_and(|gateway| gateway.is_direct());
        let tunnel = remote.gateway.as_ref().filter(|_| !is_direct).map(Gateway::mtu);
        for (&real, &presented) in &share.presented {
            if !remote.is_complete() {
                // Known but not connected: nothing for it may take the default route.
                let barred = TableEntry { to: presented, remap: NO_REMAP, role: Role::BARRED };
                self.entries.insert(presented, barred);
                continue;
            }
            let mtu = clamp.mtu(tunnel, matches!(real, IpNet::V4(_)));
            let remap = self.remap(numbering, Some(id), Remap { connection, real, presented, mtu });
            let (role, travels) = match (is_direct, mesh_wide) {
                (true, _) => (Role::DIRECT, presented),
                (false, true) => (Role::TUNNEL.with(Role::PRESENT_SOURCE), presented),
                (false, false) => (Role::TUNNEL, real),
            };
            self.entries.insert(presented, TableEntry { to: travels, remap, role });
            if !is_direct {
                let announced = self.announced.entry(id.clone()).or_default();
                announced.insert(travels, TableEntry { to: presented, remap, role: Role::TUNNEL });
            }
        }
    }

    fn remap(&mut self, numbering: &mut Numbering, remote: Option<&ClusterId>, remap: Remap) -> RemapId {
        let id = numbering.number(remote, &remap);
        self.remaps.insert(id, remap);
        id
    }
}

/// Numbers of remaps: the same prefixes of the same remote keep theirs.
struct Numbering {
    known: BTreeMap<(Option<ClusterId>, IpNet, IpNet), u16>,
    free: Numbers,
    taken: Vec<NumberedRemap>,
    is_full: bool,
}

impl Numbering {
    fn new(previous: &Allocations) -> Self {
        let known = previous.remaps.iter().map(|old| ((old.remote.clone(), old.real, old.presented), old.id)).collect();
        let free = Numbers::avoiding(previous.remaps.iter().map(|old| old.id));
        Numbering { known, free, taken: Vec::new(), is_full: false }
    }

    fn number(&mut self, remote: Option<&ClusterId>, remap: &Remap) -> RemapId {
        let known = self.known.get(&(remote.cloned(), remap.real, remap.presented)).copied();
        let Some(id) = known.or_else(|| self.free.take()) else {
            self.is_full = true;
            return NO_REMAP;
        };
        let (remote, real, presented) = (remote.cloned(), remap.real, remap.presented);
        self.taken.push(NumberedRemap { id, remote, real, presented });
        RemapId(id)
    }
}
