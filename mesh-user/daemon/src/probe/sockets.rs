//! The UDP sockets on our gateway addresses: probes leave by them, and those of remotes are answered there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mesh_core::{plan::PROBE_PORT, probe::MESSAGE_LENGTH};
use tokio::{
    net::UdpSocket,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::answers::Desk;
use crate::kernel::never_fragment;

/// How long a probe waits for room in its socket.
const SEND_PATIENCE: Duration = Duration::from_millis(10);
/// Pause after a failed receive, which may fail again at once.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Sockets {
    desk: Desk,
    open: BTreeMap<IpAddr, Socket>,
    troubles: BTreeMap<IpAddr, String>,
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    receiver: JoinHandle<()>,
}

impl Sockets {
    pub(super) fn new(desk: Desk) -> Self {
        Sockets { desk, open: BTreeMap::new(), troubles: BTreeMap::new() }
    }

    /// Keeps only the sockets of these addresses, and opens those that are not open; an address may come later than its
    /// connection, so this is called again and again.
    pub(super) async fn follow(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.open.retain(|address, _| addresses.contains(address));
        self.troubles.retain(|address, _| addresses.contains(address));
        for address in addresses {
            if !self.open.contains_key(address) {
                self.bind(*address).await;
            }
        }
    }

    /// A probe that cannot be sent is a lost one.
    pub(super) async fn send(&self, from: IpAddr, to: IpAddr, payload: &[u8]) {
        let Some(known) = self.open.get(&from) else { return };
        // A new socket is not known to be writable before one waits for it; one that stays full must not hold up the others.
        let _ = timeout(SEND_PATIENCE, known.socket.send_to(payload, SocketAddr::new(to, PROBE_PORT))).await;
    }

    /// Why no probe leaves from this address.
    pub(super) fn trouble(&self, from: IpAddr) -> Option<&String> {
        self.troubles.get(&from)
    }

    async fn bind(&mut self, address: IpAddr) {
        let bound = UdpSocket::bind((address, PROBE_PORT)).await;
        let bound = bound.and_then(|socket| never_fragment(&socket, address.is_ipv4()).map(|()| socket));
        match bound {
            Ok(socket) => {
                let socket = Arc::new(socket);
                let receiver = tokio::spawn(receive(Arc::clone(&socket), self.desk.clone()));
                self.open.insert(address, Socket { socket, receiver });
                self.troubles.remove(&address);
            }
            Err(error) => {
                let trouble = trouble(address, &error);
                if self.troubles.get(&address) != Some(&trouble) {
                    tracing::warn!("{trouble}");
                }
                self.troubles.insert(address, trouble);
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

async fn receive(socket: Arc<UdpSocket>, desk: Desk) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                if let Some(answer) = desk.receive(from.ip(), &buffer[..length]) {
                    let answer: [u8; MESSAGE_LENGTH] = answer.encode();
                    let _ = socket.try_send_to(&answer, from);
                }
            }
            Err(error) => {
                tracing::debug!("probe socket: {error}");
                sleep(RECEIVE_PAUSE).await;
            }
        }
    }
}

fn trouble(from: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("no probes from {from}: UDP port {PROBE_PORT} there is in use, `ss -ulpn` shows by whom")
        }
        io::ErrorKind::AddrNotAvailable => format!("no probes from {from}: the address is not on this node yet"),
        _ => format!("no probes from {from}: {error}"),
    }
}
