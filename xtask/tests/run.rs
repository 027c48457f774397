//! Does `cargo xtask run` leave this machine as it was: after success, after failure, after Ctrl-C? Needs root.
//!
//! The only test of its process, and one function: a second run at the same time would be seen as something left behind.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use mesh_lab::{interrupt, snapshot::Snapshot};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
const PAUSE: Duration = Duration::from_millis(50);
/// For the kernel, which frees namespaces and programs in the background.
const GRACE: Duration = Duration::from_secs(30);
/// What the checks of both scenes may take, with programs that are built.
const ONCE: Duration = Duration::from_secs(60);
/// Exit code of a program that Ctrl-C ended, as shells count it: 128 and SIGINT.
const INTERRUPTED: i32 = 130;

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let built = Path::new(XTASK).parent().context("a program lies in a directory")?;
    let before = Snapshot::take()?;

    let log = directory.path().join("once");
    let status = end(start(built, &["--once"], &log)?, ONCE)?;
    ensure!(status.success(), "{status}\n{}", fs::read_to_string(&log)?);
    before.expect_same(GRACE).context("after a run that succeeded")?;

    let log = directory.path().join("failed");
    let broken = daemon_that_dies(directory.path(), built)?;
    let status = end(start(&broken, &["--once"], &log)?, Duration::from_secs(60))?;
    ensure!(!status.success(), "a daemon that dies went unnoticed: {}", fs::read_to_string(&log)?);
    before.expect_same(GRACE).context("after a run that failed")?;

    for (moment, text, code) in [("while it checks", "ping", INTERRUPTED), ("while it stays", "until Ctrl-C", 0)] {
        let log = directory.path().join(moment);
        let child = start(built, &[], &log)?;
        wait_for_text(&log, text)?;
        interrupt(&child)?;
        let status = end(child, Duration::from_secs(30)).with_context(|| moment.to_owned())?;
        ensure!(status.code() == Some(code), "{status} {moment}\n{}", fs::read_to_string(&log)?);
        before.expect_same(GRACE).with_context(|| format!("after Ctrl-C {moment}"))?;
    }

    let log = directory.path().join("killed");
    let mut child = start(built, &[], &log)?;
    wait_for_text(&log, "ping")?;
    child.kill()?;
    child.wait()?;
    // What a killed run left is swept by the next one.
    let status = end(start(&broken, &["--once"], &directory.path().join("next"))?, Duration::from_secs(60))?;
    ensure!(!status.success(), "{status}");
    before.expect_same(GRACE).context("after a run that was killed, and the next one")
}

/// `xtask run` with the programs of a directory, its output in a file.
fn start(programs: &Path, arguments: &[&str], log: &Path) -> Result<Child> {
    let file = File::create(log)?;
    let mut command = Command::new(XTASK);
    command.arg("run").arg("--programs").arg(programs).args(arguments);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(command.spawn()?)
}

fn end(mut child: Child, patience: Duration) -> Result<ExitStatus> {
    let ended = interrupt::wait_for("the run to end", patience, PAUSE, || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    ended
}

fn wait_for_text(log: &Path, text: &str) -> Result<()> {
    interrupt::wait_for(&format!("`{text}`"), Duration::from_secs(90), PAUSE, || {
        Ok(fs::read_to_string(log)?.contains(text).then_some(()))
    })
    .with_context(|| fs::read_to_string(log).unwrap_or_default())
}

/// SIGINT, as the terminal sends it.
fn interrupt(child: &Child) -> Result<()> {
    let status = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status()?;
    if !status.success() {
        bail!("kill ended with {status}");
    }
    Ok(())
}

/// A directory with the real meshctl and a `meshd` that ends at once.
fn daemon_that_dies(directory: &Path, built: &Path) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let programs = directory.join("broken");
    fs::create_dir(&programs)?;
    symlink(built.join("meshctl"), programs.join("meshctl"))?;
    let meshd = programs.join("meshd");
    fs::write(&meshd, "#!/bin/sh\necho this daemon dies >&2\nexit 1\n")?;
    fs::set_permissions(&meshd, fs::Permissions::from_mode(0o755))?;
    Ok(programs)
}
