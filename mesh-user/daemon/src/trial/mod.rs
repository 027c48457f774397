//! Pods that exist for a test alone: which there are, how one comes and goes.
//!
//! A trial is a network namespace without a name, which only descriptors of this process keep alive: whatever ends the
//! daemon, the kernel takes namespace, devices and routes away.

mod address;
mod checks;
mod responder;

use std::{
    collections::BTreeMap,
    fs::File,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::{
    api::{
        group::SCHEMA,
        trial::{CheckFrom, CheckReply, Trial, TrialCheck, TrialOrder},
    },
    plan::DeviceName,
};
use tokio::sync::Mutex;

use self::responder::Responder;
use crate::{
    kernel::{netlink::Netlink, netns},
    keys,
};

/// At one time.
const MOST: usize = 8;
/// At one time, over all trials: each takes a thread.
const MOST_CHECKS: usize = 8;
const LONGEST: Duration = Duration::from_secs(3_600);

/// Those of this daemon.
#[derive(Clone, Debug)]
pub struct Trials {
    netlink: Netlink,
    open: Arc<Mutex<BTreeMap<String, Open>>>,
    checks: Arc<tokio::sync::Semaphore>,
}

#[derive(Debug)]
struct Open {
    device: DeviceName,
    index: IfIndex,
    addresses: Vec<IpAddr>,
    responder: Responder,
    ends: Instant,
    /// Last, as what is in it goes first.
    namespace: Arc<File>,
}

/// Why there is no trial, or no check.
#[derive(Debug)]
pub enum Refused {
    /// What was asked for is wrong in itself.
    Invalid(String),
    /// It cannot be had here now.
    Conflict(String),
    NotFound(String),
    /// The kernel did not do it.
    Broken(anyhow::Error),
}

impl Trials {
    pub fn new(netlink: Netlink) -> Trials {
        let checks = Arc::new(tokio::sync::Semaphore::new(MOST_CHECKS));
        Trials { netlink, open: Arc::default(), checks }
    }

    /// A pod with an address of each family of `pods`, or with those that are ordered.
    pub async fn open(&self, pods: &[IpNet], order: &TrialOrder) -> Result<Trial, Refused> {
        let life = Duration::from_secs(order.life);
        if life.is_zero() || life > LONGEST {
            return Err(Refused::Invalid(format!("life is from 1 to {} seconds", LONGEST.as_secs())));
        }
        // Held until it stands, so that no two get one address.
        let mut open = self.open.lock().await;
        if open.len() >= MOST {
            return Err(Refused::Conflict(format!("{MOST} trials are open already: they end by themselves")));
        }
        let taken = self.taken().await.map_err(Refused::Broken)?;
        let addresses = address::choose(pods, &order.addresses, &taken)?;
        let (id, one) = self.start(addresses, life).await.map_err(Refused::Broken)?;
        let shown = one.shown(&id);
        tracing::info!(trial = %id, device = %one.device, addresses = ?one.addresses, "a trial begins");
        open.insert(id.clone(), one);
        drop(open);
        let (trials, own) = (self.clone(), id);
        tokio::spawn(async move {
            tokio::time::sleep(life).await;
            // It may have been closed before.
            let _ = trials.close(&own).await;
        });
        Ok(shown)
    }

    pub async fn list(&self) -> Vec<Trial> {
        self.open.lock().await.iter().map(|(id, one)| one.shown(id)).collect()
    }

    /// The trial as it was; its device is gone when this returns.
    pub async fn close(&self, id: &str) -> Result<Trial, Refused> {
        let one = self.open.lock().await.remove(id).ok_or_else(|| missing(id))?;
        let shown = one.shown(id);
        tracing::info!(trial = %id, "the trial ends");
        self.netlink.delete_link(one.index).await.map_err(Refused::Broken)?;
        Ok(shown)
    }

    /// Tries what is asked for, and says how it went.
    pub async fn check(&self, id: &str, check: TrialCheck) -> Result<CheckReply, Refused> {
        checks::validate(&check).map_err(Refused::Invalid)?;
        let namespace = match self.open.lock().await.get(id) {
            Some(one) => Arc::clone(&one.namespace),
            None => return Err(missing(id)),
        };
        let permit = Arc::clone(&self.checks).try_acquire_owned();
        let permit = permit.map_err(|_| Refused::Conflict(format!("{MOST_CHECKS} checks run already: ask again")))?;
        let work = move || {
            let path = (check.from == CheckFrom::Pod).then(|| netns::path_of(&namespace));
            let reply = netns::within(path.as_deref(), || Ok(checks::run(&check)));
            drop((namespace, permit));
            reply
        };
        let done = tokio::task::spawn_blocking(work).await.context("the check ended early");
        done.and_then(|reply| reply).map_err(Refused::Broken)
    }

    async fn start(&self, addresses: Vec<IpAddr>, life: Duration) -> Result<(String, Open)> {
        let id = keys::random_uuid()?.simple().to_string()[..4].to_owned();
        let device = DeviceName(format!("mesh-trial-{id}"));
        let namespace = Arc::new(netns::create()?);
        let path = netns::path_of(&namespace);
        let index = self.netlink.cable(&path, &device, &addresses).await?;
        let responder = netns::within(Some(&path), Responder::start)?;
        Ok((id, Open { device, index, addresses, responder, ends: Instant::now() + life, namespace }))
    }

    /// Where addresses are that a trial may not have: those of this node, and what its routes lead to.
    async fn taken(&self) -> Result<Vec<IpNet>> {
        let links = self.netlink.links().await?;
        let own = self.netlink.addresses(&links).await?;
        let routed = self.netlink.foreign_destinations().await?;
        Ok(own.iter().map(|one| IpNet::from(one.address.addr())).chain(routed).collect())
    }
}

impl Open {
    fn shown(&self, id: &str) -> Trial {
        let count = self.responder.count();
        Trial {
            schema: SCHEMA,
            id: id.to_owned(),
            device: self.device.0.clone(),
            addresses: self.addresses.clone(),
            port: self.responder.port(),
            ends_in: self.ends.saturating_duration_since(Instant::now()).as_secs(),
            datagrams: count.datagrams,
            streams: count.streams,
        }
    }
}

fn missing(id: &str) -> Refused {
    Refused::NotFound(format!("there is no trial {id:?}: it may have ended by itself"))
}
