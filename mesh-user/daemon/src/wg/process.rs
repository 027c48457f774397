//! The composition root of `mesh-wg`: one device, its socket, and what ends it. Read this first.
//!
//! Packets have threads of their own ([`crate::shard`]); all that happens here is control.

use std::{num::NonZeroUsize, path::Path};

use anyhow::{Context as _, Result};
use mesh_core::{plan::DeviceName, uapi::Outcome};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::{
    background::Caller,
    conversation::{self, Reply},
    engine::Engine,
    follow::{Follow, Seen},
    place::Place,
    socket::{DIRECTORY, Socket},
};
use crate::{
    daemon,
    kernel::{
        netlink::Netlink,
        privileges, sysctl,
        tun::{GSO_MAX_SIZE, Tun},
    },
    shard::{Event, Shards},
};

/// Of a new device: room for WireGuard over IPv6 on Ethernet.
const MTU: u16 = 1_420;
/// Requests under way; more clients wait.
const QUESTIONS: usize = 16;

/// Runs the device until it is deleted or the process is told to end.
pub(super) fn run(device: DeviceName, shards: Option<NonZeroUsize>, caller: Caller) -> Result<()> {
    // All work of this runtime is control; packets have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(async {
        let process = Process::start(device, shards).await?;
        caller.tell_ready()?;
        process.run().await
    })
}

struct Process {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    follow: Follow,
    /// As last seen.
    name: DeviceName,
    mtu: u16,
    up: bool,
    /// After it was up.
    was_down: bool,
    place: Place,
    terminate: Signal,
    interrupt: Signal,
    questions: (mpsc::Sender<Question>, mpsc::Receiver<Question>),
}

/// A request and where its reply goes.
struct Question {
    asked: Outcome,
    reply: oneshot::Sender<Reply>,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Turn,
    End,
}

impl Process {
    /// Whether the name is free is seen first, before anything is made; it is taken last, so that who finds the socket finds
    /// the device.
    async fn start(device: DeviceName, shards: Option<NonZeroUsize>) -> Result<Process> {
        // Heard from before the device can be found.
        let terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
        let directory = Path::new(DIRECTORY);
        Socket::check(directory, &device)?;
        let (shards, events) = Shards::start(shards.unwrap_or_else(Shards::default_count))?;
        // Several queues need programs that choose among them.
        let queues = if privileges::may_load_programs()? { shards.count() } else { NonZeroUsize::MIN };
        let tuns = Tun::create(&device, queues)?;
        prepare(&device).await?;
        let follow = Follow::start(&tuns[0])?;
        let engine = Engine::start(device.clone(), MTU, tuns, shards)?;
        let place = Place::take(directory, &device)?;
        tracing::info!("{device}: mesh-wg {} is ready", env!("CARGO_PKG_VERSION"));
        Ok(Process {
            engine,
            events: daemon::forward(events),
            follow,
            name: device,
            mtu: MTU,
            up: false,
            was_down: false,
            place,
            terminate,
            interrupt,
            questions: mpsc::channel(QUESTIONS),
        })
    }

    async fn run(mut self) -> Result<()> {
        // What happened before the watch was there.
        let mut next = self.look().await?;
        while next == Next::Turn {
            next = tokio::select! {
                client = self.place.accept() => {
                    let questions = self.questions.0.clone();
                    let client = conversation::hold(client, move |asked| ask(questions.clone(), asked));
                    tokio::spawn(async {
                        if let Err(error) = client.await {
                            tracing::debug!("a client of the socket was lost: {error:#}");
                        }
                    });
                    Next::Turn
                }
                Some(question) = self.questions.1.recv() => {
                    // A client that is gone needs no reply.
                    let _ = question.reply.send(self.engine.answer(question.asked));
                    Next::Turn
                }
                changed = self.follow.changed() => {
                    changed?;
                    self.look().await?
                }
                event = self.events.recv() => {
                    self.hear(event.context("the threads that carry packets ended")?).await?
                }
                _ = self.terminate.recv() => Next::End,
                _ = self.interrupt.recv() => Next::End,
            };
        }
        self.engine.notices().iter().for_each(|notice| tracing::info!("{}: {notice}", self.name));
        tracing::info!("{}: ends", self.name);
        Ok(())
    }

    /// Follows what was done to the device.
    async fn look(&mut self) -> Result<Next> {
        let (name, mtu, up) = match self.follow.look().await? {
            Some(Seen::There { name, mtu, up }) => (name, mtu, up),
            Some(Seen::Deleted) => {
                tracing::info!("{}: was deleted", self.name);
                return Ok(Next::End);
            }
            None => return Ok(Next::Turn),
        };
        // New devices are down and may speak: who brings one up shall not lose the first packet.
        if up != self.up {
            tracing::info!("{name}: is {}", if up { "up" } else { "down" });
            if !up || self.was_down {
                self.engine.set_speaking(up)?;
            }
            self.was_down |= !up;
            self.up = up;
        }
        if mtu != self.mtu {
            tracing::info!("{name}: its MTU is {mtu}");
            self.engine.set_mtu(mtu)?;
            self.mtu = mtu;
        }
        if name != self.name {
            tracing::info!("{}: is called {name} now", self.name);
            self.place.rename(&name);
            self.name = name;
        }
        Ok(Next::Turn)
    }

    async fn hear(&mut self, event: Event) -> Result<Next> {
        match event {
            // The shard saw it before the kernel told.
            Event::TunLost(_) => {
                tracing::info!("{}: was deleted", self.name);
                Ok(Next::End)
            }
            Event::SocketLost(_) => {
                if let Err(error) = self.engine.renew_sockets() {
                    tracing::error!("{}: has no sockets: {error:#}", self.name);
                }
                Ok(Next::Turn)
            }
            Event::SessionChanged(..) => Ok(Next::Turn),
        }
    }
}

async fn ask(questions: mpsc::Sender<Question>, asked: Outcome) -> Result<Reply> {
    let (reply, answer) = oneshot::channel();
    // Neither can fail while the loop runs, which is the process.
    questions.send(Question { asked, reply }).await.ok().context("the device is gone")?;
    answer.await.context("the device is gone")
}

/// As the kernel's own WireGuard devices are when they are new.
async fn prepare(device: &DeviceName) -> Result<()> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let index = links.get(device).with_context(|| format!("{device}: was deleted at once"))?.index;
    netlink.set_mtu(index, MTU.into()).await?;
    netlink.set_gso_max_size(index, GSO_MAX_SIZE).await?;
    // In a container /proc/sys is often not to be written; then the device has one address more.
    if let Err(error) = sysctl::without_link_local(device) {
        tracing::warn!("{device}: {error:#}");
    }
    Ok(())
}
