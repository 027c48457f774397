//! What is answered to a probe: who we are, what is wrong with us, and the MTU of the tunnel to whoever asks.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Instant};

use mesh_core::probe::{Faults, Kind, Message};
use tokio::sync::{mpsc, watch};

/// What every answering task reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) run: u32,
    pub(super) faults: Faults,
    /// By the addresses that remotes probe from, as we call them.
    pub(super) askers: BTreeMap<IpAddr, Asker>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) mtu: u16,
    /// The responder as this one knows it, where it is asked for by that address of ours.
    pub(super) responder: (IpAddr, IpAddr),
}

/// A reply to one of our probes.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) from: IpAddr,
    pub(super) message: Message,
    pub(super) at: Instant,
}

/// What a task that receives needs.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) answers: watch::Receiver<Arc<Answers>>,
    pub(super) replies: mpsc::Sender<Reply>,
}

impl Desk {
    /// Takes one payload: passes a reply on, and says what to answer to a request. Anything else gets no answer.
    pub(super) fn receive(&self, from: IpAddr, payload: &[u8]) -> Option<Message> {
        let at = Instant::now();
        let message = Message::decode(payload)?;
        match message.kind {
            Kind::Reply => {
                // More than what fits is lost, as on any network.
                let _ = self.replies.try_send(Reply { from, message, at });
                None
            }
            Kind::Request => {
                let answers = self.answers.borrow();
                let mtu = answers.askers.get(&from).map_or(0, |asker| asker.mtu);
                Some(Message { kind: Kind::Reply, mtu, run: answers.run, faults: answers.faults, ..message })
            }
        }
    }
}
