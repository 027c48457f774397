//! How messages get to the shard that has their session, where many peers share one port.
//!
//! A program of the kernel brings a message to the socket that its receiver index names. Three kinds come elsewhere: who
//! asks for a session names none; datagrams of several sessions that the kernel received as one go where the first one
//! belongs; and what came while sockets were replaced. They are passed on through a bounded queue.

use std::{
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use mesh_common::{
    datapath::DropReason,
    spread::queue_of,
    wire::wireguard::{INITIATION, INITIATION_LEN},
};
use mesh_core::tunnel::{Caller, Identified, Lane, Opened};

use super::tunnel::{Bench, HEADROOM, MAX_PACKET, Tunnel};
use crate::kernel::udp::Received;

/// Letters under way to one lane, and sheets that one has for letters of its own.
const LETTERS: usize = 32;

/// What one lane passes on to another.
pub(super) enum Letter {
    /// Datagrams of one receive, on a sheet of the sender's.
    Datagrams { received: Received, sheet: Box<[u8]>, sender: Lane },
    /// Somebody who asks for a session.
    Call { received: Received, caller: Box<Caller> },
}

/// Where letters for a lane are thrown in.
#[derive(Debug)]
pub(super) struct Door {
    letters: SyncSender<Letter>,
    sheets: SyncSender<Box<[u8]>>,
    wake: Arc<OwnedFd>,
}

/// Where a lane finds its letters, and its sheets when they were read.
pub(super) struct Inbox {
    letters: Receiver<Letter>,
    sheets: Receiver<Box<[u8]>>,
}

impl Door {
    /// `wake` is what the lane's shard waits for. All sheets are there from the start: none is allocated for a letter.
    pub(super) fn new(wake: Arc<OwnedFd>) -> (Door, Inbox) {
        let (letters, inbox) = sync_channel(LETTERS);
        let (sheets, blank) = sync_channel(LETTERS);
        for _ in 0..LETTERS {
            sheets.try_send(vec![0; MAX_PACKET].into_boxed_slice()).expect("there is room for all sheets");
        }
        (Door { letters, sheets, wake }, Inbox { letters: inbox, sheets: blank })
    }

    /// Gives the letter back if there is no room for it.
    fn throw_in(&self, letter: Letter) -> Result<(), Letter> {
        self.letters.try_send(letter).map_err(|error| match error {
            TrySendError::Full(letter) | TrySendError::Disconnected(letter) => letter,
        })?;
        // The only failure of a valid eventfd is a full counter, and then the shard is awake anyway.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        Ok(())
    }

    fn give_back(&self, sheet: Box<[u8]>) {
        // Who does not take it back is gone.
        let _ = self.sheets.try_send(sheet);
    }
}

impl Tunnel {
    /// Takes what other lanes had for this one. What comes meanwhile wakes the shard again.
    pub(super) fn read_inbox(&mut self, bench: &mut Bench) {
        for _ in 0..LETTERS {
            let Some(Ok(letter)) = self.inbox.as_ref().map(|inbox| inbox.letters.try_recv()) else { return };
            match letter {
                Letter::Datagrams { received, sheet, sender } => {
                    bench.wire[HEADROOM..HEADROOM + received.len].copy_from_slice(&sheet[..received.len]);
                    if let Some(door) = self.bond.board.door(sender) {
                        door.give_back(sheet);
                    }
                    self.open_batch(bench, &received);
                }
                Letter::Call { received, caller } => {
                    let opened = self.device.answer(bench.now, *caller, &mut bench.reply);
                    let datagram = 0..received.len;
                    self.take(bench, &received, &mut None, &[opened], std::slice::from_ref(&datagram));
                }
            }
        }
    }

    /// Passes on the datagrams at the front of `at` that are another lane's; gives where the next one begins. `None`: the
    /// first is for this lane.
    pub(super) fn pass_on(&mut self, bench: &Bench, received: &Received, at: Range<usize>) -> Option<usize> {
        let inbox = self.inbox.as_ref()?;
        let segment = received.segment.max(1);
        let owner = |start: usize| queue_of(&&bench.wire[start..at.end.min(start + segment)]);
        let to = owner(at.start).filter(|to| *to != u32::from(self.name.lane.0))?;
        let starts = at.clone().step_by(segment);
        let count = starts.take_while(|start| owner(*start) == Some(to)).count();
        let end = at.end.min(at.start + count * segment);
        let reason = match self.bond.board.door(Lane(to as u8)) {
            None => Some(DropReason::NoSession),
            Some(door) => match inbox.sheets.try_recv() {
                Err(_) => Some(DropReason::Congested),
                Ok(mut sheet) => {
                    let bytes = &bench.wire[at.start..end];
                    sheet[..bytes.len()].copy_from_slice(bytes);
                    let received = Received { len: bytes.len(), ..*received };
                    let letter = Letter::Datagrams { received, sheet, sender: self.name.lane };
                    door.throw_in(letter).err().map(|letter| self.keep(letter))
                }
            },
        };
        match reason {
            Some(reason) => bench.counters.count_drop(reason, count as u64),
            None => bench.counters.handed_over.add(count as u64),
        }
        Some(end)
    }

    /// Opens a datagram that is no data. `None`: it is for another lane, which has it now.
    pub(super) fn open_alone(&mut self, bench: &mut Bench, received: &Received, at: Range<usize>) -> Option<Opened> {
        let Received { from, to, .. } = *received;
        let Bench { wire, reply, now, .. } = bench;
        let datagram = &wire[at];
        let is_call = datagram.len() == INITIATION_LEN && datagram[..4] == [INITIATION, 0, 0, 0];
        if self.inbox.is_none() || !is_call {
            return Some(self.device.open(*now, from, to, datagram, reply));
        }
        let caller = match self.device.identify(*now, from, datagram, reply) {
            Identified::Caller(caller) => caller,
            Identified::Cookie { len } => return Some(Opened::Cookie { len }),
            Identified::Refused(reason) => return Some(Opened::Refused(reason)),
        };
        let owner = self.bond.board.owner(caller.key());
        match owner.filter(|owner| *owner != self.name.lane).and_then(|owner| self.bond.board.door(owner)) {
            None => Some(self.device.answer(*now, *caller, reply)),
            Some(door) => {
                let received = Received { len: INITIATION_LEN, segment: INITIATION_LEN, ..*received };
                let kept = door.throw_in(Letter::Call { received, caller }).err();
                kept.map(|_| Opened::Refused(DropReason::Congested))
            }
        }
    }

    /// The sheet of a letter that did not leave.
    fn keep(&self, letter: Letter) -> DropReason {
        if let Letter::Datagrams { sheet, sender, .. } = letter
            && let Some(door) = self.bond.board.door(sender)
        {
            door.give_back(sheet);
        }
        DropReason::Congested
    }
}
