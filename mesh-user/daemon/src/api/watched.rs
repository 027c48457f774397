//! Each state of the registry that readers of streams may have seen, and what was deleted on the way to it.
//!
//! Streams read what is published here, not the registrar's own: so every state that a reader ever saw was noted, and one
//! that comes back with its revision is told exactly what it lacks.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::registry::{Deletions, Entry, Registry, Revision, Rights, View};
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub struct Watched {
    /// What there was when this daemon began.
    begin: Revision,
    registry: watch::Receiver<Arc<Registry>>,
    deletions: Arc<Mutex<Deletions>>,
}

impl Watched {
    /// Follows `source` on a task of its own until that ends.
    pub fn follow(mut source: watch::Receiver<Arc<Registry>>) -> Watched {
        let first = Arc::clone(&source.borrow_and_update());
        let begin = first.revision;
        let deletions = Arc::new(Mutex::new(Deletions::new(begin)));
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
        Watched { begin, registry, deletions }
    }

    /// What is there now, seen; the next change wakes the receiver.
    pub(super) fn subscribe(&self) -> (watch::Receiver<Arc<Registry>>, Arc<Registry>) {
        let mut registry = self.registry.clone();
        let now = Arc::clone(&registry.borrow_and_update());
        (registry, now)
    }

    pub(super) fn since(&self, since: Revision, view: &View, registry: &Registry) -> Option<Vec<Entry>> {
        // Another run may have had other roles for the reader, and so have shown it more or less.
        if view.rights != Rights::All && since <= self.begin {
            return None;
        }
        view.since(since, &self.deletions.lock().unwrap_or_else(PoisonError::into_inner), registry)
    }
}
