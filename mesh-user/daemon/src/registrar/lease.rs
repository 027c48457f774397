//! How a node stays alive in the store, and what becomes of its peers when it does not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::{
    model::group::NodeId,
    registry::{Absences, Author, Command, NodeLease, Registry, Revision, Stored},
};
use tokio::time::{sleep, timeout};

use super::{CATCH_UP, Registrar, Rejection, locked};
use crate::store::{LeaseId, Store, StoreError};

/// How often it is looked whose lease ended.
const LOOK: Duration = Duration::from_secs(1);
/// How often a lease is begun anew because it ended while it was kept alive.
const ATTEMPTS: usize = 5;

/// A lease that was there just now.
#[derive(Clone, Debug)]
pub struct Alive {
    pub lease: Stored<NodeLease>,
    /// A revision in which it was there.
    pub revision: Revision,
}

impl<S: Store> Registrar<S> {
    /// The node lives, for the whole time of its lease from now. One that had none, or no more, has a new one.
    pub async fn keep_alive(&self, node: &NodeId) -> Result<Alive, Rejection> {
        for _ in 0..ATTEMPTS {
            let registry = Arc::clone(&self.shared.committed.borrow());
            if let Some(lease) = registry.nodes.get(node) {
                match self.shared.store.keep_alive(LeaseId(lease.lease)).await {
                    Ok(()) => return Ok(Alive { lease: lease.clone(), revision: registry.revision }),
                    Err(StoreError::NoLease(_)) => self.forgotten(&registry, node).await,
                    Err(error) => return Err(Rejection::Store(error)),
                }
            } else if let Some(alive) = self.begin_lease(node).await? {
                return Ok(alive);
            }
        }
        let reason = format!("the lease of {node} ended {ATTEMPTS} times in a row: try again");
        Err(Rejection::Store(StoreError::Unusable(reason)))
    }

    /// Ends the peers of nodes whose leases ended, in one change of each group. Never returns.
    ///
    /// Any number may do this over one store: each change is made on condition that the node has no lease and that the group
    /// is as it was.
    pub async fn end_peers_with_leases(&self) {
        let mut absences = Absences::default();
        let mut seen = None;
        loop {
            let registry = Arc::clone(&self.shared.committed.borrow());
            let patience = Duration::from_secs(locked(&self.shared.rules).lease_seconds.into());
            if seen.replace(registry.revision) != Some(registry.revision) {
                absences.look(&registry, Instant::now(), patience);
            }
            for (node, group) in absences.due(Instant::now()) {
                let command = Command::EndPeers { group: group.clone(), node: node.clone() };
                match self.execute(Author::Api, command).await {
                    Ok(_) => tracing::info!(%node, %group, "the node has no lease any more: its peers ended"),
                    Err(rejection) => tracing::warn!(%node, %group, "its peers are still there: {rejection}"),
                }
            }
            sleep(LOOK).await;
        }
    }

    /// `None`: somebody else was faster.
    async fn begin_lease(&self, node: &NodeId) -> Result<Option<Alive>, Rejection> {
        let seconds = locked(&self.shared.rules).lease_seconds;
        let granted = self.shared.store.grant(Duration::from_secs(seconds.into())).await;
        let LeaseId(lease) = granted.map_err(Rejection::Store)?;
        let command = Command::BeginLease(NodeLease { node: node.clone(), lease, seconds });
        let begun = self.execute(Author::Api, command).await;
        let known =
            begun.as_ref().ok().and_then(|registry| Some((registry.nodes.get(node)?.clone(), registry.revision)));
        if let Some((known, revision)) = known.filter(|(known, _)| known.lease == lease) {
            tracing::info!(%node, lease, "the node lives");
            return Ok(Some(Alive { lease: known, revision }));
        }
        // Nothing is put with it. One that stays ends by itself.
        let _ = self.shared.store.revoke(LeaseId(lease)).await;
        begun.map(|_| None)
    }

    /// Until the registry no longer has a lease that the store does not have; not for long.
    async fn forgotten(&self, registry: &Registry, node: &NodeId) {
        let known = registry.nodes.get(node).map(|lease| lease.lease);
        let mut committed = self.registry();
        let is_gone = committed.wait_for(|now| now.nodes.get(node).map(|lease| lease.lease) != known);
        let _ = timeout(CATCH_UP, is_gone).await;
    }
}
