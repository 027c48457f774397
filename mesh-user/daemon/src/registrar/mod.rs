//! Who changes what the store holds: commands become transactions here, and what was committed becomes a [`Registry`]
//! that everybody else reads.
//!
//! What a command changes is decided on a registry, by pure code; the store takes it if what it was decided on still
//! holds, else it is decided again. Commands do not wait for each other's sync: the next one is decided on the *draft*,
//! which is the registry as it will be when everything handed to the store is committed. If that does not come true, the
//! conditions of what was decided on it fail. So no other writer is ever overrun, here or elsewhere.

mod follow;
mod lease;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use mesh_core::{
    api::Applied,
    model::Problems,
    registry::{
        Author, Change, Command, Condition, Declaration, Edit, Ids, Key, Object, Refusal, Registry, Revision, Rules,
        decide, declare,
    },
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use crate::{
    keys,
    store::{LeaseId, Outcome, Put, RedbStore, Store, StoreCondition, StoreError, Transaction},
};

/// How often something is decided anew because others were faster.
const ATTEMPTS: usize = 100;
/// For what others committed to come in.
const CATCH_UP: Duration = Duration::from_millis(200);
/// For our own commit to come in: much longer than a disk takes.
const COME_IN: Duration = Duration::from_secs(10);

/// Clones share one registry. Made by [`Registrar::start`].
#[derive(Debug)]
pub struct Registrar<S: Store = RedbStore> {
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    store: S,
    rules: Mutex<Arc<Rules>>,
    /// As it is in the store.
    committed: watch::Receiver<Arc<Registry>>,
    /// As it will be; older than `committed` where nothing is under way.
    draft: Mutex<Arc<Registry>>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error("{0}")]
    Refused(Refusal),
    /// Of manifests.
    #[error("{0}")]
    Problems(Problems),
    /// The objects are others than those that were considered.
    #[error("others changed objects at the same time: try again")]
    Overtaken,
    /// What it would lead to could not be told: the node itself cannot be looked at.
    #[error("{0}")]
    Node(String),
    /// It is also said when the disk took a change and then failed: what the store holds, the registry shows.
    #[error("{0}")]
    Store(StoreError),
}

impl<S: Store> Clone for Registrar<S> {
    fn clone(&self) -> Self {
        Registrar { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Store> Registrar<S> {
    /// Reads the store and follows it from then on. An entry that this version does not know is an error that names its
    /// key; nothing is changed.
    pub async fn start(store: S, rules: Rules) -> Result<Self, StoreError> {
        let committed = follow::start(store.clone()).await?;
        let shared = Shared { store, rules: Mutex::new(Arc::new(rules)), committed, draft: Mutex::default() };
        Ok(Registrar { shared: Arc::new(shared) })
    }

    /// What the store holds, always.
    pub fn registry(&self) -> watch::Receiver<Arc<Registry>> {
        self.shared.committed.clone()
    }

    /// What no group's CIDR may overlap from now on, and whose it is.
    pub fn set_taken(&self, taken: Vec<(IpNet, String)>) {
        let mut rules = locked(&self.shared.rules);
        if rules.taken != taken {
            *rules = Arc::new(Rules { taken, ..Rules::clone(&rules) });
        }
    }

    /// Changes the store as commanded; the registry with that change, and whatever else came in.
    pub async fn execute(&self, author: Author, command: Command) -> Result<Arc<Registry>, Rejection> {
        let decide = |registry: &Registry, rules: &Rules, ids: Ids<'_>| {
            decide(registry, rules, author, &command, ids).map_err(Rejection::Refused).map(|change| (change, ()))
        };
        self.change(decide).await.map(|(registry, ())| registry)
    }

    /// Makes everything as declared, or nothing of it; with `prune`, what the same author made and nobody declares goes. What
    /// it does to each object, or would do: a dry run changes nothing.
    pub async fn declare(
        &self,
        author: Author,
        declarations: &[Declaration],
        prune: bool,
        dry_run: bool,
    ) -> Result<Vec<Applied>, Rejection> {
        let decide = |registry: &Registry, rules: &Rules, ids: Ids<'_>| {
            declare(registry, rules, author, declarations, prune, ids).map_err(Rejection::Problems)
        };
        if dry_run {
            let committed = Arc::clone(&self.shared.committed.borrow());
            return self.decided(&committed, &decide)?.map(|(_, applied)| applied);
        }
        self.change(decide).await.map(|(_, applied)| applied)
    }

    /// Edits objects of the inter-cluster network whose whole was found good as of `considered`, together with declarations of
    /// network groups: all of it, or nothing.
    pub async fn edit(
        &self,
        edit: &Edit,
        declarations: &[Declaration],
        considered: Option<(Revision, u64)>,
        dry_run: bool,
    ) -> Result<Vec<Applied>, Rejection> {
        let decide = |registry: &Registry, rules: &Rules, ids: Ids<'_>| {
            if registry.objects_stamp() != considered {
                return Err(Rejection::Overtaken);
            }
            let declared = declare(registry, rules, Author::Api, declarations, false, ids);
            match (edit.decide(registry, ids), declared) {
                (Ok((objects, mut applied)), Ok((groups, more))) => {
                    applied.extend(more);
                    Ok((objects.and(groups), applied))
                }
                (objects, declared) => {
                    let problems = objects.err().into_iter().chain(declared.err()).flat_map(|Problems(found)| found);
                    Err(Rejection::Problems(Problems(problems.collect())))
                }
            }
        };
        if dry_run {
            let committed = Arc::clone(&self.shared.committed.borrow());
            return self.decided(&committed, &decide)?.map(|(_, applied)| applied);
        }
        self.change(decide).await.map(|(_, applied)| applied)
    }

    /// Decides until what was decided is committed, or refused on what is committed.
    async fn change<T>(
        &self,
        decide: impl Fn(&Registry, &Rules, Ids<'_>) -> Result<(Change, T), Rejection>,
    ) -> Result<(Arc<Registry>, T), Rejection> {
        for _ in 0..ATTEMPTS {
            let begun = self.begin(&decide)?;
            let Some((said, commit)) = begun.committing else {
                // What is still under way may be given up: only what is committed counts against a command.
                let _ = self.reached(begun.base, CATCH_UP).await;
                let committed = Arc::clone(&self.shared.committed.borrow());
                match self.decided(&committed, &decide)? {
                    Ok((change, _)) if !change.is_empty() => continue,
                    ended => return ended.map(|(_, said)| (committed, said)),
                }
            };
            let outcome = commit.await;
            if !matches!(outcome, Ok(Outcome::Committed(revision)) if revision == after(begun.base)) {
                *locked(&self.shared.draft) = Arc::default();
            }
            match outcome.map_err(Rejection::Store)? {
                Outcome::Committed(revision) => return Ok((self.reached(revision, COME_IN).await?, said)),
                // Until what the others did came in; not for long, because it may have been given up instead.
                Outcome::Changed => drop(self.reached(after(begun.base), CATCH_UP).await),
            }
        }
        let reason = format!("others changed the same objects {ATTEMPTS} times in a row: try again");
        Err(Rejection::Store(StoreError::Unusable(reason)))
    }

    /// Decides on the draft. A change is handed to the store while the draft is locked, and is part of it from then on: so
    /// what is decided first is committed first.
    fn begin<T>(
        &self,
        decide: &impl Fn(&Registry, &Rules, Ids<'_>) -> Result<(Change, T), Rejection>,
    ) -> Result<Begun<T, impl Future<Output = Result<Outcome, StoreError>> + Send>, Rejection> {
        let mut draft = self.draft();
        let base = draft.revision;
        let (change, said) = match self.decided(&draft, decide)? {
            Ok((change, said)) if !change.is_empty() => (change, said),
            _ => return Ok(Begun { base, committing: None }),
        };
        let commit = self.shared.store.commit(transaction(&change));
        let mut next = Registry::clone(&draft);
        next.apply(after(base), change.into_entries(after(base)));
        *draft = Arc::new(next);
        Ok(Begun { base, committing: Some((said, commit)) })
    }

    /// The outer error: nothing could be decided.
    fn decided<T>(
        &self,
        registry: &Registry,
        decide: &impl Fn(&Registry, &Rules, Ids<'_>) -> Result<(Change, T), Rejection>,
    ) -> Result<Result<(Change, T), Rejection>, Rejection> {
        let rules = Arc::clone(&locked(&self.shared.rules));
        let mut random = RandomIds::default();
        let decided = decide(registry, &rules, &mut || random.next());
        random.check()?;
        Ok(decided)
    }

    /// The newest that can be decided on.
    fn draft(&self) -> MutexGuard<'_, Arc<Registry>> {
        let mut draft = locked(&self.shared.draft);
        let committed = self.shared.committed.borrow();
        if committed.revision >= draft.revision {
            *draft = Arc::clone(&committed);
        }
        draft
    }

    async fn reached(&self, revision: Revision, patience: Duration) -> Result<Arc<Registry>, Rejection> {
        let mut committed = self.registry();
        let reached = timeout(patience, committed.wait_for(|registry| registry.revision >= revision)).await;
        if let Ok(Ok(registry)) = reached {
            return Ok(Arc::clone(&registry));
        }
        let reason = format!("revision {} of the store was committed, but cannot be read: see the log", revision.0);
        Err(Rejection::Store(StoreError::Unusable(reason)))
    }
}

/// A decision on the draft.
struct Begun<T, F> {
    /// The revision that it was made on.
    base: Revision,
    /// What was said of it, and its commit; `None`: it changes nothing, or was refused.
    committing: Option<(T, F)>,
}

/// UUIDs from the kernel; nil ones once it has none to give, so that [`RandomIds::check`] must be asked before they are used.
#[derive(Default)]
struct RandomIds {
    failed: Option<anyhow::Error>,
}

impl RandomIds {
    fn next(&mut self) -> Uuid {
        keys::random_uuid().unwrap_or_else(|error| {
            self.failed = Some(error);
            Uuid::nil()
        })
    }

    fn check(&mut self) -> Result<(), Rejection> {
        let unusable = |error| Err(Rejection::Store(StoreError::Unusable(format!("no new ids: {error:#}"))));
        self.failed.take().map_or(Ok(()), unusable)
    }
}

fn after(revision: Revision) -> Revision {
    Revision(revision.0 + 1)
}

fn transaction(change: &Change) -> Transaction {
    let condition =
        |condition: &Condition| StoreCondition { key: condition.key.to_string(), modified: condition.modified };
    let put = |(key, object): &(Key, Object)| Put {
        key: key.to_string(),
        value: object.to_json(),
        lease: match object {
            Object::Node(node) => Some(LeaseId(node.lease)),
            _ => None,
        },
    };
    Transaction {
        conditions: change.conditions.iter().map(condition).collect(),
        puts: change.puts.iter().map(put).collect(),
        deletes: change.deletes.iter().map(ToString::to_string).collect(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
