//! Objects of the inter-cluster network in the control loop: those of the store are followed, and what somebody wants to
//! change of them is tried out as a whole before the store takes it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use mesh_core::{
    allocate::Allocations,
    api::Applied,
    model::{ClusterObject, Intent, Manifest, ObjectId, Placed, Problems, STORE, ValidIntent},
    plan::{Plan, plan},
    registry::{Declaration, Edit, Registry, Stored},
    shown,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::Control;
use crate::{manifests, registrar::Rejection};

pub type Objects = Arc<BTreeMap<ObjectId, Stored<ClusterObject>>>;
/// Those that this node follows; `None`: nobody knows yet.
pub type WantedObjects = Option<Objects>;

/// How often an edit is considered anew because others changed the objects meanwhile.
const ATTEMPTS: usize = 10;
/// For what is known of a hub to be read at the start.
const PATIENCE: Duration = Duration::from_secs(2);
const QUEUE: usize = 16;

/// What somebody wants to change.
#[derive(Debug)]
pub struct Wish {
    pub edit: Edit,
    /// Network groups that are to be changed with it.
    pub declarations: Vec<Declaration>,
    pub dry_run: bool,
}

/// What it did, or would do.
#[derive(Debug)]
pub struct Outcome {
    pub applied: Vec<Applied>,
    /// One line for each thing that comes (`+`) or goes (`-`) in what the kernel and the shards hold.
    pub plan: Vec<String>,
}

/// A wish, and who waits to hear what became of it.
#[derive(Debug)]
pub struct Asked {
    wish: Wish,
    answer: oneshot::Sender<Result<Outcome, Rejection>>,
}

/// The way to the loop.
#[derive(Clone, Debug)]
pub struct Wishes(mpsc::Sender<Asked>);

impl Wishes {
    pub fn new() -> (Wishes, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Wishes(sender), receiver)
    }

    /// `None`: the loop is gone.
    pub async fn ask(&self, wish: Wish) -> Option<Result<Outcome, Rejection>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { wish, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// The objects of a store that is followed, for as long as it is.
pub fn of_store(mut registry: watch::Receiver<Arc<Registry>>) -> watch::Receiver<WantedObjects> {
    let first = Arc::clone(&registry.borrow_and_update().objects);
    let (sender, receiver) = watch::channel(Some(first));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                changed = registry.changed() => if changed.is_err() { return },
            }
            let objects = Arc::clone(&registry.borrow_and_update().objects);
            sender.send_if_modified(|known| {
                let changed = !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &objects));
                if changed {
                    *known = Some(objects);
                }
                changed
            });
        }
    });
    receiver
}

/// What was considered and found good.
struct Considered {
    intent: ValidIntent,
    plan: Plan,
}

impl Control {
    /// What is there when the daemon starts. A hub that was never reached has nothing that could be waited for.
    pub(super) async fn first_objects(&mut self, wanted: &mut watch::Receiver<WantedObjects>) {
        if let Ok(Ok(known)) = timeout(PATIENCE, wanted.wait_for(Option::is_some)).await {
            self.objects = known.clone().unwrap_or_default();
        }
    }

    pub(super) async fn follow_objects(&mut self, wanted: WantedObjects) {
        let Some(objects) = wanted.filter(|objects| !Arc::ptr_eq(objects, &self.objects)) else { return };
        self.objects = objects;
        self.list_known();
        self.try_take_up().await;
    }

    /// Does what is wished, or says all that is wrong with it.
    pub(super) async fn fulfil(&mut self, Asked { wish, answer }: Asked) {
        let outcome = self.try_fulfil(&wish).await;
        if outcome.is_ok() && !wish.dry_run {
            let objects = Arc::clone(&self.registrar.registry().borrow().objects);
            self.follow_objects(Some(objects)).await;
        }
        // Who asked sees what it did.
        self.publish();
        let _ = answer.send(outcome);
    }

    async fn try_fulfil(&mut self, Wish { edit, declarations, dry_run }: &Wish) -> Result<Outcome, Rejection> {
        for _ in 0..ATTEMPTS {
            let registry = Arc::clone(&self.registrar.registry().borrow());
            let stamp = registry.objects_stamp();
            let tried = self.registrar.edit(edit, declarations, stamp, true).await;
            let found = match (self.consider(edit, &registry).await, tried) {
                (_, Err(Rejection::Overtaken)) => continue,
                (Ok(considered), Ok(applied)) => Ok((considered, applied)),
                (Err(Rejection::Problems(Problems(mut all))), Err(Rejection::Problems(Problems(more)))) => {
                    let new: Vec<_> = more.into_iter().filter(|problem| !all.contains(problem)).collect();
                    all.extend(new);
                    Err(Rejection::Problems(Problems(all)))
                }
                (Err(rejection), _) | (_, Err(rejection)) => Err(rejection),
            };
            let (considered, applied) = found?;
            let plan = self.plan.diff(&considered.plan).lines().map(str::to_owned).collect();
            if *dry_run {
                return Ok(Outcome { applied, plan });
            }
            match self.registrar.edit(edit, declarations, stamp, false).await {
                Err(Rejection::Overtaken) => {}
                Err(rejection) => return Err(rejection),
                Ok(applied) => {
                    for line in considered.intent.notices {
                        tracing::debug!("{line}");
                    }
                    return Ok(Outcome { applied, plan });
                }
            }
        }
        Err(Rejection::Overtaken)
    }

    /// What would be planned with the edit in force.
    async fn consider(&mut self, edit: &Edit, registry: &Registry) -> Result<Considered, Rejection> {
        let problems = |problems| Rejection::Problems(problems);
        edit.check_owner(&files(&self.manifests)).map_err(problems)?;
        let intent = self.intent(would_be(edit, registry)).validate().map_err(problems)?;
        let (mut plan, _) = self.would_plan(&intent).await.map_err(as_rejection)?;
        let blocked = self.blocked.clone();
        self.world.block(&mut plan, &blocked).await;
        plan.groups.clone_from(&self.plan.groups);
        Ok(Considered { intent, plan })
    }

    /// After manifests or objects changed.
    pub(super) fn list_known(&mut self) {
        let directory = &self.settings.directories.manifests;
        let modified = |file: &str| manifests::modified(directory, file);
        self.known = Arc::new(shown::known(&self.manifests, modified, &self.objects));
    }

    async fn would_plan(&mut self, intent: &ValidIntent) -> Result<(Plan, Allocations)> {
        let facts = self.facts().await?;
        Ok(plan(intent, &facts, &self.allocations)?)
    }

    pub(super) fn intent(&self, objects: Vec<Placed>) -> Intent {
        let (settings, own_key, manifests) = (self.settings.clone(), self.own_key, self.manifests.clone());
        Intent { settings, own_key, manifests, objects, parsed: self.parsed.clone() }
    }

    pub(super) fn validate(&self) -> Result<ValidIntent, Problems> {
        match (self.intent(self.stored()).validate(), self.declarations()) {
            (validated, Ok(_)) => validated,
            (Ok(_), Err(problems)) => Err(problems),
            (Err(Problems(mut problems)), Err(Problems(more))) => {
                // A file that cannot be read at all is told once.
                let new: Vec<_> = more.into_iter().filter(|problem| !problems.contains(problem)).collect();
                problems.extend(new);
                Err(Problems(problems))
            }
        }
    }

    /// As the store has them.
    pub(super) fn stored(&self) -> Vec<Placed> {
        self.objects.values().map(placed).collect()
    }
}

fn placed(stored: &Stored<ClusterObject>) -> Placed {
    Placed { file: STORE.to_owned(), object: Arc::clone(&stored.object) }
}

/// The objects of the store once the edit is in force.
fn would_be(edit: &Edit, registry: &Registry) -> Vec<Placed> {
    let is_meant = |id: &ObjectId| match edit {
        Edit::Apply { proposals, .. } => proposals.iter().any(|proposal| proposal.id == *id),
        Edit::Delete(deleted) => deleted == id,
    };
    let mut objects: Vec<Placed> =
        registry.objects.iter().filter(|(id, _)| !is_meant(id)).map(|(_, stored)| placed(stored)).collect();
    if let Edit::Apply { proposals, at } = edit {
        objects.extend(proposals.iter().map(|proposal| {
            let known = registry.objects.get(&proposal.id).map(|stored| &*stored.object);
            Placed {
                file: proposal.place.file.clone(),
                object: Arc::new(proposal.object(known, *at, proposal.id.derived_uid())),
            }
        }));
    }
    objects
}

/// Which file each object of the manifest directory stands in.
fn files(manifests: &[Manifest]) -> BTreeMap<ObjectId, String> {
    let known = shown::known(manifests, |_| 0, &BTreeMap::new());
    known.into_iter().filter_map(|(id, known)| Some((id, known.file?))).collect()
}

/// What a plan was refused for.
fn as_rejection(error: anyhow::Error) -> Rejection {
    match error.downcast::<Problems>() {
        Ok(problems) => Rejection::Problems(problems),
        Err(error) => Rejection::Node(format!("{error:#}")),
    }
}
