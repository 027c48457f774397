//! What a caller may read and change, by its roles.

use std::sync::Arc;

use super::Registry;
use crate::model::{
    Role,
    group::{NetworkGroup, Org},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Of who reaches the daemon's socket.
    All,
    Roles(Vec<Role>),
}

impl Rights {
    /// Makes, changes and deletes groups of the org, and whatever is in them.
    pub fn administers(&self, org: &Org) -> bool {
        self.any(|role| match role {
            Role::Admin(own) => own == org,
            Role::Member { .. } | Role::Read => false,
        })
    }

    /// Makes, changes and deletes peers of the group.
    pub fn runs_peers(&self, group: &NetworkGroup) -> bool {
        self.any(|role| match role {
            Role::Admin(org) => *org == group.owner_id,
            Role::Member { org, group: name } => *org == group.owner_id && is_called(group, name),
            Role::Read => false,
        })
    }

    /// Of whatever group.
    pub fn runs_some_peers(&self) -> bool {
        self.any(|role| match role {
            Role::Admin(_) | Role::Member { .. } => true,
            Role::Read => false,
        })
    }

    /// What is not seen does not exist for the caller.
    pub fn sees(&self, group: &NetworkGroup) -> bool {
        self.reads_all() || self.runs_peers(group)
    }

    /// Blocks of an org are seen by whoever has a role in it.
    pub fn sees_blocks(&self, of: &Org) -> bool {
        self.any(|role| match role {
            Role::Admin(org) | Role::Member { org, .. } => org == of,
            Role::Read => true,
        })
    }

    /// Those of the inter-cluster network, which belong to the org of the node.
    pub fn sees_objects(&self, own: &Org) -> bool {
        self.reads_all() || self.administers(own)
    }

    /// Everything of every org, and how the node itself is.
    pub fn reads_all(&self) -> bool {
        self.any(|role| *role == Role::Read)
    }

    /// The registry as if what is not seen did not exist. Whose the objects of the inter-cluster network are it does not
    /// say, so only who reads everything finds them in it.
    pub fn narrow(&self, registry: &Arc<Registry>) -> Arc<Registry> {
        if self.reads_all() {
            return Arc::clone(registry);
        }
        let mut seen = Registry::clone(registry);
        seen.groups.retain(|_, group| self.sees(&group.group.object));
        seen.blocks.retain(|(org, _), _| self.sees_blocks(org));
        seen.objects = Arc::default();
        Arc::new(seen)
    }

    fn any(&self, allows: impl Fn(&Role) -> bool) -> bool {
        match self {
            Rights::All => true,
            Rights::Roles(roles) => roles.iter().any(allows),
        }
    }
}

/// Whether this is the group's id or label.
pub(super) fn is_called(group: &NetworkGroup, name: &str) -> bool {
    group.id.as_str() == name || group.label.as_str() == name
}
