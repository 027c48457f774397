//! The DNS server of a node: names of the network groups that it is in.
//!
//! One thread answers datagrams ([`datagrams`]); another has the rest: sockets that come and go with network namespaces
//! ([`doors`]), streams ([`streams`]), questions for other servers ([`forward`]) and the registration with the machine's
//! resolver ([`resolved`]). What is answered is decided in [`mesh_core::dns`].

mod datagrams;
mod doors;
mod forward;
mod resolved;
mod streams;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use anyhow::{Context as _, Result};
use mesh_core::{
    dns::{LocalGroups, Options, Zones},
    model::{DnsSettings, Settings, group::DomainName},
};
use tokio::sync::{oneshot, watch};

use doors::Doors;
use forward::Forwarder;
use resolved::{Registration, Resolver};

/// How often it is seen whether a namespace, a device or the resolver has come or gone.
const LOOK: Duration = Duration::from_secs(2);

/// A running server.
#[derive(Debug)]
pub struct Server {
    notices: watch::Receiver<Vec<String>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the server, which follows `groups` until it is dropped. The sockets come a little later.
pub fn start(settings: &Settings, groups: watch::Receiver<Arc<LocalGroups>>) -> Result<Server> {
    serve(&settings.dns, &settings.groups.suffixes, groups, Resolver::of_this_machine())
}

fn serve(
    settings: &DnsSettings,
    suffixes: &[DomainName],
    groups: watch::Receiver<Arc<LocalGroups>>,
    resolver: Resolver,
) -> Result<Server> {
    let options = Options {
        suffixes: suffixes.to_vec(),
        ttl: settings.ttl,
        servers: settings.listen.iter().map(|listen| listen.ip()).collect(),
        forwards: !settings.forward.is_empty(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make the event loop of the DNS server")?;
    let (notices, notice_reader) = watch::channel(Vec::new());
    let (stop, stopped) = oneshot::channel();
    let zones = Zones::new(&options);
    let registration = Registration::new(resolver, settings, suffixes);
    let (settings, datagrams) = (settings.clone(), datagrams::Thread::start()?);
    let work = move || {
        runtime.block_on(async {
            let forwarder = Forwarder::start(&settings.forward);
            let doors = Doors::new(&settings.listen, datagrams, forwarder);
            let node = Node { zones, doors, registration, notices };
            node.run(groups, stopped).await;
        });
    };
    let thread =
        std::thread::Builder::new().name("dns".to_owned()).spawn(work).context("cannot start the DNS server")?;
    Ok(Server { notices: notice_reader, stop: Some(stop), thread: Some(thread) })
}

impl Server {
    /// What an operator should know or do, as long as it is so.
    pub fn notices(&self) -> watch::Receiver<Vec<String>> {
        self.notices.clone()
    }
}

/// Withdraws the registration and closes the sockets.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the DNS server has panicked");
        }
    }
}

/// The part that knows the whole.
struct Node {
    zones: Zones,
    doors: Doors,
    registration: Registration,
    notices: watch::Sender<Vec<String>>,
}

impl Node {
    async fn run(mut self, mut groups: watch::Receiver<Arc<LocalGroups>>, mut stopped: oneshot::Receiver<()>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let local = Arc::clone(&groups.borrow_and_update());
            self.zones.update(&local);
            let mut notices = self.doors.follow(&local, &self.zones);
            notices.extend(self.registration.follow().await);
            self.publish(notices);
            tokio::select! {
                // When whoever published them is gone, what was said last holds.
                Ok(()) = groups.changed() => {}
                _ = looks.tick() => {}
                _ = &mut stopped => break,
            }
        }
        self.registration.withdraw().await;
    }

    fn publish(&self, notices: Vec<String>) {
        self.notices.send_if_modified(|known| {
            let changed = *known != notices;
            if changed {
                for notice in notices.iter().filter(|notice| !known.contains(notice)) {
                    tracing::info!("{notice}");
                }
                *known = notices;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests;
