//! On which sockets, in which network namespaces, is the server to be reached?

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use mesh_core::dns::{LocalGroups, View, Zones};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{sync::watch, task::AbortHandle};

use super::{datagrams, forward::Forwarder, streams};
use crate::kernel::{
    self,
    datagrams::DatagramSocket,
    netns::{self, Identity},
};

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

pub(super) struct Doors {
    listen: Vec<SocketAddr>,
    datagrams: datagrams::Thread,
    forwarder: Option<Forwarder>,
    rooms: BTreeMap<Option<PathBuf>, Room>,
}

/// One network namespace.
struct Room {
    /// `None`: this one.
    identity: Option<Identity>,
    views: watch::Sender<Arc<View>>,
    open: BTreeMap<SocketAddr, Open>,
}

/// The sockets of one address; the stream's part ends when dropped.
struct Open {
    door: Arc<datagrams::Door>,
    streams: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.abort();
    }
}

impl Doors {
    pub(super) fn new(listen: &[SocketAddr], datagrams: datagrams::Thread, forwarder: Option<Forwarder>) -> Doors {
        Doors { listen: listen.to_vec(), datagrams, forwarder, rooms: BTreeMap::new() }
    }

    /// Opens what is missing, closes what is no longer wanted, shows everybody what is there now; what could not be opened.
    pub(super) fn follow(&mut self, groups: &LocalGroups, zones: &Zones) -> Vec<String> {
        let wanted: BTreeSet<Option<PathBuf>> = groups.by_netns.keys().cloned().chain([None]).collect();
        let before = self.rooms.len();
        // Its sockets would keep a namespace alive that others think is gone.
        self.rooms.retain(|netns, room| wanted.contains(netns) && identity(netns) == Some(room.identity));
        let mut changed = self.rooms.len() != before;
        let mut notices = Vec::new();
        for netns in wanted {
            let Some(identity) = identity(&netns) else { continue };
            let view = zones.view(&netns);
            let room = self.rooms.entry(netns.clone()).or_insert_with(|| Room::new(identity, &view));
            room.show(view);
            for address in &self.listen {
                if room.open.contains_key(address) {
                    continue;
                }
                match open(&netns, *address, &room.views, self.forwarder.as_ref()) {
                    Ok(open) => {
                        tracing::info!("DNS: answers on {address} in {}", netns::shown(netns.as_ref()));
                        room.open.insert(*address, open);
                        changed = true;
                    }
                    Err(error) => notices.push(format!("DNS: {error:#}; see `listen` of [dns] in meshd.toml")),
                }
            }
        }
        if changed {
            let open = self.rooms.values().flat_map(|room| room.open.values());
            self.datagrams.serve(open.map(|open| Arc::clone(&open.door)).collect());
        }
        notices
    }
}

impl Room {
    fn new(identity: Option<Identity>, view: &Arc<View>) -> Room {
        Room { identity, views: watch::Sender::new(Arc::clone(view)), open: BTreeMap::new() }
    }

    fn show(&self, view: Arc<View>) {
        self.views.send_if_modified(|known| {
            let other = !Arc::ptr_eq(known, &view);
            *known = view;
            other
        });
    }
}

/// `None`: there is no such namespace. Of our own there is no need to know more.
fn identity(netns: &Option<PathBuf>) -> Option<Option<Identity>> {
    match netns {
        None => Some(None),
        Some(path) => netns::identity(path).map(Some),
    }
}

fn open(
    netns: &Option<PathBuf>,
    address: SocketAddr,
    views: &watch::Sender<Arc<View>>,
    forwarder: Option<&Forwarder>,
) -> Result<Open> {
    let place = || format!("cannot listen on {address} in {}", netns::shown(netns.as_ref()));
    let sockets = || {
        let datagrams = DatagramSocket::bind(address).context("UDP")?;
        Ok((datagrams, listen(address).context("TCP")?))
    };
    let (socket, listener) = netns::within(netns.as_deref(), sockets).with_context(place)?;
    let listener = tokio::net::TcpListener::from_std(listener).with_context(place)?;
    let door = datagrams::Door::new(socket, views.subscribe(), forwarder.cloned());
    let task = tokio::spawn(streams::serve(listener, views.subscribe(), forwarder.cloned()));
    Ok(Open { door: Arc::new(door), streams: task.abort_handle() })
}

/// As [`DatagramSocket::bind`], for streams.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    kernel::free_bind(&socket, address)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
