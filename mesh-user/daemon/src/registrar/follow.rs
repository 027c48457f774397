//! Keeps a registry equal to the store, whoever writes there.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use mesh_core::registry::{Entry, Key, NotAKey, Object, Registry, Revision};
use tokio::{sync::watch, time::sleep};

use crate::store::{Store, StoreError};

/// How soon a store that cannot be followed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The registry of the store, which is kept for as long as anybody reads it.
pub(super) async fn start<S: Store>(store: S) -> Result<watch::Receiver<Arc<Registry>>, StoreError> {
    let (registries, reader) = watch::channel(Arc::new(read(&store).await?));
    tokio::spawn(async move {
        tokio::select! {
            () = registries.closed() => {}
            () = follow(&store, &registries) => {}
        }
    });
    Ok(reader)
}

/// What cannot be followed leaves the registry as it was, and is tried again.
async fn follow<S: Store>(store: &S, registries: &watch::Sender<Arc<Registry>>) {
    let mut told = String::new();
    loop {
        let error = match follow_once(store, registries).await {
            // The reader was too slow, or the store was replaced by an older one: it is read anew.
            Err(StoreError::Compacted(_)) => None,
            Err(error) => Some(error),
            Ok(()) => None,
        };
        if let Some(error) = error {
            let error = error.to_string();
            if error != told {
                tracing::error!("the store cannot be followed, what is known of it stays in force: {error}");
                told = error;
            }
            sleep(RETRY).await;
        }
        match read(store).await {
            Ok(registry) => {
                told.clear();
                publish(registries, registry);
            }
            Err(error) => {
                tracing::debug!("{error}");
                sleep(RETRY).await;
            }
        }
    }
}

async fn follow_once<S: Store>(store: &S, registries: &watch::Sender<Arc<Registry>>) -> Result<(), StoreError> {
    let revision = registries.borrow().revision;
    let mut commits = pin!(store.watch("", revision));
    while let Some(committed) = commits.next().await {
        let committed = committed?;
        let entries =
            committed.changes.into_iter().map(|(key, value)| entry(&key, committed.revision, value.as_deref()));
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unknown)?;
        let mut next = Registry::clone(&registries.borrow());
        next.apply(committed.revision, entries);
        publish(registries, next);
    }
    Ok(())
}

fn publish(registries: &watch::Sender<Arc<Registry>>, registry: Registry) {
    registries.send_replace(Arc::new(registry));
}

async fn read<S: Store>(store: &S) -> Result<Registry, StoreError> {
    let listing = store.list("").await?;
    let entries = listing.entries.iter().map(|stored| entry(&stored.key, stored.modified, Some(&stored.value)));
    let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unknown)?;
    let mut registry = Registry::default();
    registry.apply(listing.revision, entries);
    Ok(registry)
}

fn entry(key: &str, modified: Revision, value: Option<&[u8]>) -> Result<Entry, NotAKey> {
    let key: Key = key.parse()?;
    let object = value.map(|value| Object::from_json(&key, value)).transpose()?;
    Ok(Entry { key, modified, object })
}

fn unknown(error: NotAKey) -> StoreError {
    StoreError::Unusable(format!("{error}: run the meshd that wrote it; nothing was changed"))
}
