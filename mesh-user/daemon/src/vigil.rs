//! How a worker asks the gateway nodes of its cluster whether they are there, and how these answer: UDP over the cluster's own
//! network.
//!
//! Who counts as gone is decided in `mesh_core::vigil`.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use mesh_core::{
    plan::Plan,
    vigil::{LOST, MESSAGE_LEN, Message, PERIOD, PORT, Vigil},
};
use tokio::{
    io::Interest,
    sync::watch,
    time::{sleep, sleep_until},
};

use crate::kernel::udp::{Family, Received, Transmit, UdpSockets};

/// Between two attempts to get the port.
const RETRY: Duration = Duration::from_secs(5);
/// Receives from one socket before others have their turn: anybody may send.
const BUDGET: usize = 64;

/// Gateway nodes that do not answer.
pub type Silent = BTreeSet<IpAddr>;

/// Asks the gateway nodes for ever; without any it says that nobody is silent.
pub fn ask(nodes: &[IpAddr]) -> Result<watch::Receiver<Silent>> {
    let (publish, silent) = watch::channel(Silent::new());
    if nodes.is_empty() {
        // Who waits for news waits for ever, and not in vain: nothing changes.
        tokio::spawn(async move { publish.closed().await });
        return Ok(silent);
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = u64::try_from(since_epoch.as_nanos()).unwrap_or(0);
    let asker = Asker {
        post: Post::bind(0).context("bind a UDP port to ask the gateway nodes from")?,
        vigil: Vigil::new(nodes.iter().copied(), Instant::now(), first),
    };
    tokio::spawn(asker.run(publish));
    Ok(silent)
}

/// Answers while this node has connections: workers can do nothing with a gateway node that has none.
pub async fn answer(mut plans: watch::Receiver<Arc<Plan>>) {
    loop {
        while plans.borrow_and_update().connections.is_empty() {
            if plans.changed().await.is_err() {
                return;
            }
        }
        let ended = match Post::bind(PORT) {
            Ok(post) => serve(&post, &mut plans).await,
            Err(error) => Err(io::Error::other(format!("{error:#}"))),
        };
        if let Err(error) = ended {
            tracing::warn!("workers of this cluster get no answer from this gateway node: {error}");
            sleep(RETRY).await;
        }
    }
}

struct Asker {
    post: Post,
    vigil: Vigil,
}

impl Asker {
    async fn run(mut self, publish: watch::Sender<Silent>) {
        loop {
            let now = Instant::now();
            self.tell(now, &publish);
            for (address, question) in self.vigil.poll_round(now) {
                // What cannot be sent is not answered either.
                let _ = self.post.send((address, PORT).into(), None, Message::Ask(question));
            }
            let heard = tokio::select! {
                () = publish.closed() => return,
                () = sleep_until(self.vigil.poll_timeout().into()) => Ok(Vec::new()),
                heard = self.post.hear() => heard,
            };
            match heard {
                Ok(messages) => messages.into_iter().for_each(|(message, _)| {
                    if let Message::Answer(question) = message {
                        self.vigil.answered(question);
                    }
                }),
                Err(error) => {
                    tracing::warn!("the gateway nodes cannot be heard: {error}");
                    sleep(PERIOD).await;
                }
            }
        }
    }

    fn tell(&self, now: Instant, publish: &watch::Sender<Silent>) {
        let silent = self.vigil.silent(now);
        publish.send_if_modified(|known| {
            if *known == silent {
                return false;
            }
            for node in silent.difference(known) {
                tracing::warn!(%node, "the gateway node owes {LOST} answers: what pods send to remotes goes to the others");
            }
            for node in known.difference(&silent) {
                tracing::info!(%node, "the gateway node answers again");
            }
            known.clone_from(&silent);
            true
        });
    }
}

/// Until there is no connection any more.
async fn serve(post: &Post, plans: &mut watch::Receiver<Arc<Plan>>) -> io::Result<()> {
    loop {
        let heard = tokio::select! {
            changed = plans.changed() => {
                if changed.is_err() || plans.borrow_and_update().connections.is_empty() {
                    return Ok(());
                }
                continue;
            }
            heard = post.hear() => heard?,
        };
        for (message, received) in heard {
            if let Message::Ask(question) = message {
                // The answer leaves from the address that was asked.
                let _ = post.send(received.from, received.to, Message::Answer(question));
            }
        }
    }
}

/// The sockets of one port.
struct Post {
    sockets: UdpSockets,
    /// The same ones, as the runtime waits for them.
    ears: Vec<(Family, tokio::net::UdpSocket)>,
}

impl Post {
    fn bind(port: u16) -> Result<Post> {
        let sockets = UdpSockets::bind(port)?;
        let mut ears = Vec::new();
        for family in [Family::V4, Family::V6] {
            if let Some(socket) = sockets.of(family) {
                let twin = socket.as_fd().try_clone_to_owned().context("double a descriptor")?;
                ears.push((family, tokio::net::UdpSocket::from_std(twin.into()).context("wait for a UDP socket")?));
            }
        }
        Ok(Post { sockets, ears })
    }

    fn send(&self, to: SocketAddr, from: Option<IpAddr>, message: Message) -> io::Result<()> {
        let socket = self.sockets.towards(&to).ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.send(&Transmit { to, from, tos: 0, segment: None, payload: &message.bytes() })
    }

    /// Waits for messages, and gives all that are there.
    async fn hear(&self) -> io::Result<Vec<(Message, Received)>> {
        let heard = self.ears.iter().map(|(family, ear)| Box::pin(self.drain(*family, ear)));
        futures_util::future::select_all(heard).await.0
    }

    async fn drain(&self, family: Family, ear: &tokio::net::UdpSocket) -> io::Result<Vec<(Message, Received)>> {
        ear.readable().await?;
        let socket = self.sockets.of(family).ok_or(io::ErrorKind::AddrNotAvailable)?;
        // Several that came as one are told apart by their length; one of another length is none of ours.
        let mut buffer = [0; MESSAGE_LEN * 64];
        let mut heard = Vec::new();
        for _ in 0..BUDGET {
            match ear.try_io(Interest::READABLE, || socket.receive(&mut buffer)) {
                Ok(received) => {
                    let messages = buffer[..received.len].chunks(received.segment.max(1)).filter_map(Message::parse);
                    heard.extend(messages.map(|message| (message, received)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                // Of an earlier question, such as to a port that nobody has.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mesh_common::ids::ConnectionId;
    use mesh_core::{
        plan::{Connection, DeviceName, Transport},
        probe::Thresholds,
    };
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const NODES: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(127, 78, 0, 1))];

    fn plan(has_connection: bool) -> Arc<Plan> {
        let mut plan = Plan::default();
        if has_connection {
            let transport = Transport::WireguardServer { device: DeviceName("mesh-x".to_owned()) };
            let connection = Connection {
                name: "default/x".to_owned(),
                remote: "x".to_owned(),
                transport,
                probe: None,
                paths: Vec::new(),
                thresholds: Thresholds::default(),
            };
            plan.connections.insert(ConnectionId(1), connection);
        }
        Arc::new(plan)
    }

    #[tokio::test]
    async fn a_gateway_node_answers_while_it_has_connections() {
        let (plans, receiver) = watch::channel(plan(false));
        tokio::spawn(answer(receiver));
        let mut silent = ask(&NODES).unwrap();
        let begin = Instant::now();
        timeout(SOON, silent.wait_for(|silent| !silent.is_empty())).await.unwrap().unwrap();
        assert!(begin.elapsed() < Duration::from_millis(1_500), "{:?}", begin.elapsed());
        plans.send(plan(true)).unwrap();
        timeout(SOON, silent.wait_for(Silent::is_empty)).await.unwrap().unwrap();
        plans.send(plan(false)).unwrap();
        timeout(SOON, silent.wait_for(|silent| !silent.is_empty())).await.unwrap().unwrap();
    }
}
