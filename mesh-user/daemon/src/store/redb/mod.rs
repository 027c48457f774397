//! The embedded driver: one file, written by one thread.
//!
//! A commit is acknowledged when it is synced. Transactions that wait together are synced together, each with a revision
//! of its own. Every change is kept in a history that is bounded by count, from which watches are served: a reader that
//! is too slow for it is told so, instead of being waited for.

mod file;
mod tables;
mod worker;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::{Stream, stream};
use mesh_core::registry::Revision;
use tokio::sync::{oneshot, watch};

use self::{
    tables::Page,
    worker::{Reply, Request, Worker},
};
use super::{Committed, LeaseId, Listing, Outcome, Store, StoreError, Transaction};

/// Changes that can be read again: about 20 MB with the largest objects that there are.
const HISTORY: u64 = 20_000;

/// A store in one file.
#[derive(Clone, Debug)]
pub struct RedbStore {
    worker: Arc<WorkerThread>,
}

#[derive(Debug)]
struct WorkerThread {
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    newest: watch::Receiver<Revision>,
    thread: Option<JoinHandle<()>>,
}

/// Where a watch is.
struct Watch {
    store: RedbStore,
    prefix: String,
    after: Revision,
    newest: watch::Receiver<Revision>,
    read: VecDeque<Committed>,
    ended: bool,
}

impl RedbStore {
    /// Opens the file, or makes it, mode 0600. One that is damaged or of a newer version is an error that says what to do;
    /// it stays as it is, byte for byte.
    pub fn open(path: &Path) -> Result<RedbStore, StoreError> {
        RedbStore::open_with_history(path, HISTORY)
    }

    /// With another bound of the history, in changes.
    pub fn open_with_history(path: &Path, changes: u64) -> Result<RedbStore, StoreError> {
        let worker = Worker::open(path.to_owned(), changes)?;
        let newest = worker.newest();
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || worker.run(&received));
        let thread = thread.map_err(|error| file::unusable(path, &error))?;
        Ok(RedbStore { worker: Arc::new(WorkerThread { requests: Some(requests), newest, thread: Some(thread) }) })
    }

    /// Asks at once; the future only waits for the answer. So what is asked first is done first.
    fn ask<T, R>(&self, request: R) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, R>
    where
        T: Send + 'static,
        R: FnOnce(Reply<T>) -> Request,
    {
        let (reply, answer) = oneshot::channel();
        let sent = self.worker.requests.as_ref().map(|requests| requests.send(request(reply)));
        async move {
            let unanswered = || StoreError::Unusable("the store did not take the request; the log says why".to_owned());
            match sent {
                Some(Ok(())) => answer.await.unwrap_or_else(|_| Err(unanswered())),
                Some(Err(_)) | None => Err(unanswered()),
            }
        }
    }
}

impl Store for RedbStore {
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Listing, StoreError>> + Send {
        self.ask(move |reply| Request::List(prefix.to_owned(), reply))
    }

    fn commit(&self, transaction: Transaction) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
        self.ask(move |reply| Request::Commit(transaction, reply))
    }

    fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> impl Stream<Item = Result<Committed, StoreError>> + Send + 'static {
        let (store, newest) = (self.clone(), self.worker.newest.clone());
        let watch = Watch { store, prefix: prefix.to_owned(), after, newest, read: VecDeque::new(), ended: false };
        stream::unfold(watch, async |mut watch| watch.next().await.map(|item| (item, watch)))
    }

    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, StoreError>> + Send {
        self.ask(move |reply| Request::Grant(ttl, reply))
    }

    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.ask(move |reply| Request::KeepAlive(lease, reply))
    }

    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.ask(move |reply| Request::Revoke(lease, reply))
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Committed, StoreError>> {
        loop {
            if let Some(committed) = self.read.pop_front() {
                return Some(Ok(committed));
            }
            if self.ended {
                return None;
            }
            // Marked as seen before the history is read: what comes after is found by the next look.
            self.newest.borrow_and_update();
            let (prefix, after) = (self.prefix.clone(), self.after);
            match self.store.ask(move |reply| Request::History { prefix, after, reply }).await {
                Ok(Page { commits, through }) => {
                    let idle = through == self.after;
                    (self.read, self.after) = (commits.into(), through);
                    if idle && self.newest.changed().await.is_err() {
                        self.ended = true;
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for WorkerThread {
    /// When the last one lets go, the file is closed before this returns.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
