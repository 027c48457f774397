//! How a program comes to stay in the background: it starts itself once more and ends when that one is ready.
//!
//! Nothing is forked with threads. The second life has a pipe as its standard output, on which it says that the device
//! answers, and inherits standard error until then, so that the user sees why it failed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::command_line::{Arguments, LogLevel};

/// Set in the second life.
const MARK: &str = "MESH_WG_IN_BACKGROUND";
const READY: &[u8] = b"ready";

/// Starts the process that stays and waits until it is ready, or has ended: why, it has told on standard error then.
pub(super) fn start(arguments: &Arguments) -> Result<ExitCode> {
    let program = std::env::current_exe().context("find the program file of this process: is /proc mounted?")?;
    let mut command = Command::new(&program);
    command.arg0("mesh-wg").arg("--foreground");
    if let Some(shards) = arguments.shards {
        command.args(["--shards", &shards.to_string()]);
    }
    command.args(["--", &arguments.interface]).env(MARK, "1").current_dir("/");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut told = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut told).context("wait for the process in the background")?;
    }
    if told == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("wait for the process in the background")?;
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1).max(1))),
        None => {
            bail!("{}: the process in the background was ended before it was ready ({status})", arguments.interface)
        }
    }
}

/// Who waits for this process to be ready.
#[derive(Debug)]
pub(super) enum Caller {
    Nobody,
    /// The first life.
    Starter(LogLevel),
}

impl Caller {
    pub(super) fn of_this_process(level: LogLevel) -> Caller {
        if std::env::var_os(MARK).is_none() {
            return Caller::Nobody;
        }
        // The first life was perhaps the leader of the terminal's foreground group; this one outlives the terminal.
        if let Err(error) = rustix::process::setsid() {
            tracing::warn!("cannot leave the session of the terminal: {error}");
        }
        Caller::Starter(level)
    }

    /// The device answers: lets the caller go on. From here on nothing is held that it might wait for.
    pub(super) fn tell_ready(self) -> Result<()> {
        let Caller::Starter(level) = self else { return Ok(()) };
        io::stdout().write_all(READY).and_then(|()| io::stdout().flush()).context("tell that the device answers")?;
        let null: File = OpenOptions::new().read(true).write(true).open("/dev/null").context("open /dev/null")?;
        if level != LogLevel::Verbose {
            rustix::stdio::dup2_stderr(&null).context("let go of standard error")?;
        }
        rustix::stdio::dup2_stdout(&null).context("let go of standard output")
    }
}
