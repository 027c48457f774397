//! The servers that are compared, each with the same names, on one core.

use std::{env, fmt::Write as _, fs, io, mem, net::SocketAddr, os::unix::process::CommandExt, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{Lab, Namespace, process::Daemon};

use super::{MEMBERS, PEERS, SERVER_CORE, address, member_name, server};

#[derive(Clone, Copy, Debug)]
pub(super) enum Program {
    Mesh,
    Dnsmasq,
    Nsd,
}

impl Program {
    pub(super) const ALL: [Program; 3] = [Program::Mesh, Program::Dnsmasq, Program::Nsd];

    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Mesh => "mesh",
            Program::Dnsmasq => "dnsmasq",
            Program::Nsd => "nsd",
        }
    }

    pub(super) fn start(self, lab: &Lab, namespace: &Namespace, listen: SocketAddr) -> Result<Daemon> {
        let directory = lab.directory().join(self.name());
        fs::create_dir(&directory)?;
        let file = |name: &str, text: String| -> Result<String> {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(path.display().to_string())
        };
        let mut command = match self {
            Program::Mesh => {
                let mut command = namespace.command(env::current_exe()?);
                command.args(["dns-server", "--listen", &listen.to_string()]);
                command
            }
            Program::Dnsmasq => {
                let hosts = file("hosts", hosts())?;
                let mut command = namespace.command("dnsmasq");
                command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="]);
                command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--local-ttl=5"]);
                command.args([format!("--local=/{}/", server::SUFFIX), format!("--addn-hosts={hosts}")]);
                command.args([format!("--listen-address={}", listen.ip()), format!("--port={}", listen.port())]);
                command
            }
            Program::Nsd => {
                let zone = file("zone", zone())?;
                let settings = file("nsd.conf", nsd_conf(&directory.display().to_string(), &zone, listen))?;
                let mut command = namespace.command("nsd");
                command.args(["-d", "-c", &settings]);
                command
            }
        };
        // SAFETY: one system call on memory of its own; nothing allocates between fork and exec.
        unsafe { command.pre_exec(|| set_affinity(SERVER_CORE)) };
        Daemon::start(self.name(), command, &directory.join("log"))
    }
}

fn hosts() -> String {
    lines(|text, name, address| writeln!(text, "{address} {name}"))
}

fn zone() -> String {
    let suffix = server::SUFFIX;
    let head = format!(
        "{suffix}. 5 IN SOA ns.{suffix}. hostmaster.{suffix}. 1 3600 3600 3600 5\n{suffix}. 5 IN NS ns.{suffix}.\n"
    );
    head + &lines(|text, name, address| writeln!(text, "{name}. 5 IN A {address}"))
}

fn lines(line: impl Fn(&mut String, &str, std::net::Ipv4Addr) -> std::fmt::Result) -> String {
    let mut text = String::new();
    for member in 0..MEMBERS {
        for peer in 0..PEERS {
            line(&mut text, &member_name(member), address(member, peer)).expect("writing to a string does not fail");
        }
    }
    text
}

/// With the buffer that ours asks for too.
fn nsd_conf(directory: &str, zone: &str, listen: SocketAddr) -> String {
    format!(
        "server:\n  ip-address: {}@{}\n  server-count: 1\n  username: \"\"\n  zonesdir: \"{directory}\"\n  database: \"\"\n  \
         pidfile: \"{directory}/pid\"\n  xfrdfile: \"{directory}/xfrd\"\n  zonelistfile: \"{directory}/zones\"\n  \
         receive-buffer-size: 8388608\n  round-robin: yes\n  minimal-responses: yes\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\nzone:\n  name: \"{}\"\n  zonefile: \"{zone}\"\n",
        listen.ip(),
        listen.port(),
        server::SUFFIX,
    )
}

/// Keeps this thread on one core.
pub(super) fn pin(core: usize) -> Result<()> {
    set_affinity(core).with_context(|| format!("core {core}: this bench takes two"))
}

fn set_affinity(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is the empty one, and the call only reads it.
    let done = unsafe {
        let mut cores: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut cores);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cores)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Processor time of a server and of the processes that it has started, which are of its process group.
pub(super) fn spent(leader: u32) -> Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        // A process that ends meanwhile is none of ours.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // Behind the name, which may hold anything: state, parent, group, and from the 12th on user and system time.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        if number(2) == u64::from(leader) {
            ticks += number(11) + number(12);
        }
    }
    ensure!(ticks > 0, "process group {leader} has spent no time: is the server still there?");
    Ok(crate::processors::TICK * u32::try_from(ticks)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn all_servers_get_the_same_names() {
        assert_eq!(hosts().lines().count(), MEMBERS * PEERS);
        assert_eq!(zone().lines().count(), 2 + MEMBERS * PEERS);
        let name = member_name(7);
        assert!(zone().contains(&format!("{name}. 5 IN A {}\n", address(7, 3))), "{name}");
    }

    #[test]
    fn a_server_that_is_not_there_has_spent_nothing() {
        assert!(spent(u32::MAX).is_err());
        let mut child = Command::new("sleep").arg("10").process_group(0).spawn().unwrap();
        let spent = spent(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(spent.is_err(), "a process that sleeps: {spent:?}");
    }
}
