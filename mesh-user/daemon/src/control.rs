//! The control loop: what makes the daemon look again, and what it does then.
//!
//! Settings and manifests become a plan, the plan and the world become steps, the steps are applied. A manifest change, a
//! change in the kernel and a lost tunnel all end in that one way. What is refused leaves everything as it was.

mod beginning;
mod blocks;
mod declared;
mod facts;
mod groups;
mod hearing;
mod objects;
mod telling;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use mesh_core::{
    allocate::Allocations,
    model::{Manifest, ObjectId, Parsed, Settings, ValidIntent},
    plan::{Plan, PublicKey, block::BlockedInstances, plan, taken},
    reconcile::{Step, steps},
    shown::Known,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, interval, sleep},
};

use crate::{
    api::{HEARTBEAT, Snapshot},
    manifests,
    reconcile::World,
    registrar::Registrar,
    shard,
    vigil::Silent,
    whereabouts::Whereabouts,
};
pub use blocks::{Blocks, WantedBlocks};
pub use groups::{Wanted, WantedGroups};
pub use objects::{Asked, Objects, Outcome, WantedObjects, Wish, Wishes, of_store};
use telling::lines;

/// Kernel changes come in bursts; they are answered together.
const SETTLE: Duration = Duration::from_millis(100);

/// What makes the loop look again.
#[derive(Debug)]
pub struct Wakes {
    pub manifests: mpsc::Receiver<()>,
    pub kernel: mpsc::Receiver<()>,
    pub shards: mpsc::Receiver<shard::Event>,
    /// The tunnels of network groups.
    pub groups: watch::Receiver<WantedGroups>,
    pub blocks: watch::Receiver<WantedBlocks>,
    /// Of the inter-cluster network: those of the store that this node follows.
    pub objects: watch::Receiver<WantedObjects>,
    pub wishes: mpsc::Receiver<Asked>,
    /// Gateway nodes of the cluster that do not answer, where this node is a worker.
    pub silent: watch::Receiver<Silent>,
}

/// Where the loop tells the others what it knows.
#[derive(Debug)]
pub struct Published {
    pub plans: watch::Sender<Arc<Plan>>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
}

/// Which steps are not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Nothing,
    /// Those that need a device which is not there.
    AbsentDevices,
}

#[derive(Debug)]
pub struct Control {
    settings: Settings,
    own_key: PublicKey,
    world: World,
    whereabouts: Whereabouts,
    registrar: Registrar,
    published: Published,
    allocations: Arc<Allocations>,
    /// The manifests as they were read last, good or bad.
    manifests: Vec<Manifest>,
    /// Of the store that this node follows.
    objects: Objects,
    /// They could not be read since: `manifests` are those of before.
    unread: bool,
    /// Everything that stands in the manifests and the objects, for who asks.
    known: Arc<BTreeMap<ObjectId, Known>>,
    /// The last intent that was good as a whole.
    intent: Option<Arc<ValidIntent>>,
    plan: Arc<Plan>,
    started: bool,
    /// Why the manifests that are there now are not in force.
    refused: Vec<String>,
    /// What stands in the way of the plan in force.
    trouble: Vec<String>,
    /// Why network groups of the manifests are not in the store.
    undeclared: Vec<String>,
    /// As the agent wants them.
    groups: WantedGroups,
    /// What stands in their way.
    group_trouble: Vec<String>,
    blocked: BlockedInstances,
    /// What of them is still open.
    unclosed: Vec<String>,
    silent: Silent,
    /// What the manifests said.
    parsed: Parsed,
}

impl Control {
    pub fn new(
        settings: Settings,
        own_key: PublicKey,
        world: World,
        registrar: Registrar,
        published: Published,
    ) -> Result<Self> {
        let allocations = Arc::new(world.state().allocations()?.unwrap_or_default());
        let blocked = world.state().blocked()?;
        let whereabouts = Whereabouts::start(settings.gateway.advertise.command.clone());
        Ok(Control {
            settings,
            own_key,
            whereabouts,
            world,
            registrar,
            published,
            allocations,
            manifests: Vec::new(),
            objects: Objects::default(),
            unread: false,
            known: Arc::default(),
            intent: None,
            plan: Arc::default(),
            started: false,
            refused: Vec::new(),
            trouble: Vec::new(),
            undeclared: Vec::new(),
            groups: None,
            group_trouble: Vec::new(),
            blocked,
            unclosed: Vec::new(),
            silent: Silent::new(),
            parsed: Parsed::default(),
        })
    }

    /// Puts the first plan in force, then follows changes for ever. Fails if the start fails, and if one of those who wake
    /// it is no more: a loop that is deaf on one side would seem to work.
    pub async fn run(mut self, mut wakes: Wakes) -> Result<()> {
        self.groups.clone_from(&wakes.groups.borrow_and_update());
        self.first_objects(&mut wakes.objects).await;
        if let Err(error) = self.begin().await {
            self.world.withdraw()?;
            return Err(error);
        }
        let mut heartbeat = interval(HEARTBEAT);
        let mut whereabouts = self.whereabouts.answers();
        loop {
            self.publish();
            tokio::select! {
                woken = wakes.groups.changed() => {
                    woken.context("the agent of network groups ended: restart meshd")?;
                    wakes.groups.mark_unchanged();
                    self.regroup(&wakes.groups).await;
                }
                changed = wakes.blocks.changed() => {
                    changed.context("nobody tells any more which members are blocked: restart meshd")?;
                    let wanted = wakes.blocks.borrow_and_update().clone();
                    self.take_up_blocks(wanted).await;
                }
                changed = wakes.objects.changed() => {
                    changed.context("nobody tells any more which objects there are: restart meshd")?;
                    let wanted = wakes.objects.borrow_and_update().clone();
                    self.follow_objects(wanted).await;
                }
                changed = whereabouts.changed() => {
                    changed.context("nobody asks any more where gateways are: restart meshd")?;
                    self.repair().await;
                }
                asked = wakes.wishes.recv() => {
                    self.fulfil(asked.context("the API ended: restart meshd")?).await;
                }
                changed = wakes.silent.changed() => {
                    changed.context("nobody asks the gateway nodes any more: restart meshd")?;
                    let silent = wakes.silent.borrow_and_update().clone();
                    self.heed(silent).await;
                }
                _ = heartbeat.tick() => self.look_again().await,
                woken = wakes.manifests.recv() => {
                    woken.context("the watch of the manifest directory ended: restart meshd")?;
                    self.reload().await;
                }
                woken = wakes.kernel.recv() => {
                    woken.context("the kernel's messages about changes ended: restart meshd")?;
                    sleep(SETTLE).await;
                    // What came meanwhile is seen by the same look.
                    let _ = wakes.kernel.try_recv();
                    self.retry().await;
                    self.repair().await;
                }
                event = wakes.shards.recv() => {
                    self.hear(event.context("the threads that carry packets ended: restart meshd")?).await;
                }
            }
        }
    }

    /// What was refused or failed may have been so for a reason that is gone.
    async fn look_again(&mut self) {
        self.keep_house().await;
        self.retry().await;
        if !self.trouble.is_empty() || self.watches_doors() {
            self.repair().await;
        }
        if let Err(error) = self.world.prove_redirects(&self.plan) {
            tracing::warn!("{error:#}");
        }
    }

    /// Takes up changed manifests, all or none of them.
    async fn reload(&mut self) {
        let read = match manifests::read(&self.settings.directories.manifests) {
            Ok(read) => read,
            Err(error) => {
                self.unread = true;
                self.undeclared.clear();
                return self.refuse(&format!("{error:#}"));
            }
        };
        self.unread = false;
        if read == self.manifests && self.refused.is_empty() {
            return;
        }
        self.manifests = read;
        self.list_known();
        // It was about other texts. What these declare is found out when all of them are taken.
        self.undeclared.clear();
        self.try_take_up().await;
    }

    /// What was refused may have been so for a reason that is gone, such as a port in use.
    async fn retry(&mut self) {
        match (self.refused.is_empty(), self.unread) {
            (true, _) if self.undeclared.is_empty() => {}
            (true, _) => self.declare().await,
            (false, true) => self.reload().await,
            (false, false) => self.try_take_up().await,
        }
    }

    async fn try_take_up(&mut self) {
        match self.take_up().await {
            // That the directory cannot be read is still so.
            Ok(()) if self.unread => {}
            Ok(()) => self.refused.clear(),
            Err(error) => self.refuse(&format!("{error:#}")),
        }
    }

    async fn take_up(&mut self) -> Result<()> {
        let begun = Instant::now();
        let intent = self.validate()?;
        let (plan, allocations) = self.plan(&intent).await?;
        let trouble = self.converge(plan, allocations, Leave::Nothing).await?;
        self.set_trouble(trouble);
        self.intent = Some(Arc::new(intent));
        tracing::info!(milliseconds = begun.elapsed().as_secs_f64() * 1e3, "what is wanted is in force");
        self.declare().await;
        Ok(())
    }

    /// Makes the world hold the plan again after somebody changed the world. What the present world does not allow to be
    /// planned (an interface is gone) stays as planned before, and the rest is repaired.
    async fn repair(&mut self) {
        let Some(intent) = self.intent.clone() else { return };
        let (repaired, hindrance) = match self.plan(&intent).await {
            Ok((plan, allocations)) => (self.converge(plan, allocations, Leave::Nothing).await, None),
            Err(error) => {
                let (plan, allocations) = ((*self.plan).clone(), (*self.allocations).clone());
                (self.converge(plan, allocations, Leave::AbsentDevices).await, Some(error))
            }
        };
        let mut trouble: Vec<String> = hindrance.iter().flat_map(|error| lines(&format!("{error:#}"))).collect();
        trouble.extend(repaired.unwrap_or_else(|error| lines(&format!("{error:#}"))));
        self.set_trouble(trouble);
    }

    async fn plan(&mut self, intent: &ValidIntent) -> Result<(Plan, Allocations)> {
        self.whereabouts.want(intent);
        let facts = self.facts().await?;
        let (mut plan, allocations) = plan(intent, &facts, &self.allocations)?;
        self.registrar.set_taken(taken(intent, &facts, &allocations));
        self.block(&mut plan).await;
        Ok((plan, allocations))
    }

    /// Observes, and applies what is missing. An error: refused before anything was done. Else: what went wrong then, and
    /// the next look tries again.
    async fn converge(&mut self, mut plan: Plan, allocations: Allocations, leave: Leave) -> Result<Vec<String>> {
        plan.groups = self.groups.as_ref().map(|wanted| wanted.tunnels.clone()).unwrap_or_default();
        self.world.load_secrets(&plan)?;
        let observed = self.world.observe(&plan).await?;
        let (group_steps, mut steps): (Vec<_>, Vec<_>) =
            steps(&plan, &observed).into_iter().partition(|step| matches!(step, Step::Group(..)));
        if leave == Leave::AbsentDevices {
            steps.retain(|step| self.world.is_possible(step, &plan));
        }
        if let Err(error) = self.world.prepare(&steps) {
            self.world.abandon();
            return Err(error);
        }
        if allocations != *self.allocations {
            self.world.state().save_allocations(&allocations)?;
            self.allocations = Arc::new(allocations);
        }
        self.log(&plan, &steps);
        self.plan = Arc::new(plan);
        let applied = self.apply(&steps).await;
        self.unclosed.extend(self.world.keep_doors());
        let mut prepared = Ok(());
        if let Some(wanted) = &self.groups {
            let steps: Vec<_> = group_steps.into_iter().filter(|step| wanted.decides(step)).collect();
            prepared = self.world.prepare_groups(&steps);
            if prepared.is_ok() {
                self.apply_groups(steps).await;
            }
        }
        self.published.plans.send_replace(Arc::clone(&self.plan));
        let settled = self.world.settle();
        let failed = [applied, prepared, settled].into_iter().filter_map(Result::err);
        Ok(failed.map(|error| format!("{error:#}")).collect())
    }

    /// The start says also that there was nothing to do.
    fn log(&self, plan: &Plan, steps: &[Step]) {
        for line in self.plan.diff(plan).lines() {
            tracing::info!("plan: {line}");
        }
        if !steps.is_empty() || !self.started {
            tracing::info!("the plan takes {} steps", steps.len());
        }
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<()> {
        for (number, step) in steps.iter().enumerate() {
            tracing::debug!("step {}: {step}", number + 1);
            let applied = self.world.apply(step).await;
            applied.with_context(|| format!("step {} of {} failed: {step}", number + 1, steps.len()))?;
        }
        Ok(())
    }
}
