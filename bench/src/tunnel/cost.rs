//! How much processor time did it take: of some processes, and of the whole machine?

use std::{io, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::processors::Processors;

/// Processor time spent so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) daemons: Duration,
    pub(super) machine: Processors,
}

impl Spent {
    pub(super) fn now(processes: &[u32]) -> Result<Spent> {
        let daemons = processes.iter().map(|pid| of_process(*pid)).sum::<Result<_>>()?;
        Ok(Spent { daemons, machine: Processors::now()? })
    }

    pub(super) fn since(self, before: Spent) -> Spent {
        Spent { daemons: self.daemons.saturating_sub(before.daemons), machine: self.machine - before.machine }
    }
}

/// User and system time of all threads of a process that there ever were, to the nanosecond.
pub(super) fn of_process(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let id = i32::try_from(pid).context("process ids fit an i32")?;
    // SAFETY: both calls write to variables that outlive them; a process that is gone is an error.
    let failed =
        unsafe { libc::clock_getcpuclockid(id, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0 };
    ensure!(!failed, "the time of process {pid}: is the daemon still there? {}", io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn this_process_spends_time() {
        let (begin, before) = (Instant::now(), Spent::now(&[std::process::id()]).unwrap());
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(0);
        }
        let spent = Spent::now(&[std::process::id()]).unwrap().since(before);
        assert!(spent.daemons >= Duration::from_millis(10), "{spent:?}");
    }
}
