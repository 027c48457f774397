//! The tunnels of network groups in the control loop. They depend on nothing else in a plan, so that a change of theirs is
//! applied by itself, and what hinders one of them hinders no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_core::{
    plan::{DeviceName, GroupTunnel, Plan},
    reconcile::{GroupStep, Step, group_steps},
};
use tokio::sync::watch;

use super::Control;

/// What the agent wants; `None`: it does not know anything yet, and what is there stays.
pub type WantedGroups = Option<Arc<Wanted>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub tunnels: BTreeMap<DeviceName, Arc<GroupTunnel>>,
    /// Whether these are wanted is not known yet: what is there of them stays.
    pub unknown: BTreeSet<DeviceName>,
}

impl Wanted {
    /// Whether it is known that the step is wanted.
    pub(super) fn decides(&self, step: &Step) -> bool {
        !matches!(step, Step::Group(device, _) if self.unknown.contains(device))
    }
}

impl Control {
    /// Takes up what the agent wants now.
    pub(super) async fn regroup(&mut self, wanted: &watch::Receiver<WantedGroups>) {
        self.groups.clone_from(&wanted.borrow());
        self.converge_groups().await;
    }

    /// Makes the world hold the tunnels of groups.
    pub(super) async fn converge_groups(&mut self) {
        let Some(groups) = self.groups.clone() else { return };
        let plan = Plan { groups: groups.tunnels.clone(), ..(*self.plan).clone() };
        for line in self.plan.diff(&plan).lines() {
            tracing::info!("plan: {line}");
        }
        let observed = self.world.observe_groups(&plan);
        let mut steps = group_steps(&plan.groups, &observed);
        steps.retain(|step| groups.decides(step));
        self.plan = Arc::new(plan);
        if let Err(error) = self.world.prepare_groups(&steps) {
            return self.set_group_trouble(vec![format!("{error:#}")]);
        }
        self.apply_groups(steps).await;
    }

    /// Steps of one device stand together; a failure ends those of its device.
    pub(super) async fn apply_groups(&mut self, steps: Vec<Step>) {
        let mut trouble = Vec::new();
        for (device, steps) in by_device(steps) {
            for step in &steps {
                tracing::debug!("step: {}", Step::Group(device.clone(), step.clone()));
            }
            if let Err(error) = self.world.apply_group(&device, &steps).await {
                trouble.push(format!("{error:#}"));
            }
        }
        self.set_group_trouble(trouble);
    }

    pub(super) async fn keep_house(&mut self) {
        if !self.group_trouble.is_empty() {
            self.converge_groups().await;
        }
        if let Err(error) = self.world.keep_group_endpoints() {
            tracing::warn!("{error:#}");
        }
    }

    fn set_group_trouble(&mut self, trouble: Vec<String>) {
        for line in trouble.iter().filter(|line| !self.group_trouble.contains(line)) {
            tracing::warn!("will be tried again: {line}");
        }
        self.group_trouble = trouble;
    }
}

fn by_device(steps: Vec<Step>) -> Vec<(DeviceName, Vec<GroupStep>)> {
    let mut by_device: Vec<(DeviceName, Vec<GroupStep>)> = Vec::new();
    for step in steps {
        let Step::Group(device, step) = step else { continue };
        match by_device.last_mut() {
            Some((last, steps)) if *last == device => steps.push(step),
            _ => by_device.push((device, vec![step])),
        }
    }
    by_device
}
