//! What does this node run in network groups, and does everybody know it? Instances and joins become registered peers;
//! registered peers become the tunnels that the control loop makes.
//!
//! The agent alone changes what is undertaken ([`ledger`]). It registers in its own store or with a hub ([`home`],
//! [`mirror`]), goes on with what it knows while a hub is away, and tells the control loop, the DNS server and the API what
//! there is ([`local`]).

mod blocks;
mod home;
mod joins;
mod lease;
mod ledger;
pub mod local;
mod mirror;
mod publication;
mod registration;
mod wanted;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mesh_client::{Client, Contexts};
use mesh_core::{
    api::node::Server,
    dns::LocalGroups,
    model::{
        Instance, Settings,
        group::{NodeId, PeerId},
    },
    plan::{GroupPlan, PublicKey},
    registry::{Registry, Revision},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

pub use home::{Home, Trouble};
use joins::Asked;
pub use joins::{Agency, Undertaken};
use lease::{Lease, Renewal};
use ledger::{IsJoin, Ledger};
pub use ledger::{Kept, Purpose};
use local::Local;
use mirror::{Filter, Mirror, Sight};
use registration::{Attempt, Outcome};
use wanted::Presence;

use crate::{
    control::{WantedBlocks, WantedGroups, WantedObjects},
    kernel::netns,
    registrar::Registrar,
    settings::node_id,
    state::StateDirectory,
};
use home::Desk;

/// How often namespaces are looked at, and failed registrations tried again.
const TICK: Duration = Duration::from_millis(300);
const QUEUE: usize = 64;

/// Where the agent tells what there is.
#[derive(Debug, Default)]
pub struct Outlets {
    pub tunnels: watch::Sender<WantedGroups>,
    pub names: watch::Sender<Arc<LocalGroups>>,
    pub locals: watch::Sender<Arc<Vec<Arc<Local>>>>,
    pub blocks: watch::Sender<WantedBlocks>,
    /// Of the hub of the settings; never told where there is none.
    pub objects: watch::Sender<WantedObjects>,
}

#[derive(Debug)]
pub struct Agent {
    node: NodeId,
    hostname: String,
    advertise: Option<IpAddr>,
    ports: RangeInclusive<u16>,
    mtu: u16,
    instances: Vec<Instance>,
    /// Of instances, and of joins that name no other.
    home: Home,
    offices: Vec<Office>,
    registrar: Registrar,
    state: StateDirectory,
    ledger: Ledger,
    /// Public ones.
    keys: BTreeMap<PeerId, PublicKey>,
    attempts: BTreeMap<PeerId, Attempt>,
    /// Peers that were registered and are not there, since when.
    absent: BTreeMap<PeerId, Revision>,
    /// Who waits for the registration of a peer, to hear that it was refused.
    waiting: BTreeMap<PeerId, Vec<oneshot::Sender<Trouble>>>,
    /// What has no peer yet, and why.
    lacking: Vec<(Purpose, String)>,
    /// What was told last of the agent's own trouble; empty: it has none.
    trouble: String,
    presence: Presence,
    plan: GroupPlan,
    outlets: Outlets,
    outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    renewals: (mpsc::Sender<Renewal>, mpsc::Receiver<Renewal>),
    asked: mpsc::Receiver<Asked>,
    wake: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// A store and the way to it.
#[derive(Debug)]
struct Office {
    home: Home,
    desk: Desk,
    follows: Follows,
    lease: Lease,
    waking: AbortHandle,
}

#[derive(Debug)]
enum Follows {
    Own(watch::Receiver<Arc<Registry>>),
    Hub(Mirror),
}

impl Agent {
    /// What asks the agent comes through the [`Agency`].
    pub fn new(
        settings: &Settings,
        registrar: Registrar,
        state: StateDirectory,
        outlets: Outlets,
    ) -> Result<(Agent, Agency)> {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let node = node_id(settings);
        let home = match &settings.hub {
            None => Home::Own,
            Some(name) => Home::Hub(server(&settings.directories.contexts, name)?),
        };
        let mut ledger = Ledger::open(state.clone())?;
        // A join may have been asked for with another certificate, which is as good as long as it is there.
        ledger.move_to(&home, |purpose, IsJoin(is_join)| !is_join || purpose.home.is_lost());
        ledger.save_rest()?;
        let (asking, asked) = mpsc::channel(QUEUE);
        let agency = Agency::new(asking, outlets.locals.subscribe());
        let agent = Agent {
            node,
            hostname,
            advertise: settings.advertise,
            ports: settings.groups.ports.clone(),
            mtu: settings.groups.mtu,
            instances: settings.instances.clone(),
            home,
            offices: Vec::new(),
            registrar,
            ledger,
            state,
            keys: BTreeMap::new(),
            attempts: BTreeMap::new(),
            absent: BTreeMap::new(),
            waiting: BTreeMap::new(),
            lacking: Vec::new(),
            trouble: String::new(),
            presence: Presence::default(),
            plan: GroupPlan::default(),
            outlets,
            outcomes: mpsc::channel(QUEUE),
            renewals: mpsc::channel(QUEUE),
            asked,
            wake: mpsc::channel(1),
        };
        Ok((agent, agency))
    }

    /// Until the daemon ends.
    pub async fn run(mut self) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.take_stock();
        loop {
            let must_act = tokio::select! {
                Some(()) = self.wake.1.recv() => true,
                Some(outcome) = self.outcomes.1.recv() => {
                    self.hear(outcome);
                    true
                }
                Some(renewal) = self.renewals.1.recv() => {
                    self.hear_renewal(renewal);
                    true
                }
                Some(asked) = self.asked.recv() => {
                    self.answer(asked);
                    true
                }
                _ = tick.tick() => self.has_news(),
            };
            if must_act {
                self.act();
            }
        }
    }

    /// Something changed that nobody tells.
    fn has_news(&mut self) -> bool {
        let paths = self.paths();
        let is_due = self.is_attempt_due() || self.is_renewal_due();
        self.presence.look(&paths) || is_due || self.ledger.is_unsaved() || !self.lacking.is_empty()
    }

    fn take_stock(&mut self) {
        let paths = self.paths();
        self.presence.look(&paths);
        self.act();
    }

    fn paths(&self) -> Vec<PathBuf> {
        let instances = self.instances.iter().filter_map(|instance| instance.netns.clone());
        let joins = self.ledger.joins.iter().filter_map(|joined| joined.purpose.netns.clone());
        instances.chain(joins).collect()
    }

    /// From what is known now to what shall be.
    fn act(&mut self) {
        self.open_offices();
        // A full disk, say: nothing is registered that could not be kept; the next tick tries again.
        let kept = self.keep_book().and_then(|()| self.register());
        let trouble = kept.err().map(|error| format!("{error:#}")).unwrap_or_default();
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::error!("the agent of network groups: {trouble}");
        }
        self.trouble = trouble;
        self.renew();
        self.publish();
    }

    /// The stores that are of concern.
    fn homes(&self) -> Vec<Home> {
        let mut homes = vec![self.home.clone()];
        let undertaken = self.ledger.joins.iter().map(|joined| &joined.purpose.home);
        for home in undertaken.chain(self.ledger.peers.iter().map(|kept| &kept.purpose.home)) {
            if !homes.contains(home) {
                homes.push(home.clone());
            }
        }
        homes
    }

    /// One for each of them.
    fn open_offices(&mut self) {
        let homes = self.homes();
        self.offices.retain(|office| homes.contains(&office.home));
        for home in homes {
            if self.office(&home).is_none()
                && let Err(trouble) = self.open_office(&home)
            {
                tracing::error!(hub = home.shown(), "{trouble}");
            }
        }
        for office in &self.offices {
            if let Follows::Hub(mirror) = &office.follows {
                mirror.set_filter(self.filter(&office.home));
            }
        }
    }

    fn open_office(&mut self, home: &Home) -> Result<(), Trouble> {
        let (desk, follows, waking) = match home {
            Home::Own => {
                let registry = self.registrar.registry();
                let waking = wake_on(registry.clone(), self.wake.0.clone());
                (Desk::Own(self.registrar.clone()), Follows::Own(registry), waking)
            }
            Home::Hub(server) => {
                let client = Client::new(server)?;
                let mirror = Mirror::start(client.clone(), server.clone(), self.state.clone());
                let waking = wake_on(mirror.sight.clone(), self.wake.0.clone());
                (Desk::Hub(client), Follows::Hub(mirror), waking)
            }
        };
        self.offices.push(Office { home: home.clone(), desk, follows, lease: Lease::new(), waking });
        Ok(())
    }

    fn office(&self, home: &Home) -> Option<&Office> {
        self.offices.iter().find(|office| office.home == *home)
    }

    fn sight(&self, home: &Home) -> Sight {
        self.office(home).map(Office::sight).unwrap_or_default()
    }

    /// What a hub has to tell us.
    fn filter(&self, home: &Home) -> Filter {
        let mut filter = Filter { objects: *home == self.home, ..Filter::default() };
        for purpose in self.ledger.joins.iter().map(|joined| &joined.purpose).chain(self.purposes_of_peers()) {
            if purpose.home == *home {
                filter.orgs.insert(purpose.org.clone());
                filter.groups.insert(purpose.group.clone());
            }
        }
        // Blocks are told of these alone, as soon as there is one.
        let joined = self.ledger.joins.iter().filter(|joined| joined.purpose.home == *home);
        filter.members.extend(joined.map(|joined| joined.purpose.member.clone()));
        if *home == self.home {
            for instance in &self.instances {
                filter.orgs.insert(instance.org.clone());
                filter.members.insert(instance.member.clone());
            }
        }
        filter
    }

    fn purposes_of_peers(&self) -> impl Iterator<Item = &Purpose> {
        // A group of an instance comes by its member, until it is to be deleted.
        let is_by_member = |kept: &Kept| {
            self.instances.iter().any(|instance| instance.member == kept.purpose.member)
                && kept.purpose.home == self.home
        };
        self.ledger.peers.iter().filter(move |kept| !is_by_member(kept)).map(|kept| &kept.purpose)
    }
}

impl Office {
    fn sight(&self) -> Sight {
        match &self.follows {
            Follows::Own(registry) => Sight {
                registry: Arc::clone(&registry.borrow()),
                is_informed: true,
                is_current: true,
                is_reachable: true,
                trouble: String::new(),
            },
            Follows::Hub(mirror) => mirror.sight.borrow().clone(),
        }
    }
}

/// The own store outlives its office.
impl Drop for Office {
    fn drop(&mut self) {
        self.waking.abort();
    }
}

/// Wake-ups merge. Ends with the sender of values, or with the agent.
fn wake_on<T: Send + Sync + 'static>(mut values: watch::Receiver<T>, wake: mpsc::Sender<()>) -> AbortHandle {
    let waking = tokio::spawn(async move {
        while values.changed().await.is_ok() {
            if matches!(wake.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    });
    waking.abort_handle()
}

fn server(contexts: &Path, name: &str) -> Result<Server> {
    let known = Contexts::load(contexts)?;
    let found = known.find(name, contexts).context("the setting `hub`")?;
    Ok(found.server())
}
