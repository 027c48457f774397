//! Does the machine's resolver ask us for the names of groups?
//!
//! systemd-resolved is told through `resolvectl`, which speaks D-Bus for us: on the link of a group's tunnel it gets our
//! address and our suffixes as routing domains (resolvectl(1)). Where it does not run, the operator is told what to write.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mesh_core::model::{DnsSettings, group::DomainName};

use crate::kernel::links;

/// For one call of `resolvectl`.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// What all devices of groups begin with.
const GROUP_DEVICES: &str = "mesh-g";

/// Where systemd-resolved is looked for.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    /// Its own directory, which is there while it runs.
    pub(super) directory: PathBuf,
    pub(super) program: PathBuf,
    /// It knows the links of the first process's namespace alone: the number of one of ours would be another one there.
    pub(super) reachable: bool,
}

/// What it was told.
#[derive(Debug)]
pub(super) struct Registration {
    resolver: Resolver,
    wanted: bool,
    servers: Vec<String>,
    suffixes: Vec<String>,
    /// What to do by hand.
    instruction: String,
    link: Option<Link>,
    /// Not tried again with the same link.
    refused: Option<(Link, String)>,
}

/// Name and number.
type Link = (String, u32);

impl Resolver {
    pub(super) fn of_this_machine() -> Resolver {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        Resolver {
            directory: "/run/systemd/resolve".into(),
            program: "resolvectl".into(),
            reachable: namespace("self") == namespace("1"),
        }
    }

    fn runs(&self) -> bool {
        self.reachable && self.directory.is_dir() && is_found(&self.program)
    }

    /// Runs `resolvectl` to its end: it may wait for a bus that does not answer.
    fn call(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let line = || format!("`{} {}`", self.program.display(), arguments.join(" "));
        let mut child = command.spawn().with_context(line)?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().with_context(line)? {
                break status;
            }
            if Instant::now() >= deadline {
                child.kill().and_then(|()| child.wait()).with_context(line)?;
                bail!("{} did not end within {} s", line(), PATIENCE.as_secs());
            }
            std::thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            // What cannot be read is not shown.
            let _ = stderr.read_to_string(&mut said);
        }
        bail!("{} failed ({status}): {}", line(), said.trim())
    }
}

impl Registration {
    pub(super) fn new(resolver: Resolver, settings: &DnsSettings, suffixes: &[DomainName]) -> Registration {
        let servers: Vec<_> = settings.listen.iter().map(reached_at).collect();
        Registration {
            resolver,
            wanted: settings.register,
            instruction: instruction(&servers, suffixes),
            servers: servers.iter().map(spelled).collect(),
            suffixes: suffixes.iter().map(|suffix| format!("~{suffix}")).collect(),
            link: None,
            refused: None,
        }
    }

    /// Sees to it that it knows what it should; what the operator should do instead.
    pub(super) async fn follow(&mut self) -> Option<String> {
        let devices = links::names().into_iter().filter(|(name, _)| name.starts_with(GROUP_DEVICES));
        let devices: Vec<Link> = devices.collect();
        let link = devices.first().filter(|_| self.wanted)?.clone();
        if !self.resolver.runs() {
            self.link = None;
            return Some(self.instruction.clone());
        }
        if self.link.as_ref().is_some_and(|link| devices.contains(link)) {
            return None;
        }
        if self.refused.as_ref().is_none_or(|(tried, _)| *tried != link) {
            match self.register(link.0.clone()).await {
                Ok(()) => {
                    tracing::info!("DNS: systemd-resolved asks us for {} on link {}", self.suffixes.join(" "), link.0);
                    (self.link, self.refused) = (Some(link), None);
                }
                Err(error) => self.refused = Some((link, format!("{error:#}"))),
            }
        }
        self.refused.as_ref().map(|(_, reason)| format!("{}: {reason}", self.instruction))
    }

    /// What it was told is taken back. A link that is gone took it with it.
    pub(super) async fn withdraw(&mut self) {
        let Some((link, _)) = self.link.take() else { return };
        let resolver = self.resolver.clone();
        let done = tokio::task::spawn_blocking(move || resolver.call(&["revert", &link])).await;
        if let Ok(Err(error)) = done {
            tracing::warn!("DNS: systemd-resolved may go on asking us: {error:#}");
        }
    }

    async fn register(&self, link: String) -> Result<()> {
        let (resolver, servers, suffixes) = (self.resolver.clone(), self.servers.clone(), self.suffixes.clone());
        let calls = move || {
            let with = |verb: &str, values: &[String]| {
                let mut arguments = vec![verb, &link];
                arguments.extend(values.iter().map(String::as_str));
                resolver.call(&arguments)
            };
            with("dns", &servers)?;
            with("domain", &suffixes)?;
            // Other names stay with the servers that it had.
            with("default-route", &["false".to_owned()])
        };
        tokio::task::spawn_blocking(calls).await.context("a call of resolvectl has panicked")?
    }
}

/// Where a server that listens on all addresses is reached from this machine.
fn reached_at(listen: &SocketAddr) -> SocketAddr {
    let address: IpAddr = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

/// As resolvectl(1) takes it.
fn spelled(server: &SocketAddr) -> String {
    if server.port() == 53 { server.ip().to_string() } else { server.to_string() }
}

fn instruction(servers: &[SocketAddr], suffixes: &[DomainName]) -> String {
    let suffixes = suffixes.iter().map(|suffix| format!("*.{suffix}")).collect::<Vec<_>>().join(" and ");
    let server = servers.first().map(spelled).unwrap_or_default();
    format!(
        "DNS: the resolver of this machine does not ask {server} for {suffixes}: make `nameserver {server}` the first one in \
         /etc/resolv.conf, or forward these names to it (silence this with `register = false` in [dns])"
    )
}

fn is_found(program: &Path) -> bool {
    if program.is_absolute() {
        return program.is_file();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}
