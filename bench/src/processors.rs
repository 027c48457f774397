//! How much of their time were the processors of this machine busy?

use std::{fs, ops::Sub, time::Duration};

use anyhow::{Context, Result};

/// What `/proc` counts in.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Time of all processors together, since the machine began or between two looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    /// In ticks.
    busy: f64,
    all: f64,
}

impl Processors {
    pub(crate) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let first = stat.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // Guests are counted in the time of users already.
        let all: f64 = ticks.iter().take(8).sum();
        // Idle, and waiting for disks.
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        Ok(Self { busy: all - idle, all })
    }

    pub(crate) fn busy_seconds(self) -> f64 {
        self.busy * TICK.as_secs_f64()
    }

    pub(crate) fn busy_share(self) -> f64 {
        self.busy / self.all.max(1.0)
    }
}

impl Sub for Processors {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { busy: self.busy - earlier.busy, all: self.all - earlier.all }
    }
}

#[cfg(test)]
mod tests {
    use std::{hint, time::Instant};

    use super::*;

    #[test]
    fn this_process_keeps_a_processor_busy() {
        let (before, begun) = (Processors::now().unwrap(), Instant::now());
        while begun.elapsed() < Duration::from_millis(300) {
            hint::spin_loop();
        }
        let passed = Processors::now().unwrap() - before;
        assert!(passed.busy_seconds() > 0.1, "{passed:?}");
        assert!((0.01..=1.0).contains(&passed.busy_share()), "{passed:?}");
    }
}
