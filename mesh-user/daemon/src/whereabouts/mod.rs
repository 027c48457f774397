//! Where gateways are, as far as only others can say: what DNS names stand for, and at which address this node is reached.
//!
//! Both are asked again and again. A question that fails leaves the last answer as it is.

mod command;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use mesh_core::{
    model::{Gateway, GatewayServer, Host, ServiceType, ValidIntent},
    plan::NodeFacts,
};
use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

/// A name is asked for often while its gateway is new, and seldom afterwards, as in Liqo.
const OFTEN: Duration = Duration::from_secs(5);
const NEW: Duration = Duration::from_secs(600);
const SELDOM: Duration = Duration::from_secs(300);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the control loop wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    names: BTreeSet<String>,
    /// The address of this node.
    own: bool,
}

/// The answers so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    names: BTreeMap<String, Vec<IpAddr>>,
    own: Option<Result<Vec<Host>, String>>,
}

/// One who asks, and where the answers are.
#[derive(Debug)]
pub struct Whereabouts {
    wanted: watch::Sender<Wanted>,
    found: watch::Receiver<Found>,
}

enum Answer {
    Name(String, Result<Vec<IpAddr>>),
    Own(Result<Vec<Host>>),
}

/// When a question was first asked, and when it is asked next.
#[derive(Clone, Copy, Debug)]
struct Asked {
    first: Instant,
    next: Instant,
}

impl Whereabouts {
    /// `command` prints the addresses of this node; empty: nobody asks it. Asks until the loop that wants to know is gone.
    pub fn start(command: Vec<String>) -> Whereabouts {
        let (wanted, wants) = watch::channel(Wanted::default());
        let (finds, found) = watch::channel(Found::default());
        tokio::spawn(ask(wants, finds, command));
        Whereabouts { wanted, found }
    }

    pub fn answers(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// What a plan for `intent` has to know from now on.
    pub fn want(&self, intent: &ValidIntent) {
        let gateways = || intent.remotes.values().filter_map(|remote| remote.gateway.as_ref());
        let names = gateways().flat_map(Gateway::names).map(str::to_owned).collect();
        let is_balanced = |gateway: &Gateway| {
            matches!(gateway, Gateway::Server(GatewayServer { service: Some(ServiceType::LoadBalancer), .. }))
        };
        let wanted = Wanted { names, own: gateways().any(is_balanced) };
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Adds the answers.
    pub fn tell(&self, facts: &mut NodeFacts) {
        let found = self.found.borrow();
        facts.names.clone_from(&found.names);
        facts.advertised.clone_from(&found.own);
    }
}

async fn ask(mut wants: watch::Receiver<Wanted>, finds: watch::Sender<Found>, command: Vec<String>) {
    let (answer, mut answers) = mpsc::channel(16);
    let mut names: BTreeMap<String, Asked> = BTreeMap::new();
    let mut own: Option<Asked> = None;
    loop {
        let (now, wanted) = (Instant::now(), wants.borrow_and_update().clone());
        names.retain(|name, _| wanted.names.contains(name));
        for name in &wanted.names {
            let asked = names.entry(name.clone()).or_insert(Asked { first: now, next: now });
            if asked.is_due(now) {
                tokio::spawn(resolve(name.clone(), answer.clone()));
            }
        }
        own = own.filter(|_| wanted.own);
        if wanted.own && !command.is_empty() && own.get_or_insert(Asked { first: now, next: now }).is_due(now) {
            tokio::spawn(ask_command(command.clone(), answer.clone()));
        }
        let next = names.values().chain(&own).map(|asked| asked.next).min();
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            Some(answer) = answers.recv() => take(answer, &finds, &wanted),
            () = sleep_until(next.unwrap_or(now + SELDOM)) => {}
        }
    }
}

impl Asked {
    /// The time has come; the next one is set.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + if now < self.first + NEW { OFTEN } else { SELDOM };
        true
    }
}

async fn resolve(name: String, answer: mpsc::Sender<Answer>) {
    let found = timeout(PATIENCE, lookup_host((name.as_str(), 0))).await;
    let found = found.context("no answer in time").and_then(|found| found.context("the resolver"));
    // In one order, whatever order the server tells them in.
    let found = found.map(|all| all.map(|at: SocketAddr| at.ip()).collect::<BTreeSet<_>>().into_iter().collect());
    let _ = answer.send(Answer::Name(name, found)).await;
}

async fn ask_command(command: Vec<String>, answer: mpsc::Sender<Answer>) {
    let ran = tokio::task::spawn_blocking(move || command::addresses(&command, PATIENCE)).await;
    let said = ran.context("the command was given up").and_then(|said| said);
    let _ = answer.send(Answer::Own(said)).await;
}

fn take(answer: Answer, finds: &watch::Sender<Found>, wanted: &Wanted) {
    finds.send_if_modified(|found| {
        let before = found.clone();
        match answer {
            Answer::Name(name, Ok(addresses)) if !addresses.is_empty() => {
                if found.names.get(&name) != Some(&addresses) {
                    tracing::info!(name, ?addresses, "the name of a gateway was resolved");
                }
                found.names.insert(name, addresses);
            }
            Answer::Name(name, Ok(_)) => tracing::warn!(name, "the name of a gateway stands for no address"),
            Answer::Name(name, Err(error)) => tracing::warn!(name, "the name of a gateway is not known: {error:#}"),
            Answer::Own(Ok(hosts)) => found.own = Some(Ok(hosts)),
            Answer::Own(Err(error)) => {
                if !matches!(found.own, Some(Ok(_))) {
                    found.own = Some(Err(format!("{error:#}")));
                }
                tracing::warn!("gateway.advertise_command: {error:#}");
            }
        }
        found.names.retain(|name, _| wanted.names.contains(name));
        *found != before
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_often_at_first() {
        let start = Instant::now();
        let mut asked = Asked { first: start, next: start };
        let mut times = Vec::new();
        for second in 0..1_300 {
            let now = start + Duration::from_secs(second);
            if asked.is_due(now) {
                times.push(second);
            }
        }
        assert_eq!(times[..3], [0, 5, 10]);
        assert_eq!(times[118..], [590, 595, 600, 900, 1200]);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_found_and_what_is_not_wanted_is_forgotten() {
        let (finds, found) = watch::channel(Found::default());
        let (wants, wanted) = watch::channel(Wanted { names: ["localhost".to_owned()].into(), own: true });
        tokio::spawn(ask(wanted, finds, vec!["/bin/echo".to_owned(), "192.0.2.7 gw.example".to_owned()]));
        let mut found = found;
        let is_told = |found: &Found| found.own.is_some() && found.names.contains_key("localhost");
        let told = timeout(PATIENCE, found.wait_for(is_told)).await.unwrap().unwrap().clone();
        assert!(told.names["localhost"].iter().all(IpAddr::is_loopback), "{told:?}");
        let hosts = ["192.0.2.7", "gw.example"].map(|text| text.parse().unwrap());
        assert_eq!(told.own, Some(Ok(hosts.to_vec())));
        // Another answer comes with the next question.
        wants.send(Wanted { names: ["127.0.0.9".to_owned()].into(), own: false }).unwrap();
        let is_other = |found: &Found| found.names.keys().eq(["127.0.0.9"]);
        timeout(PATIENCE, found.wait_for(is_other)).await.unwrap().unwrap();
    }
}
