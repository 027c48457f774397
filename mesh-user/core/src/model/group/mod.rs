//! What a network group consists of: one noun per file, its rules beside it.
//!
//! These types are stored, sent and shown as they are (serde, camelCase); a value of one of them keeps the rules of its
//! file. How they are changed together is decided in [`crate::registry`].

mod access_rule;
mod block;
mod endpoint;
mod id;
mod label;
mod member;
mod network_group;
mod org;
mod peer;
mod tag;
#[cfg(test)]
mod tests;
mod text;

pub use access_rule::{AccessRule, Party, Protocol, Traffic};
pub use block::Block;
pub use endpoint::{ClientEndpoint, Endpoint, ServerEndpoint, Term};
pub use id::{GroupId, MemberId, NodeId, PeerId, RuleId};
pub use label::Label;
pub use member::{DomainName, Member, MemberKind, MemberStatus};
pub use network_group::{Access, ManagedBy, NetworkGroup, Scope};
pub use org::Org;
pub use peer::{Peer, PeerKind, PeerRole};
pub use tag::Tag;
pub use text::NotAllowed;
