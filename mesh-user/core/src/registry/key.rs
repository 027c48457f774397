//! Under which key an object is stored.

use std::{fmt, str::FromStr};

use crate::model::{
    ObjectId, ObjectKind,
    group::{GroupId, Label, MemberId, NodeId, NotAllowed, Org, PeerId, RuleId},
    is_name, is_namespace,
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
    /// `labels/<org>/<label>`: which group has the label. It is the slug ([`crate::model::group::Label::slug`]), and
    /// percent-encoded.
    Label(Org, Label),
    /// `prefixes`: written by whoever takes or frees a prefix, so that two who do it at once notice.
    Prefixes,
    /// `blocks/<org>/<member>`
    Block(Org, MemberId),
    /// `nodes/<node>`: as long as the node has a lease.
    Node(NodeId),
    /// `objects/<plural of the kind>/<namespace>/<name>`
    Object(ObjectId),
    /// `objects`: written with every change of any of them, so that what was checked as a whole is stored as that whole.
    Objects,
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
            Key::Node(node) => write!(f, "nodes/{node}"),
            Key::Object(ObjectId { kind, namespace, name }) => {
                write!(f, "objects/{}/{namespace}/{name}", kind.plural())
            }
            Key::Objects => f.write_str("objects"),
        }
    }
}

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Key, NotAKey> {
        let refused = |reason: String| NotAKey { key: text.to_owned(), reason };
        let key = parse(text).map_err(|error| refused(error.to_string()))?;
        let key = key.ok_or_else(|| refused("no key has this form".to_owned()))?;
        // One object has one key.
        if key.to_string() == text { Ok(key) } else { Err(refused(format!("it is written {key}"))) }
    }
}

fn parse(text: &str) -> Result<Option<Key>, NotAllowed> {
    let segments: Vec<&str> = text.split('/').collect();
    Ok(Some(match segments.as_slice() {
        ["groups", group] => Key::Group(group.parse()?),
        ["groups", group, "members", member] => Key::Member(group.parse()?, member.parse()?),
        ["groups", group, "peers", peer] => Key::Peer(group.parse()?, peer.parse()?),
        ["groups", group, "rules", rule] => Key::Rule(group.parse()?, rule.parse()?),
        ["labels", org, label] => {
            let Some(label) = unescape(label) else { return Ok(None) };
            Key::Label(org.parse()?, label.parse()?)
        }
        ["prefixes"] => Key::Prefixes,
        ["blocks", org, member] => Key::Block(org.parse()?, member.parse()?),
        ["nodes", node] => Key::Node(node.parse()?),
        ["objects"] => Key::Objects,
        ["objects", plural, namespace, name] => {
            let kind = ObjectKind::ALL.into_iter().find(|kind| kind.plural() == *plural);
            let Some(kind) = kind.filter(|_| is_namespace(namespace) && is_name(name)) else { return Ok(None) };
            Key::Object(ObjectId { kind, namespace: (*namespace).to_owned(), name: (*name).to_owned() })
        }
        _ => return Ok(None),
    }))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend(plain.bytes());
        bytes.push(u8::from_str_radix(escaped.get(..2)?, 16).ok()?);
        rest = &escaped[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_as_it_was_written() {
        let group = "groups/ng_0f0e0d0c-0b0a-4908-8706-050403020100";
        for text in [
            group,
            &format!("{group}/members/app_x"),
            &format!("{group}/peers/external_1"),
            &format!("{group}/rules/r-1"),
            "labels/default/caf%C3%A9%2F%25-1._%20x",
            "prefixes",
            "blocks/org.one/app_x",
            "nodes/hv-1",
            "objects/configurations/default/dry-paper.1",
            "objects",
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "groups",
            "groups/",
            "groups/x",
            "labels/default/a b",
            "labels/default/%zz",
            "labels/default/%4",
            "labels/default/%61",
            "labels/default/%FF",
            "prefixes/1",
            "blocks/default/a/b",
            "labels/default/%",
            "nodes/",
            "nodes/a/b",
            "objects/pods/default/x",
            "objects/Configurations/default/x",
            "objects/configurations/default/X",
            "objects/configurations/a.b/x",
            "objects/configurations/default",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
