//! What a decision does to the store: all of it at once, or nothing.

use super::{Key, Object, Revision};

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// What must still hold, or else the decision is made again.
    pub conditions: Vec<Condition>,
    pub puts: Vec<(Key, Object)>,
    pub deletes: Vec<Key>,
}

/// The key is as it was when the decision was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub key: Key,
    /// `None`: it was not there.
    pub modified: Option<Revision>,
}
