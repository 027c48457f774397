//! What a decision does to the store: all of it at once, or nothing.

use super::{Entry, Key, Object, Revision};

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

impl Change {
    /// All is as asked for already: there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Both at once. They touch different keys.
    #[must_use]
    pub fn and(mut self, other: Change) -> Change {
        self.conditions.extend(other.conditions);
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        self
    }

    /// What the store holds once the change was committed as `revision`.
    pub fn into_entries(self, revision: Revision) -> impl Iterator<Item = Entry> {
        let puts = self.puts.into_iter().map(|(key, object)| (key, Some(object)));
        let deletes = self.deletes.into_iter().map(|key| (key, None));
        deletes.chain(puts).map(move |(key, object)| Entry { key, modified: revision, object })
    }
}
