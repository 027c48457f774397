//! The thread that alone touches the file: it takes requests in turn and commits all that wait with one sync.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use mesh_core::registry::Revision;
use redb::{Database, ReadableDatabase as _};
use tokio::sync::{oneshot, watch};

use super::{
    file,
    tables::{self, Failed, Page, Tables},
};
use crate::store::{LeaseId, Listing, Outcome, StoreError, Transaction};

/// Requests that share a sync.
const BATCH: usize = 256;
/// How soon ended leases are tried again after the file refused.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum Request {
    List(String, Reply<Listing>),
    History { prefix: String, after: Revision, reply: Reply<Page> },
    Commit(Transaction, Reply<Outcome>),
    Grant(Duration, Reply<LeaseId>),
    KeepAlive(LeaseId, Reply<()>),
    Revoke(LeaseId, Reply<()>),
}

pub(super) struct Worker {
    path: PathBuf,
    /// `None` after it failed: it is opened again for the next request.
    database: Option<Database>,
    /// Changes that the history keeps.
    kept: u64,
    /// When each lease ends, and how long it lasts when it is kept alive.
    leases: BTreeMap<LeaseId, (Instant, Duration)>,
    /// The newest revision, for those that follow.
    newest: watch::Sender<Revision>,
}

/// An answer that is given when the file has it.
type Answer = Box<dyn FnOnce(Result<(), StoreError>)>;

impl Worker {
    pub(super) fn open(path: PathBuf, kept: u64) -> Result<Self, StoreError> {
        let database = file::open(&path)?;
        let mut worker =
            Worker { path, database: Some(database), kept, leases: BTreeMap::new(), newest: watch::Sender::default() };
        let begun = worker.read(|reading| Ok((tables::revision(reading)?, tables::leases(reading)?)))?;
        worker.newest.send_replace(begun.0);
        // How long nobody could keep them alive is not known: each begins anew.
        let now = Instant::now();
        worker.leases = begun.1.into_iter().map(|(lease, ttl)| (lease, (ends(now, ttl), ttl))).collect();
        Ok(worker)
    }

    pub(super) fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut not_before = Instant::now();
        loop {
            let next = self.leases.values().map(|(end, _)| (*end).max(not_before)).min();
            let first = match next {
                Some(next) => requests.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => self.serve(std::iter::once(first).chain(requests.try_iter().take(BATCH - 1))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(error) = self.end_leases(Instant::now().max(not_before)) {
                tracing::warn!("leases that ended are still there: {error}");
                not_before = Instant::now() + PATIENCE;
            }
        }
    }

    /// Everything that writes first, in order and in one transaction of the file; then what reads.
    fn serve(&mut self, requests: impl Iterator<Item = Request>) {
        let (writes, reads): (Vec<_>, Vec<_>) = requests
            .partition(|request| matches!(request, Request::Commit(..) | Request::Grant(..) | Request::Revoke(..)));
        if !writes.is_empty() {
            self.write_all(writes);
        }
        for request in reads {
            match request {
                Request::List(prefix, reply) => {
                    let _ = reply.send(self.read(|reading| tables::list(reading, &prefix)));
                }
                Request::History { prefix, after, reply } => {
                    let page = self.read(|reading| tables::history(reading, &prefix, after));
                    let _ = reply.send(page.and_then(|page| page));
                }
                Request::KeepAlive(lease, reply) => {
                    let _ = reply.send(self.keep_alive(lease));
                }
                Request::Commit(..) | Request::Grant(..) | Request::Revoke(..) => {}
            }
        }
    }

    fn write_all(&mut self, requests: Vec<Request>) {
        let mut answers: Vec<Answer> = Vec::new();
        let mut requests = Some(requests);
        let mut granted = Vec::new();
        let mut revoked = Vec::new();
        let written = self.write(|tables| {
            for request in requests.take().into_iter().flatten() {
                match request {
                    Request::Commit(transaction, reply) => {
                        let outcome = tables.commit(&transaction)?;
                        answers.push(answer(reply, outcome));
                    }
                    Request::Grant(ttl, reply) => {
                        let lease = tables.grant(ttl)?;
                        granted.push((lease, ttl));
                        answers.push(answer(reply, Ok(lease)));
                    }
                    Request::Revoke(lease, reply) => {
                        let outcome = tables.revoke(lease)?;
                        revoked.push(lease);
                        answers.push(answer(reply, outcome));
                    }
                    Request::List(..) | Request::History { .. } | Request::KeepAlive(..) => {}
                }
            }
            Ok(())
        });
        if written.is_ok() {
            let now = Instant::now();
            self.leases.extend(granted.into_iter().map(|(lease, ttl)| (lease, (ends(now, ttl), ttl))));
            self.leases.retain(|lease, _| !revoked.contains(lease));
        }
        // Whose request was not reached is told by its dropped reply.
        for answer in answers {
            answer(written.clone());
        }
    }

    fn keep_alive(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let now = Instant::now();
        let (end, ttl) = self.leases.get_mut(&lease).filter(|(end, _)| *end > now).ok_or(StoreError::NoLease(lease))?;
        *end = ends(now, *ttl);
        Ok(())
    }

    fn end_leases(&mut self, now: Instant) -> Result<(), StoreError> {
        let ended: Vec<_> = self.leases.iter().filter(|(_, (end, _))| *end <= now).map(|(lease, _)| *lease).collect();
        if ended.is_empty() {
            return Ok(());
        }
        self.write(|tables| {
            for lease in &ended {
                // One that somebody revoked meanwhile is gone as well.
                let _ = tables.revoke(*lease)?;
            }
            Ok(())
        })?;
        self.leases.retain(|lease, _| !ended.contains(lease));
        Ok(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, Failed>) -> Result<T, StoreError> {
        let database = self.database()?;
        let done = database.begin_read().map_err(Failed::from).and_then(|reading| read(&reading));
        done.map_err(|error| self.fail(&error))
    }

    /// In one transaction, synced at its end; then those that follow are told.
    fn write(&mut self, change: impl FnOnce(&mut Tables<'_>) -> Result<(), Failed>) -> Result<(), StoreError> {
        let kept = self.kept;
        let database = self.database()?;
        let written = (|| {
            let writing = database.begin_write()?;
            let mut tables = Tables::open(&writing, kept)?;
            change(&mut tables)?;
            let revision = tables.revision()?;
            drop(tables);
            writing.commit()?;
            Ok(revision)
        })();
        let revision = written.map_err(|error| self.fail(&error))?;
        self.newest.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
        Ok(())
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => file::open(&self.path)?,
        };
        Ok(self.database.insert(database))
    }

    /// What was not committed is given up with the database.
    fn fail(&mut self, error: &Failed) -> StoreError {
        self.database = None;
        let error = file::unusable(&self.path, error);
        tracing::error!("{error}");
        error
    }
}

fn ends(now: Instant, ttl: Duration) -> Instant {
    /// Later than any clock here will show.
    const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
    now + ttl.min(NEVER)
}

fn answer<T: 'static>(reply: Reply<T>, outcome: Result<T, StoreError>) -> Answer {
    Box::new(move |written| {
        let _ = reply.send(written.and(outcome));
    })
}
