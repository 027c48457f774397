//! The process that carries a tunnel: how it is started, what it is told, and how it ends.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mesh_common::ids::ConnectionId;
use mesh_core::tunnel::StaticSecret;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// What a program writes to standard output once its device is there.
const READY: &str = "ready";
/// Lines of the log that are passed on of each run.
const LINES: usize = 200;

/// What a program is run for.
#[derive(Clone, Debug)]
pub struct Job {
    /// Program and arguments, never empty.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub secret: StaticSecret,
    pub connection: ConnectionId,
    /// Bytes of a packet.
    pub mtu: u16,
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        let parts = |job: &Job| (job.command.clone(), job.environment.clone(), job.connection, job.mtu);
        parts(self) == parts(other) && self.secret.public_key() == other.secret.public_key()
    }
}

/// A running program, leader of a process group that ends with it.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    group: Option<Pid>,
    is_ready: watch::Receiver<bool>,
}

impl Program {
    pub(super) fn start(job: &Job) -> Result<Program> {
        let [name, arguments @ ..] = job.command.as_slice() else { bail!("the driver has no command") };
        let mut child = Command::new(name)
            .args(arguments)
            .envs(&job.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}: is it installed, and executable?"))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(mut input) = child.stdin.take() {
            let line = format!("{}\n", BASE64_STANDARD.encode(*job.secret.to_bytes()));
            tokio::spawn(async move {
                // A program that needs no key closes its input.
                let _ = input.write_all(line.as_bytes()).await;
            });
        }
        let (ready, is_ready) = watch::channel(false);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(pass_on(name.clone(), output, move || _ = ready.send(true)));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(pass_on(name.clone(), output, || ()));
        }
        Ok(Program { name: name.clone(), child, group, is_ready })
    }

    /// It wrote that its device is there.
    pub(super) fn readiness(&self) -> watch::Receiver<bool> {
        self.is_ready.clone()
    }

    /// It shall not end by itself: an error.
    pub(super) async fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().await.with_context(|| format!("wait for {}", self.name))?;
        bail!("{} ended ({status}); it is started again, the log has what it wrote", self.name)
    }

    /// Ends it and what it started.
    pub(super) async fn stop(mut self) {
        self.signal(Signal::TERM);
        if timeout(GRACE, self.child.wait()).await.is_err() {
            tracing::warn!("{} does not end: killed", self.name);
        }
        // Also those that it left behind.
        self.signal(Signal::KILL);
        let _ = timeout(GRACE, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Gone already is as good.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// What the program writes goes into the log, as far as that is not too much.
async fn pass_on(name: String, output: impl AsyncRead + Unpin, ready: impl Fn()) {
    let mut lines = BufReader::new(output).lines();
    let mut count = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        if line == READY {
            ready();
        }
        count += 1;
        if count <= LINES {
            tracing::info!("{name}: {line}");
        }
    }
}
