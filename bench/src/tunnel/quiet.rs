//! Has the machine little else to do?

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use mesh_lab::interrupt;

use crate::processors::Processors;

/// Share of the time that may be busy on a quiet machine.
const QUIET: f64 = 0.15;
/// A look takes so long.
const LOOK: Duration = Duration::from_millis(150);

/// So much waiting is left for the whole run: on a machine that is never quiet, what is measured is measured anyway.
#[derive(Debug)]
pub(super) struct Patience {
    left: Cell<Duration>,
    lost: Cell<bool>,
}

impl Patience {
    pub(super) fn new(whole: Duration) -> Self {
        Self { left: Cell::new(whole), lost: Cell::new(false) }
    }

    /// Returns once the machine is quiet, or patience is at its end.
    pub(super) fn wait(&self) -> Result<()> {
        let begin = Instant::now();
        while busy_share()? > QUIET {
            interrupt::check()?;
            if begin.elapsed() >= self.left.get() {
                if !self.lost.replace(true) {
                    println!("the machine does not become quiet: figures are those of a busy one");
                }
                break;
            }
        }
        self.left.set(self.left.get().saturating_sub(begin.elapsed().saturating_sub(LOOK)));
        Ok(())
    }
}

fn busy_share() -> Result<f64> {
    let before = Processors::now()?;
    thread::sleep(LOOK);
    Ok((Processors::now()? - before).busy_share())
}
