//! Each state of the registry that readers of streams may have seen, and what was deleted on the way to it.
//!
//! Streams read what is published here, not the registrar's own: so every state that a reader ever saw was noted, and one
//! that comes back with its revision is told exactly what it lacks.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::registry::{Deletions, Entry, Registry, Revision, View};
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub struct Watched {
    registry: watch::Receiver<Arc<Registry>>,
    deletions: Arc<Mutex<Deletions>>,
}

impl Watched {
    /// Follows `source` on a task of its own until that ends.
    pub fn follow(mut source: watch::Receiver<Arc<Registry>>) -> Watched {
        let first = Arc::clone(&source.borrow_and_update());
        let deletions = Arc::new(Mutex::new(Deletions::new(first.revision)));
        let (publisher, registry) = watch::channel(first);
        let noted = Arc::clone(&deletions);
        tokio::spawn(async move {
            while source.changed().await.is_ok() {
                let new = Arc::clone(&source.borrow_and_update());
                let old = Arc::clone(&publisher.borrow());
                // A panic elsewhere leaves the list as it was: each note is one push.
                noted.lock().unwrap_or_else(PoisonError::into_inner).note(&old, &new);
                publisher.send_replace(new);
            }
        });
        Watched { registry, deletions }
    }

    /// What is there now, seen; the next change wakes the receiver.
    pub(super) fn subscribe(&self) -> (watch::Receiver<Arc<Registry>>, Arc<Registry>) {
        let mut registry = self.registry.clone();
        let now = Arc::clone(&registry.borrow_and_update());
        (registry, now)
    }

    pub(super) fn since(&self, since: Revision, view: &View, registry: &Registry) -> Option<Vec<Entry>> {
        view.since(since, &self.deletions.lock().unwrap_or_else(PoisonError::into_inner), registry)
    }
}
