//! A `meshd` in a namespace, with directories of its own, and the `meshctl` that talks to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    Lab, Namespace, interrupt,
    process::{self, Daemon, Finished},
    status::Status,
};

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub meshd: PathBuf,
    pub meshctl: PathBuf,
}

impl Programs {
    /// Both in one directory, as cargo builds them.
    pub fn in_directory(directory: &Path) -> Result<Programs> {
        let programs = Programs { meshd: directory.join("meshd"), meshctl: directory.join("meshctl") };
        for program in [&programs.meshd, &programs.meshctl] {
            if !program.is_file() {
                bail!("{} is not built: `cargo xtask build` does it, or `cargo build` for tests", program.display());
            }
        }
        Ok(programs)
    }

    /// Beside a program that cargo built for a test, `env!("CARGO_BIN_EXE_...")`.
    pub fn beside(program: &str) -> Result<Programs> {
        let directory = Path::new(program).parent().with_context(|| format!("{program} is in no directory"))?;
        Programs::in_directory(directory)
    }
}

/// A node that can be started, killed and started again; killed when dropped.
#[derive(Debug)]
pub struct Node {
    host: String,
    namespace: Namespace,
    programs: Programs,
    directory: PathBuf,
    pins: PathBuf,
    daemon: Option<Daemon>,
}

impl Node {
    /// Makes the directories of a node; nothing runs yet.
    pub fn new(lab: &Lab, host: &str, namespace: &Namespace, programs: &Programs) -> Result<Node> {
        let directory = lab.directory().join(host);
        let pins = lab.bpffs().join(host);
        for made in ["manifests", "state", "run", "wireguard"] {
            fs::create_dir_all(directory.join(made))?;
        }
        Ok(Node {
            host: host.to_owned(),
            namespace: namespace.clone(),
            programs: programs.clone(),
            directory,
            pins,
            daemon: None,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The command line that talks to this node.
    pub fn program(&self) -> &Path {
        &self.programs.meshctl
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("run/meshd.sock")
    }

    pub fn private_key_file(&self) -> PathBuf {
        self.directory.join("state/private.key")
    }

    /// Writes `meshd.toml`: the directories of this node, then `rest` (cluster, CIDRs, interfaces), whose top-level keys come
    /// first.
    pub fn configure(&self, rest: &str) -> Result<()> {
        let directory = |name: &str| self.directory.join(name).display().to_string();
        let text = format!(
            "private_key_file = {:?}\nmanifest_dir = {:?}\nstate_dir = {:?}\nrun_dir = {:?}\npin_dir = {:?}\n\
             uapi_dir = {:?}\n{rest}",
            self.private_key_file().display().to_string(),
            directory("manifests"),
            directory("state"),
            directory("run"),
            self.pins.display().to_string(),
            directory("wireguard"),
        );
        Ok(fs::write(self.settings(), text)?)
    }

    /// Puts a manifest in place in one step, as `meshctl apply` or an editor would.
    pub fn put_manifest(&self, name: &str, text: &str) -> Result<()> {
        let path = self.manifest(name);
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, path)?)
    }

    pub fn remove_manifest(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.manifest(name))?)
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts the daemon without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let log = self.directory.join("meshd.log");
        self.daemon = Some(Daemon::start(&format!("meshd of {}", self.host), self.meshd(&[]), &log)?);
        Ok(())
    }

    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("meshd of {} to be ready", self.host);
        let ready = interrupt::wait_for(&what, Duration::from_secs(15), Duration::from_millis(30), || {
            if let Some(status) = self.running()?.ended()? {
                bail!("meshd of {} ended with {status}", self.host);
            }
            Ok(self.meshctl(&["status", "--check", "ready"])?.status.success().then_some(()))
        });
        ready.with_context(|| self.tail(30))
    }

    /// Runs the daemon to its end, for settings that it must refuse.
    pub fn run_to_end(&self, patience: Duration) -> Result<Finished> {
        process::finish(&mut self.meshd(&[]), patience)
    }

    /// `meshd cleanup`.
    pub fn cleanup(&self) -> Result<String> {
        process::output(&mut self.meshd(&["cleanup"]), Duration::from_secs(20))
    }

    /// SIGKILL. What it made in the kernel stays.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().with_context(|| format!("meshd of {} does not run", self.host))?.kill()
    }

    pub fn terminate(&mut self) -> Result<()> {
        let status = self.running()?.terminate()?;
        if !status.success() {
            bail!("meshd of {} ended with {status} on SIGTERM\n{}", self.host, self.tail(20));
        }
        self.daemon = None;
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// `meshctl --socket OURS ARGUMENTS`, whatever its exit code.
    pub fn meshctl(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(&self.programs.meshctl);
        command.arg("--socket").arg(self.socket()).args(arguments);
        process::finish(&mut command, Duration::from_secs(10))
    }

    pub fn status(&self) -> Result<Status> {
        let finished = self.meshctl(&["status", "-o", "json"])?;
        if !finished.status.success() {
            bail!("`{}` failed ({}): {}\n{}", finished.line, finished.status, finished.stderr.trim(), self.tail(20));
        }
        Status::parse(&finished.stdout)
    }

    /// Waits until this node calls its connection to `remote` Connected.
    pub fn wait_connected(&self, remote: &str, patience: Duration) -> Result<()> {
        let what = format!("{} to be connected to {remote}", self.host);
        interrupt::wait_for(&what, patience, Duration::from_millis(50), || {
            Ok(self.status()?.is_connected(remote).then_some(()))
        })
        .with_context(|| self.tail(30))
    }

    /// The end of the daemon's log.
    pub fn tail(&self, lines: usize) -> String {
        match &self.daemon {
            Some(daemon) => daemon.tail(lines),
            None => format!("--- meshd of {} does not run ---", self.host),
        }
    }

    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.join("meshd.log")).unwrap_or_default())
    }

    fn running(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().with_context(|| format!("meshd of {} does not run", self.host))
    }

    pub fn settings(&self) -> PathBuf {
        self.directory.join("meshd.toml")
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.directory.join("manifests").join(format!("{name}.yaml"))
    }

    fn meshd(&self, verbs: &[&str]) -> Command {
        let mut command = self.namespace.command(&self.programs.meshd);
        command.arg("--config").arg(self.settings()).args(verbs);
        command
    }
}
