//! Under which key an object is stored, and how it is written there.

use std::fmt;

use crate::model::group::{
    AccessRule, Block, GroupId, Label, Member, MemberId, NetworkGroup, Org, Peer, PeerId, RuleId,
};

/// A key of the store. As text: segments with `/` between, so that everything of a group has its key as prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `groups/<group>`
    Group(GroupId),
    /// `groups/<group>/members/<member>`
    Member(GroupId, MemberId),
    /// `groups/<group>/peers/<peer>`
    Peer(GroupId, PeerId),
    /// `groups/<group>/rules/<rule>`
    Rule(GroupId, RuleId),
    /// `labels/<org>/<label>`: which group has the label. The label is percent-encoded.
    Label(Org, Label),
    /// `prefixes`: written by whoever takes or frees a prefix, so that two who do it at once notice.
    Prefixes,
    /// `blocks/<org>/<member>`
    Block(Org, MemberId),
}

/// What a key holds; as JSON in the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Group(NetworkGroup),
    Member(Member),
    Peer(Peer),
    Rule(AccessRule),
    /// The group that has the label.
    Label(GroupId),
    /// A number that grows.
    Prefixes(u64),
    Block(Block),
}

/// A key or value that nobody of this version wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store holds {key:?}, which is nothing that this version knows: {reason}")]
pub struct NotAKey {
    pub key: String,
    pub reason: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Group(group) => write!(f, "groups/{group}"),
            Key::Member(group, member) => write!(f, "groups/{group}/members/{member}"),
            Key::Peer(group, peer) => write!(f, "groups/{group}/peers/{peer}"),
            Key::Rule(group, rule) => write!(f, "groups/{group}/rules/{rule}"),
            Key::Label(org, label) => write!(f, "labels/{org}/{}", Escaped(label.as_str())),
            Key::Prefixes => f.write_str("prefixes"),
            Key::Block(org, member) => write!(f, "blocks/{org}/{member}"),
        }
    }
}

/// Percent-encoded but for letters, digits and `-._` (RFC 3986, section 2.1).
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'-' | b'.' | b'_' => write!(f, "{}", char::from(byte))?,
                _ if byte.is_ascii_alphanumeric() => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}
