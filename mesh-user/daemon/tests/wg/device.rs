//! A WireGuard device in a namespace, ours or wireguard-go's, and keys for it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::symlink, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mesh_core::tunnel::StaticSecret;
use mesh_lab::{
    Lab, Namespace, interrupt,
    link::{self, Port},
    process::{self, Daemon, Finished},
    wireguard::{Installed, Program},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Where `wg` looks, whatever the namespace.
pub(crate) const SOCKETS: &str = "/var/run/wireguard";

/// A name that no other test has: all share one directory of sockets.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("w{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn socket(device: &str) -> PathBuf {
    Path::new(SOCKETS).join(format!("{device}.sock"))
}

/// A private key that is the same in each run.
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new(seed: u8) -> Key {
        let mut bytes = [seed; 32];
        bytes[0] &= 0xf8;
        bytes[31] = bytes[31] & 0x7f | 0x40;
        Key(bytes)
    }

    pub(crate) fn private(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }

    pub(crate) fn public(&self) -> String {
        StaticSecret::from_bytes(self.0).public_key().to_string()
    }

    /// A file for `wg set ... private-key FILE`, or `preshared-key FILE`.
    pub(crate) fn file(&self, lab: &Lab) -> String {
        let path = lab.directory().join(format!("{:02x}.key", self.0[1]));
        fs::write(&path, self.private()).unwrap();
        path.display().to_string()
    }
}

/// The program under the name that makes it a WireGuard device.
pub(crate) fn mesh_wg(lab: &Lab) -> PathBuf {
    let path = lab.directory().join("mesh-wg");
    // There it is already.
    let _ = symlink(env!("CARGO_BIN_EXE_meshd"), &path);
    path
}

/// Runs `mesh-wg ARGUMENTS` to its end, which in the background is when the device answers.
pub(crate) fn finish(lab: &Lab, namespace: &Namespace, arguments: &[&str]) -> Finished {
    let mut command = namespace.command(mesh_wg(lab));
    process::finish(command.args(arguments), PATIENCE).unwrap()
}

/// A device in the foreground, which ends with the test.
pub(crate) struct Device {
    pub(crate) daemon: Daemon,
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
}

impl Device {
    pub(crate) fn start(lab: &Lab, namespace: &Namespace) -> Device {
        let mut command = namespace.command(env!("CARGO_BIN_EXE_meshd"));
        command.arg0("mesh-wg").env("LOG_LEVEL", "verbose");
        Device::run(lab, namespace, command)
    }

    /// Without the privilege to load programs: everything goes through one queue.
    pub(crate) fn start_without_programs(lab: &Lab, namespace: &Namespace) -> Device {
        let mut command = namespace.command("setpriv");
        command.args(["--bounding-set", "-all,+net_admin", "--inh-caps", "-all,+net_admin"]).arg(mesh_wg(lab));
        command.env("LOG_LEVEL", "verbose");
        Device::run(lab, namespace, command)
    }

    /// The other implementation.
    pub(crate) fn wireguard_go(lab: &Lab, namespace: &Namespace) -> Device {
        let mut command = namespace.command(wireguard_go());
        command.env("LOG_LEVEL", "error");
        Device::run(lab, namespace, command)
    }

    fn run(lab: &Lab, namespace: &Namespace, mut command: Command) -> Device {
        let name = unique_name();
        command.args(["-f", &name]);
        let log = lab.directory().join(format!("{name}.log"));
        let mut daemon = Daemon::start(&name, command, &log).unwrap();
        daemon.wait_for_socket(&socket(&name), PATIENCE).unwrap();
        Device { daemon, namespace: namespace.clone(), name }
    }

    /// `wg VERB DEVICE ARGUMENTS`, which must work.
    pub(crate) fn wg(&self, verb: &str, arguments: &[&str]) -> String {
        wg(&self.namespace, &[&[verb, &self.name], arguments].concat()).with_context(|| self.daemon.tail(20)).unwrap()
    }

    pub(crate) fn set(&self, arguments: &[&str]) {
        self.wg("set", arguments);
    }

    /// `wg show DEVICE WHAT`.
    pub(crate) fn show(&self, what: &str) -> String {
        self.wg("show", &[what]).trim_end().to_owned()
    }

    /// `wg` fails, and says this.
    pub(crate) fn refuses(&self, arguments: &[&str], message: &str) {
        let mut command = self.namespace.command("wg");
        let finished = process::finish(command.args(["set", &self.name]).args(arguments), PATIENCE).unwrap();
        assert!(!finished.status.success(), "{arguments:?} is taken");
        assert!(finished.stderr.contains(message), "{arguments:?}: {}", finished.stderr);
    }

    /// Says something to the socket that `wg` would not, and gives the whole answer; the client hangs up first.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut client = UnixStream::connect(socket(&self.name)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have hung up in the middle of what it does not want to hear.
        let _ = client.write_all(request.as_bytes());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Up, with addresses.
    pub(crate) fn up(&self, addresses: &[&str]) {
        let port = Port::new(&self.namespace, &self.name);
        link::address(port, addresses).unwrap();
        self.namespace.ip(&["link", "set", "dev", &self.name, "up"]).unwrap();
    }

    pub(crate) fn ping(&self, to: &str) -> Result<()> {
        ping(&self.namespace, to, &[])
    }

    pub(crate) fn listen_port(&self) -> u16 {
        self.show("listen-port").parse().unwrap()
    }

    /// A field of `/proc/PID/status`.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.daemon.pid())).unwrap().count()
    }

    /// It ends by itself, well, and leaves no socket.
    pub(crate) fn wait_ended(&mut self) {
        let status = self.daemon.wait(PATIENCE).with_context(|| self.daemon.tail(20)).unwrap();
        assert!(status.success(), "{status}\n{}", self.daemon.tail(20));
        assert!(!socket(&self.name).exists());
    }
}

impl Drop for Device {
    /// Asked to end, it takes its socket away, which is in a directory that outlives the lab.
    fn drop(&mut self) {
        // Who has ended already has done so.
        let _ = self.daemon.terminate();
    }
}

pub(crate) fn wg(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    namespace.run("wg", arguments)
}

/// One of five echoes comes back: the first ones may meet a handshake that another one has to repeat.
pub(crate) fn ping(namespace: &Namespace, to: &str, more: &[&str]) -> Result<()> {
    let mut arguments = vec!["-n", "-c", "1", "-W", "2"];
    arguments.extend(more);
    arguments.push(to);
    let mut last = None;
    for _ in 0..5 {
        match namespace.run("ping", &arguments) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("five pings have an error")?)
}

/// Two namespaces and the wire between them: 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2.
pub(crate) fn underlay(lab: &Lab) -> (Namespace, Namespace) {
    let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    link::veth(Port::new(&a, "eth0"), Port::new(&b, "eth0")).unwrap();
    link::address(Port::new(&a, "eth0"), &["192.0.2.1/24", "2001:db8::1/64"]).unwrap();
    link::address(Port::new(&b, "eth0"), &["192.0.2.2/24", "2001:db8::2/64"]).unwrap();
    (a, b)
}

/// Two devices of ours, each the other's peer: 10.9.0.1 and 10.9.0.2, fd09::1 and fd09::2. Nobody has spoken yet.
pub(crate) fn pair(lab: &Lab) -> (Device, Device) {
    let (a, b) = underlay(lab);
    let (a, b) = (Device::start(lab, &a), Device::start(lab, &b));
    introduce(lab, &a, &b);
    (a, b)
}

/// Private keys 1 and 2; only `a` knows where the other is.
pub(crate) fn introduce(lab: &Lab, a: &Device, b: &Device) {
    let (key_a, key_b) = (Key::new(1), Key::new(2));
    b.set(&["private-key", &key_b.file(lab), "peer", &key_a.public(), "allowed-ips", "10.9.0.1/32,fd09::1/128"]);
    b.set(&["listen-port", "51820"]);
    a.set(&["private-key", &key_a.file(lab), "peer", &key_b.public(), "allowed-ips", "10.9.0.2/32,fd09::2/128"]);
    a.set(&["peer", &key_b.public(), "endpoint", "192.0.2.2:51820"]);
    a.up(&["10.9.0.1/24", "fd09::1/64"]);
    b.up(&["10.9.0.2/24", "fd09::2/64"]);
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    interrupt::wait_for(what, PATIENCE, Duration::from_millis(20), || Ok(holds().then_some(()))).unwrap();
}

/// What `cargo xtask setup` unpacked.
fn wireguard_go() -> PathBuf {
    Installed::beside(Path::new(env!("CARGO_BIN_EXE_meshd"))).unwrap().path(Program::WireguardGo)
}

/// The values after the first of each line, by that first one.
pub(crate) fn fields(text: &str, key: &str) -> Result<Vec<String>> {
    let line = text.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key} in {text}"))?;
    let values: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
    ensure!(!values.is_empty(), "{line}");
    Ok(values)
}
