//! Who asks, and counts what comes back.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use meshd::kernel::datagrams::{BATCH, DatagramSocket, Inbox, Outbox, Sender};

use super::{MEMBERS, PEERS, member_name};

/// Ids of questions: each waits under its own.
const IDS: usize = 1 << 16;
/// What has no answer by then is lost.
const GRACE: Duration = Duration::from_millis(500);
/// The first byte of flags: an answer (RFC 1035, section 4.1.1).
const IS_ANSWER: u8 = 0x80;
const CODE: u8 = 0x0f;

pub(super) struct Load {
    socket: DatagramSocket,
    server: Sender,
    /// Without their ids.
    questions: Vec<Vec<u8>>,
    inbox: Inbox,
    outbox: Outbox,
    /// When the question of each id was asked, while it waits.
    waiting: Vec<Option<Instant>>,
    next: usize,
}

#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Answered with something else than the addresses.
    pub(super) wrong: u64,
    pub(super) latencies: Vec<Duration>,
    pub(super) took: Duration,
}

impl Load {
    pub(super) fn new(server: SocketAddr) -> Result<Load> {
        Ok(Load {
            socket: DatagramSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?,
            server: Sender::at(server),
            questions: (0..MEMBERS).map(|index| question(&member_name(index))).collect(),
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            waiting: vec![None; IDS],
            next: 0,
        })
    }

    /// Until the server has an answer.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let mut passed = Passed::default();
            self.ask(1, &mut passed);
            std::thread::sleep(Duration::from_millis(100));
            self.take(&mut passed);
            if passed.answered > 0 && passed.wrong == 0 {
                return Ok(());
            }
        }
        bail!("it gives no answer within {} s", patience.as_secs())
    }

    /// So many questions a second, whatever comes back.
    pub(super) fn paced(&mut self, per_second: u32, part: Duration) -> Result<Passed> {
        let mut passed = Passed::default();
        let begin = Instant::now();
        let all = (part.as_secs_f64() * f64::from(per_second)) as u64;
        while passed.asked < all {
            let due = (begin.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
            // After a pause that was not ours, no more at once than a network would bring.
            let count = due.min(all).saturating_sub(passed.asked).min(BATCH as u64) as usize;
            self.ask(count, &mut passed);
            self.take(&mut passed);
        }
        self.finish(begin, passed)
    }

    /// A question for each answer.
    pub(super) fn as_fast_as_answered(&mut self, window: usize, part: Duration) -> Result<Passed> {
        let mut passed = Passed::default();
        let (begin, mut progress) = (Instant::now(), Instant::now());
        let mut given_up = 0;
        while begin.elapsed() < part {
            let waiting = passed.asked - passed.answered - given_up;
            let room = window - usize::try_from(waiting)?;
            self.ask(room.min(BATCH), &mut passed);
            let before = passed.answered;
            self.take(&mut passed);
            if passed.answered > before {
                progress = Instant::now();
            } else if progress.elapsed() > GRACE {
                // All that waits is lost.
                given_up = passed.asked - passed.answered;
                progress = Instant::now();
            }
        }
        self.finish(begin, passed)
    }

    fn finish(&mut self, begin: Instant, mut passed: Passed) -> Result<Passed> {
        passed.took = begin.elapsed();
        let answered = passed.answered;
        let end = Instant::now();
        while passed.answered < passed.asked && end.elapsed() < GRACE {
            self.take(&mut passed);
        }
        if passed.answered > answered {
            passed.took = begin.elapsed().min(passed.took + GRACE);
        }
        self.waiting.fill(None);
        Ok(passed)
    }

    fn ask(&mut self, count: usize, passed: &mut Passed) {
        let now = Instant::now();
        for _ in 0..count {
            // Not the order in which they are stored.
            let question = &self.questions[self.next.wrapping_mul(7_919) % MEMBERS];
            let id = self.next % IDS;
            self.next = self.next.wrapping_add(1);
            self.waiting[id] = Some(now);
            self.outbox.push(self.server, |bytes| {
                bytes.clear();
                bytes.extend((id as u16).to_be_bytes());
                bytes.extend_from_slice(question);
                true
            });
        }
        passed.asked += count as u64;
        self.socket.send(&mut self.outbox);
    }

    fn take(&mut self, passed: &mut Passed) {
        // Nothing there, or an ICMP error of a server that has not begun.
        if self.socket.receive(&mut self.inbox).is_err() {
            return;
        }
        let now = Instant::now();
        for (_, bytes) in self.inbox.letters() {
            let &[a, b, flags, code, _, _, _, count, ..] = bytes else { continue };
            let Some(asked) = self.waiting[usize::from(u16::from_be_bytes([a, b]))].take() else { continue };
            passed.answered += 1;
            passed.latencies.push(now - asked);
            let right = flags & IS_ANSWER != 0 && code & CODE == 0 && usize::from(count) == PEERS;
            passed.wrong += u64::from(!right);
        }
    }
}

/// Header without id, one question, type A (RFC 1035, section 4.1).
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
