//! A tunnel of which a program carries the packets: meshd has the addresses, the routes and the rewriting, the program a
//! device of its own. `docs/exec-driver.md` is the contract between the two.
//!
//! A packet goes from our TUN device to the judge, then through a packet socket to the program's device, which stands in a
//! network namespace that nobody else knows: so nothing that the program sends reaches the kernel's own routing.

mod carrier;
mod program;

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mesh_core::plan::{DeviceName, PublicKey, slots::Slots};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    kernel::tun::Tun,
    shard::{DriverCounters, Shards},
};
use carrier::Carrier;
pub use program::Job;
use program::Program;

/// Between two runs of a program that ends by itself; it doubles with each that was short.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// A run that was at least so long was a good one.
const LONG: Duration = Duration::from_secs(60);
/// How long a program may take to make its device.
const PATIENCE: Duration = Duration::from_secs(10);
const PREFIX: &str = "exec-";

/// One tunnel; dropping it ends the program, and the device of the program with it. Ours stays.
#[derive(Debug)]
pub struct Driver {
    /// `None` once it shall end.
    jobs: Option<watch::Sender<Option<Job>>>,
    counters: Arc<DriverCounters>,
    trouble: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of a driver works with.
struct Place {
    device: DeviceName,
    tun: Tun,
    tables: watch::Receiver<Arc<Slots>>,
    counters: Arc<DriverCounters>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// What the program is to call its device.
pub fn program_device(ours: &DeviceName) -> DeviceName {
    DeviceName(format!("{PREFIX}{}", ours.0.trim_start_matches(mesh_core::plan::DEVICE_PREFIX)))
}

impl Driver {
    /// Nothing runs before there is a job.
    pub fn start(
        device: &DeviceName,
        tun: Tun,
        tables: watch::Receiver<Arc<Slots>>,
        shards: &Shards,
    ) -> Result<Driver> {
        let counters = Arc::new(DriverCounters::new(device.clone()));
        shards.note_driver(&counters);
        let trouble = Arc::default();
        let (jobs, reader) = watch::channel(None);
        let place = Place {
            device: device.clone(),
            tun,
            tables,
            counters: Arc::clone(&counters),
            trouble: Arc::clone(&trouble),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start a runtime for a driver")?;
        let thread = std::thread::Builder::new()
            .name(format!("driver-{}", device.0.trim_start_matches(mesh_core::plan::DEVICE_PREFIX)))
            .spawn(move || runtime.block_on(run(place, reader)))
            .context("start the thread of a driver")?;
        Ok(Driver { jobs: Some(jobs), counters, trouble, thread: Some(thread) })
    }

    /// Runs the program for this, and ends the run before if that was for something else.
    pub fn assign(&self, job: Option<Job>, peers: Vec<PublicKey>) {
        self.counters.set_peers(peers);
        if let Some(jobs) = &self.jobs {
            jobs.send_if_modified(|known| {
                let is_new = *known != job;
                *known = job;
                is_new
            });
        }
    }

    /// Why the tunnel carries nothing now.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until nobody gives jobs any more.
async fn run(place: Place, mut jobs: watch::Receiver<Option<Job>>) {
    let mut pause = PAUSES[0];
    loop {
        let Some(job) = jobs.borrow_and_update().clone() else {
            if jobs.changed().await.is_err() {
                return;
            }
            continue;
        };
        let began = Instant::now();
        match Program::start(&job) {
            Err(error) => place.tell(Some(format!("{error:#}"))),
            Ok(mut program) => {
                let changed = tokio::select! {
                    ended = serve(&place, &job, &mut program) => {
                        place.tell(ended.err().map(|error| format!("{error:#}")));
                        None
                    }
                    changed = jobs.changed() => Some(changed),
                };
                program.stop().await;
                match changed {
                    Some(Ok(())) => {
                        pause = PAUSES[0];
                        continue;
                    }
                    Some(Err(_)) => return,
                    None => {}
                }
            }
        }
        pause = if began.elapsed() >= LONG { PAUSES[0] } else { pause };
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(PAUSES[1]),
            changed = jobs.changed() => match changed {
                Ok(()) => pause = PAUSES[0],
                Err(_) => return,
            },
        }
    }
}

/// Until the program ends or its device goes.
async fn serve(place: &Place, job: &Job, program: &mut Program) -> Result<()> {
    let device = program_device(&place.device);
    let mut readiness = program.readiness();
    let carrying = async {
        let ready = timeout(PATIENCE, readiness.wait_for(|is_ready| *is_ready)).await;
        ready.ok().and_then(Result::ok).with_context(|| format!("it did not write 'ready' within {PATIENCE:?}"))?;
        let carrier = Carrier::open(&device, job, &place.tun).await?;
        place.tell(None);
        carrier.carry(&place.tables, &place.counters).await
    };
    tokio::select! {
        ended = program.ended() => ended,
        ended = carrying => ended,
    }
}

impl Place {
    fn tell(&self, trouble: Option<String>) {
        if let Some(trouble) = &trouble {
            tracing::warn!(device = self.device.0, "the program of the tunnel: {trouble}");
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
