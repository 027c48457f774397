//! Where a mesh's state is kept: what every driver can do.
//!
//! Shaped after etcd, so that a driver for it is thin: keys are texts in one order, every commit has the next revision, a
//! transaction is taken whole or not at all, and a watch begins behind a revision. What the entries mean is known to
//! `mesh_core::registry` alone.

mod redb;

use std::{future::Future, time::Duration};

use futures_util::Stream;
use mesh_core::registry::Revision;

pub use redb::RedbStore;

/// A driver. Clones share one store.
pub trait Store: Clone + Send + Sync + 'static {
    /// Everything below `prefix` in the order of keys, as of one revision.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Listing, StoreError>> + Send;

    /// All of it in the next revision, or [`Outcome::Changed`] and nothing. What has no effect (nothing, or deletes of what is
    /// not there) is committed in the present revision.
    fn commit(&self, transaction: Transaction) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Every commit behind `after` that touches `prefix`, in order, without a gap; then what is committed from now on. Ends
    /// after an error; [`StoreError::Compacted`]: list again. That is also said of a revision that is still to come: the
    /// store is an older one than the reader's.
    fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> impl Stream<Item = Result<Committed, StoreError>> + Send + 'static;

    /// A lease: what is put with it is deleted `ttl` after it was granted or last kept alive.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, StoreError>> + Send;

    /// Renews it; [`StoreError::NoLease`] if it ended.
    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends it now, with what was put with it.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<StoredEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub key: String,
    pub value: Vec<u8>,
    /// Of the last put.
    pub modified: Revision,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub conditions: Vec<StoreCondition>,
    pub puts: Vec<Put>,
    pub deletes: Vec<String>,
}

/// The key was last put in this revision; `None`: it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreCondition {
    pub key: String,
    pub modified: Option<Revision>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub key: String,
    pub value: Vec<u8>,
    pub lease: Option<LeaseId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed(Revision),
    /// A condition does not hold.
    Changed,
}

/// What one revision changed below a watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub revision: Revision,
    /// Key and value; `None`: deleted.
    pub changes: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The history behind the revision is gone.
    #[error("the store's history begins after revision {0:?}")]
    Compacted(Revision),
    #[error("there is no lease {0:?}")]
    NoLease(LeaseId),
    #[error("a transaction changes {0:?} twice")]
    Twice(String),
    /// It cannot be used: damaged, newer, out of space, out of reach.
    #[error("{0}")]
    Unusable(String),
}
