//! What a key of the store holds, and how it is written there.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Key, NodeLease, NotAKey};
use crate::model::{
    ClusterObject,
    group::{AccessRule, Block, GroupId, Member, NetworkGroup, Peer},
};

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
    Node(NodeLease),
    /// Of the inter-cluster network.
    Cluster(ClusterObject),
    /// A number that grows.
    Objects(u64),
}

impl Object {
    pub fn to_value(&self) -> Value {
        let value = match self {
            Object::Group(group) => serde_json::to_value(group),
            Object::Member(member) => serde_json::to_value(member),
            Object::Peer(peer) => serde_json::to_value(peer),
            Object::Rule(rule) => serde_json::to_value(rule),
            Object::Label(group) => serde_json::to_value(group),
            Object::Prefixes(number) => serde_json::to_value(number),
            Object::Block(block) => serde_json::to_value(block),
            Object::Node(node) => serde_json::to_value(node),
            Object::Cluster(object) => serde_json::to_value(object),
            Object::Objects(number) => serde_json::to_value(number),
        };
        value.expect("the nouns have text keys and no numbers that JSON lacks")
    }

    pub fn to_json(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// The object of `key`; refused if it is of another kind or belongs under another key.
    pub fn from_value(key: &Key, value: Value) -> Result<Object, NotAKey> {
        let object = match key {
            Key::Group(_) => read(value).map(Object::Group),
            Key::Member(..) => read(value).map(Object::Member),
            Key::Peer(..) => read(value).map(Object::Peer),
            Key::Rule(..) => read(value).map(Object::Rule),
            Key::Label(..) => read(value).map(Object::Label),
            Key::Prefixes => read(value).map(Object::Prefixes),
            Key::Block(..) => read(value).map(Object::Block),
            Key::Node(_) => read(value).map(Object::Node),
            Key::Object(_) => read(value).map(Object::Cluster),
            Key::Objects => read(value).map(Object::Objects),
        };
        let refused = |reason: String| NotAKey { key: key.to_string(), reason };
        let object = object.map_err(refused)?;
        if object.belongs_under(key) { Ok(object) } else { Err(refused("it holds the object of another key".into())) }
    }

    pub fn from_json(key: &Key, json: &[u8]) -> Result<Object, NotAKey> {
        let value = serde_json::from_slice(json);
        Object::from_value(key, value.map_err(|error| NotAKey { key: key.to_string(), reason: error.to_string() })?)
    }

    fn belongs_under(&self, key: &Key) -> bool {
        match (self, key) {
            (Object::Group(group), Key::Group(id)) => group.id == *id,
            (Object::Member(member), Key::Member(_, id)) => member.id == *id,
            (Object::Peer(peer), Key::Peer(_, id)) => peer.id == *id,
            (Object::Rule(rule), Key::Rule(_, id)) => rule.id == *id,
            (Object::Label(_), Key::Label(..))
            | (Object::Prefixes(_), Key::Prefixes)
            | (Object::Objects(_), Key::Objects) => true,
            (Object::Cluster(object), Key::Object(id)) => object.id == *id,
            (Object::Block(block), Key::Block(org, member)) => block.owner_id == *org && block.member == *member,
            (Object::Node(node), Key::Node(id)) => node.node == *id,
            _ => false,
        }
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}
