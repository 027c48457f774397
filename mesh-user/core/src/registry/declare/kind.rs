//! The kinds of objects in manifests.

pub(crate) const GROUP: &str = "NetworkGroup";
pub(crate) const MEMBER: &str = "Member";
pub(crate) const PEER: &str = "Peer";
pub(crate) const RULE: &str = "AccessRule";
pub(crate) const ALL: [&str; 4] = [GROUP, MEMBER, PEER, RULE];
