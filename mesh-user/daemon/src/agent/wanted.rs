//! Which peers should this node run: one for each instance that runs and each group that its member is linked to, and one
//! for each join.

use std::{collections::BTreeMap, path::PathBuf};

use mesh_core::model::group::Label;

use super::{Agent, Purpose, netns};

/// A peer that should be there.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) purpose: Purpose,
    pub(super) is_external: bool,
    pub(super) label: Option<Label>,
    /// Somebody asked for it, and can be told that it is refused.
    pub(super) is_join: bool,
}

/// Which network namespaces are there, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Presence {
    here: BTreeMap<PathBuf, netns::Identity>,
    /// A path leads to another namespace since the tunnels were published.
    has_moved: bool,
}

impl Presence {
    /// Says whether something came, went or was made again.
    pub(super) fn look(&mut self, paths: &[PathBuf]) -> bool {
        let here: BTreeMap<PathBuf, netns::Identity> =
            paths.iter().filter_map(|path| Some((path.clone(), netns::identity(path)?))).collect();
        let is_other = |(path, identity)| self.here.get(path).is_some_and(|known| known != identity);
        self.has_moved |= here.iter().any(is_other);
        let changed = self.here != here;
        self.here = here;
        changed
    }

    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// The daemon's own is always there.
    fn has(&self, path: Option<&PathBuf>) -> bool {
        path.is_none_or(|path| self.here.contains_key(path))
    }
}

impl Agent {
    pub(super) fn wanted(&self) -> Vec<Want> {
        let mut wanted = Vec::new();
        let registry = self.sight(&self.home).registry;
        for instance in self.instances.iter().filter(|instance| self.presence.has(instance.netns.as_ref())) {
            let is_of = |group: &&std::sync::Arc<mesh_core::registry::Group>| {
                group.group.owner_id == instance.org && group.members.contains_key(&instance.member)
            };
            for group in registry.groups.values().filter(is_of) {
                let purpose = Purpose {
                    home: self.home.clone(),
                    org: instance.org.clone(),
                    group: group.id().clone(),
                    member: instance.member.clone(),
                    netns: instance.netns.clone(),
                };
                wanted.push(Want { purpose, is_external: false, label: None, is_join: false });
            }
        }
        for joined in self.ledger.joins.iter().filter(|joined| self.presence.has(joined.purpose.netns.as_ref())) {
            if !wanted.iter().any(|want| want.purpose == joined.purpose) {
                let (purpose, label) = (joined.purpose.clone(), joined.label.clone());
                wanted.push(Want { purpose, is_external: joined.is_external, label, is_join: true });
            }
        }
        wanted
    }
}
