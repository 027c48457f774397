//! A WireGuard device of any program that wg(8) configures: all are started and driven by the same steps, so that what
//! differs is the program.

mod program;

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    Lab, Namespace,
    process::{self, Daemon},
};
pub use program::{Installed, Program};

/// The sockets that wg(8) talks to: one directory for all namespaces, so names of devices are never used twice.
const SOCKETS: &str = "/var/run/wireguard";
/// Ten thousand peers at once take some programs a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running device; the program is asked to end when this is dropped.
#[derive(Debug)]
pub struct Wireguard {
    program: Program,
    installed: Installed,
    daemon: Daemon,
    namespace: Namespace,
    device: String,
    directory: PathBuf,
    keys: Keys,
}

/// As wg(8) writes them.
#[derive(Clone, Debug)]
pub struct Keys {
    pub private: String,
    pub public: String,
}

impl Keys {
    pub fn make() -> Result<Keys> {
        let private = process::output(Command::new("wg").arg("genkey"), Duration::from_secs(5))?;
        let mut derive = Command::new("sh");
        derive.args(["-c", "echo \"$0\" | wg pubkey", private.trim()]);
        let public = process::output(&mut derive, Duration::from_secs(5))?;
        Ok(Keys { private: private.trim().to_owned(), public: public.trim().to_owned() })
    }
}

impl Wireguard {
    /// A device without peers, not up yet. Its key is made, and set by [`Wireguard::configure`].
    pub fn start(lab: &Lab, installed: &Installed, program: Program, namespace: &Namespace) -> Result<Wireguard> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let device = format!("wg{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let daemon = launch(lab, installed, program, namespace, &device)?;
        let (directory, installed) = (lab.directory().to_owned(), installed.clone());
        let namespace = namespace.clone();
        Ok(Wireguard { program, installed, daemon, namespace, device, directory, keys: Keys::make()? })
    }

    /// Ends the program and starts it again: the device has the same key, and knows nothing else.
    pub fn start_anew(&mut self, lab: &Lab) -> Result<()> {
        self.daemon.terminate()?;
        // Not all of them take their socket away.
        let _ = fs::remove_file(socket(&self.device));
        self.daemon = launch(lab, &self.installed, self.program, &self.namespace, &self.device)?;
        Ok(())
    }

    pub fn program(&self) -> Program {
        self.program
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn public_key(&self) -> &str {
        &self.keys.public
    }

    /// `wg set DEVICE private-key OURS ARGUMENTS`: all that a device needs to begin, in one request. gotatun 0.10.2 starts anew
    /// when the key or the port is set, and ends when it is asked for that while it does so.
    pub fn configure(&self, arguments: &[&str]) -> Result<()> {
        let key = self.file("key", &self.keys.private)?;
        self.set(&[&["private-key", &key], arguments].concat())
    }

    /// `wg set DEVICE ARGUMENTS`.
    pub fn set(&self, arguments: &[&str]) -> Result<()> {
        self.wg("set", arguments).map(drop)
    }

    /// `wg show DEVICE WHAT`.
    pub fn show(&self, what: &str) -> Result<String> {
        self.wg("show", &[what])
    }

    /// `wg addconf DEVICE` with this text, of any length.
    pub fn add_configuration(&self, text: &str) -> Result<()> {
        let file = self.file("conf", text)?;
        self.wg("addconf", &[&file]).map(drop)
    }

    /// Gives the device an address such as `10.0.0.1/24`, and brings it up.
    pub fn up(&self, address: &str, mtu: u16) -> Result<()> {
        self.namespace.ip(&["address", "add", address, "dev", &self.device])?;
        self.namespace.ip(&["link", "set", "dev", &self.device, "mtu", &mtu.to_string(), "up"])?;
        Ok(())
    }

    /// The last lines that the program wrote.
    pub fn tail(&self) -> String {
        self.daemon.tail(30)
    }

    /// A file of this device for wg(8), which takes keys from files alone. Returns its path.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory.join(format!("{}.{name}", self.device));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn wg(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.namespace.command("wg");
        command.args([verb, &self.device]).args(arguments);
        process::output(&mut command, PATIENCE).with_context(|| format!("{}\n{}", self.program.name(), self.tail()))
    }
}

impl Drop for Wireguard {
    fn drop(&mut self) {
        // Who does not end is killed next, and its socket is in a directory that outlives the lab.
        let _ = self.daemon.terminate();
        let _ = fs::remove_file(socket(&self.device));
    }
}

/// Starts a program and waits until it can be configured.
fn launch(lab: &Lab, installed: &Installed, program: Program, namespace: &Namespace, device: &str) -> Result<Daemon> {
    let log = lab.directory().join(format!("{device}.log"));
    let mut daemon = Daemon::start(program.name(), installed.start(program, namespace, device), &log)?;
    daemon.wait_for_socket(&socket(device), Duration::from_secs(10))?;
    Ok(daemon)
}

fn socket(device: &str) -> PathBuf {
    Path::new(SOCKETS).join(format!("{device}.sock"))
}

/// Removes what is left of devices whose lab was killed: sockets of our names on which nobody listens.
fn sweep() {
    for entry in fs::read_dir(SOCKETS).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(is_name_of_ours);
        if is_ours && UnixStream::connect(entry.path()).is_err() {
            // Another lab may have done it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `wgPID-NUMBER.sock` of a process that has ended.
fn is_name_of_ours(name: &str) -> bool {
    let maker = name.strip_prefix("wg").and_then(|rest| rest.strip_suffix(".sock")?.split_once('-'));
    let numbers = maker.and_then(|(pid, number)| Some((pid.parse::<u32>().ok()?, number.parse::<u32>().ok()?)));
    numbers.is_some_and(|(pid, _)| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_labs_that_have_ended_are_swept() {
        let mut child = Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        assert!(is_name_of_ours(&format!("wg{dead}-7.sock")));
        assert!(!is_name_of_ours(&format!("wg{}-7.sock", std::process::id())));
        for name in ["wg0.sock", "wg-quick.sock", "wg0-a.sock", "office-1.sock"] {
            assert!(!is_name_of_ours(name), "{name}");
        }
    }
}
