//! What does it cost to seal and to open WireGuard's data messages, beside `ring` in the same run?
//!
//! Nanoseconds per message. The buffers fit the caches, as they do in a shard that has just read them.

use std::time::Instant;

use anyhow::{Result, ensure};
use mesh_aead::{Engine, KEY_LEN, Key, Piece, TAG_LEN};

use crate::{
    report::{Report, Rival},
    statistics::minimum,
};

/// So many rounds are promised.
pub(crate) const ROUNDS: usize = 200;

/// Bytes of a message: a small packet, a middle one, a full one at MTU 1420, and one of a jumbo frame.
const LENGTHS: [usize; 4] = [64, 512, 1424, 8944];
/// Messages of a call: alone, few, and those of a super-packet.
const BATCHES: [usize; 3] = [1, 8, 43];
/// A timed run goes over about so many bytes.
const BYTES: usize = 32_768;
const HEADER: usize = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each engine is timed; the fastest run counts
    #[arg(long, default_value_t = ROUNDS)]
    pub(crate) rounds: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    println!("engine of this CPU: {:?}\n", Engine::best());
    for len in LENGTHS {
        for messages in BATCHES {
            let mut bench = Bench::new(len, messages);
            let (mut ours, mut rings) = (Vec::new(), Vec::new());
            for _ in 0..arguments.rounds {
                ours.push(bench.time(Engine::best())?);
                rings.push(bench.time(Engine::Ring)?);
            }
            let [ours, rings] = [ours, rings].map(Times::fastest);
            report.versus(format!("seal {len} B x {messages}"), "ns", ours.seal, vec![Rival::new("ring", rings.seal)]);
            report.versus(format!("open {len} B x {messages}"), "ns", ours.open, vec![Rival::new("ring", rings.open)]);
        }
    }
    Ok(())
}

/// Nanoseconds per message.
#[derive(Debug, Clone, Copy)]
struct Times {
    seal: f64,
    open: f64,
}

impl Times {
    fn fastest(runs: Vec<Self>) -> Self {
        let fastest = |time: fn(&Self) -> f64| minimum(&runs.iter().map(time).collect::<Vec<_>>());
        Self { seal: fastest(|times| times.seal), open: fastest(|times| times.open) }
    }
}

/// Batches one after the other in a buffer.
#[derive(Debug)]
struct Bench {
    buffer: Vec<u8>,
    batches: Vec<Vec<Piece>>,
    verdicts: Vec<bool>,
}

impl Bench {
    fn new(len: usize, messages: usize) -> Self {
        let stride = HEADER + len + TAG_LEN;
        let calls = (BYTES / (stride * messages)).max(1);
        let piece = |number: usize| Piece { counter: number as u64, at: number * stride + HEADER, len };
        let batch = |call: usize| (call * messages..(call + 1) * messages).map(piece).collect();
        Self {
            buffer: vec![0x5a; stride * messages * calls],
            batches: (0..calls).map(batch).collect(),
            verdicts: vec![false; messages],
        }
    }

    fn time(&mut self, engine: Engine) -> Result<Times> {
        let key = Key::with_engine(&[7; KEY_LEN], engine);
        let per_message = |start: Instant, bench: &Self| {
            start.elapsed().as_secs_f64() * 1e9 / (bench.batches.len() * bench.verdicts.len()) as f64
        };
        let start = Instant::now();
        for batch in &self.batches {
            key.seal(&mut self.buffer, batch);
        }
        let seal = per_message(start, self);

        let mut authentic = true;
        let start = Instant::now();
        for batch in &self.batches {
            key.open(&mut self.buffer, batch, &mut self.verdicts);
            authentic &= self.verdicts.iter().all(|verdict| *verdict);
        }
        let open = per_message(start, self);
        ensure!(authentic, "{engine:?} refuses what it sealed");
        Ok(Times { seal, open })
    }
}
