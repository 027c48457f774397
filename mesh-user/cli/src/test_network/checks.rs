//! Which checks are made between which clusters, and what each says.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mesh_core::api::{
    Condition, ConditionStatus, Connection, ConnectionState,
    trial::{CheckFrom, CheckKind, CheckReply, TrialCheck},
};

use super::{
    report::{Finding, Outcome, Report},
    site::{Site, called},
    whereabouts::{Counts, Ends},
};
use crate::exit::{Exit, Failure};

const CONNECTION: &str = "connection";
const POD_TO_POD: &str = "pod to pod";
const POD_TO_OUTSIDE: &str = "pod to outside host";
/// Counters are published so often at least.
const LAG: Duration = Duration::from_millis(700);
/// A test pod lives longer than the test, should nobody end it.
const GRACE: u64 = 10;
const LONGEST_LIFE: u64 = 3_600;

pub(super) struct Extent<'a> {
    pub(super) is_basic: bool,
    pub(super) wants_info: bool,
    pub(super) fails_fast: bool,
    /// `Some`: outside hosts are wanted; a `None` in it stands for the IP objects of the remotes.
    pub(super) outside: Option<&'a [Option<SocketAddr>]>,
    pub(super) deadline: Instant,
}

pub(super) struct Run<'a> {
    pub(super) local: Site,
    pub(super) remotes: Vec<Site>,
    pub(super) extent: Extent<'a>,
    pub(super) report: &'a mut Report,
}

/// From the test pod, or the node, of one cluster to the test pod of another.
struct Way<'a> {
    from: &'a Site,
    to: &'a Site,
    /// Real.
    address: IpAddr,
    /// What `from` calls it.
    target: IpAddr,
    mtu: Option<u16>,
}

/// What is tried on a way.
struct Step {
    name: &'static str,
    from: CheckFrom,
    kind: CheckKind,
    is_basic: bool,
}

const STEPS: [Step; 5] = [
    Step { name: POD_TO_POD, from: CheckFrom::Pod, kind: CheckKind::Echo, is_basic: true },
    Step { name: "pod to pod, TCP", from: CheckFrom::Pod, kind: CheckKind::Connect, is_basic: true },
    Step { name: "node to pod", from: CheckFrom::Node, kind: CheckKind::Echo, is_basic: true },
    Step { name: "MTU", from: CheckFrom::Pod, kind: CheckKind::Mtu, is_basic: false },
    Step { name: "throughput", from: CheckFrom::Pod, kind: CheckKind::Stream, is_basic: false },
];

impl Run<'_> {
    /// Makes the test pods that are needed.
    pub(super) fn open(&mut self, here: &[IpAddr], there: &[IpAddr]) -> Result<(), Failure> {
        let left = self.extent.deadline.saturating_duration_since(Instant::now());
        let life = (left.as_secs() + GRACE).min(LONGEST_LIFE);
        if self.remotes.is_empty() && self.extent.outside.is_none() {
            return Ok(());
        }
        let remotes = self.remotes.iter_mut().map(|site| (site, there));
        for (site, addresses) in std::iter::once((&mut self.local, here)).chain(remotes) {
            let trial = site.open(addresses, life)?;
            let shown = format!("test pod {} with {:?}, port {}", trial.device, trial.addresses, trial.port);
            self.report.detail(&format!("{} ({}): {shown}", site.id(), site.place()));
        }
        Ok(())
    }

    /// The first failure; all are tried.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        let sites = std::iter::once(&mut self.local).chain(&mut self.remotes);
        sites.map(Site::close).fold(Ok(()), Result::and)
    }

    pub(super) fn all(&mut self) -> Result<(), Failure> {
        let connections = self.local.connections()?;
        if connections.is_empty() {
            let message = format!("{} has no connections", self.local.id());
            return Err(Failure::new(Exit::NotFound, message, "`meshctl network connect` makes one"));
        }
        if self.extent.wants_info {
            self.tell()?;
        }
        for connection in &connections {
            self.connection(connection)?;
            self.ends_of(connection)?;
        }
        self.strangers(&connections)?;
        self.outside()
    }

    /// What each cluster knows of the others.
    fn tell(&mut self) -> Result<(), Failure> {
        let mut facts = Vec::new();
        let sites = || std::iter::once(&self.local).chain(&self.remotes);
        for site in sites() {
            let network = &site.info.network;
            let (pods, external) = (&network.pod_cidrs, &network.external_cidrs);
            facts.push(format!("{} at {}: pods {pods:?}, external {external:?}", site.id(), site.place()));
            for connection in site.connections()? {
                let names = site.names(&connection.remote)?;
                let names: Vec<String> =
                    names.iter().map(|name| format!("{} is called {}", name.real, name.presented)).collect();
                let endpoint = connection.endpoint.as_deref().unwrap_or("no endpoint");
                let (remote, kind, state) = (&connection.remote, &connection.kind, connection.state);
                let names = names.join(", ");
                facts.push(format!("{} -> {remote}: {kind}, {state:?}, {endpoint}; {names}", site.id()));
            }
        }
        facts.into_iter().for_each(|fact| self.report.fact(fact));
        Ok(())
    }

    /// What the daemon here sees of it.
    fn connection(&mut self, connection: &Connection) -> Result<(), Failure> {
        let is_fine = connection.state == ConnectionState::Connected && broken(connection).is_empty();
        let outcome = if is_fine { Outcome::Ok } else { Outcome::Failed };
        let mut finding = Finding::new(self.local.id(), &connection.remote, CONNECTION, outcome);
        finding.target.clone_from(&connection.endpoint);
        finding.mtu = connection.mtu;
        if !is_fine {
            let mut why = vec![format!("it is {:?}", connection.state)];
            why.extend(broken(connection));
            why.extend(Some(connection.detail.clone()).filter(|detail| !detail.is_empty()));
            finding.reason = Some(why.join("; "));
            finding.next = Some("`meshctl network status -o wide` at both clusters".to_owned());
        }
        self.found(finding)
    }

    /// Both ways, where the daemon of the other end is known.
    fn ends_of(&mut self, connection: &Connection) -> Result<(), Failure> {
        let remote = &connection.remote;
        let Some(there) = self.remotes.iter().find(|site| site.id() == *remote) else {
            let mut finding = Finding::new(self.local.id(), remote, POD_TO_POD, Outcome::Skipped);
            finding.reason = Some(format!("no daemon of {remote} was named, so there is no test pod"));
            finding.next = Some("--remote-context NAME, -p FILE or --remote-socket PATH".to_owned());
            return self.found(finding);
        };
        if connection.kind == "Direct" {
            let mut finding = Finding::new(self.local.id(), remote, POD_TO_POD, Outcome::Skipped);
            let reason =
                "a `direct` connection rewrites at interfaces of the settings, and test pods have none of these";
            finding.reason = Some(reason.to_owned());
            finding.next = Some("try from a pod that is behind an interface of role workload".to_owned());
            return self.found(finding);
        }
        let mut findings = Vec::new();
        for (from, to) in [(&self.local, there), (there, &self.local)] {
            findings.extend(self.one_way(from, to)?);
            if self.extent.fails_fast && findings.iter().any(|finding| finding.outcome == Outcome::Failed) {
                break;
            }
        }
        findings.into_iter().try_for_each(|finding| self.found(finding))
    }

    fn one_way(&self, from: &Site, to: &Site) -> Result<Vec<Finding>, Failure> {
        let Some(connection) = from.connection(to.id())? else {
            let mut finding = Finding::new(from.id(), to.id(), CONNECTION, Outcome::Failed);
            finding.reason = Some(format!("{} has no connection to {}", from.id(), to.id()));
            finding.next = Some("`meshctl network connect` makes what is missing at both".to_owned());
            return Ok(vec![finding]);
        };
        let names = from.names(to.id())?;
        let mut findings = Vec::new();
        for address in &to.trial()?.addresses {
            if !from.trial()?.addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
                continue;
            }
            let Some(target) = called(&names, *address) else {
                let mut finding = Finding::new(from.id(), to.id(), POD_TO_POD, Outcome::Failed);
                finding.reason = Some(format!("{} has no name for {address} of {}", from.id(), to.id()));
                finding.next =
                    Some(format!("`meshctl get configurations -A` at {}: is the pod CIDR in it?", from.id()));
                findings.push(finding);
                continue;
            };
            let way = Way { from, to, address: *address, target, mtu: connection.mtu };
            findings.extend(self.steps(&way)?);
        }
        Ok(findings)
    }

    fn steps(&self, way: &Way<'_>) -> Result<Vec<Finding>, Failure> {
        let mut findings: Vec<Finding> = Vec::new();
        for step in STEPS.iter().filter(|step| step.is_basic || !self.extent.is_basic) {
            self.check_time()?;
            let has_failed = |finding: &Finding| finding.outcome == Outcome::Failed;
            if findings.iter().any(|finding| finding.check == POD_TO_POD && has_failed(finding)) && !is_own(step) {
                let mut finding = Finding::new(way.from.id(), way.to.id(), step.name, Outcome::Skipped);
                finding.reason = Some(format!("{POD_TO_POD} failed already"));
                findings.push(finding);
                continue;
            }
            if self.extent.fails_fast && findings.iter().any(has_failed) {
                break;
            }
            findings.push(self.step(way, step)?);
        }
        Ok(findings)
    }

    fn step(&self, way: &Way<'_>, step: &Step) -> Result<Finding, Failure> {
        let reply = way.from.check(&way.check(step.from, step.kind)?)?;
        self.report.detail(&format!("{} {}: {reply:?}", way.from.id(), step.name));
        let mut finding = finding(way.from.id(), way.to.id(), step.name, &reply);
        finding.target = Some(way.target.to_string());
        if step.kind == CheckKind::Mtu {
            finding.mtu = way.mtu;
        }
        let Some(failure) = reply.failure else { return Ok(finding) };
        let (reason, next) = match (step.kind, finding.largest.zip(way.mtu)) {
            (CheckKind::Mtu, Some((largest, mtu))) => (
                failure,
                format!(
                    "set spec.mtu of the gateway objects of both clusters to {largest}, or let the network between the \
                     gateways carry packets of {mtu} bytes and the tunnel's headers"
                ),
            ),
            (CheckKind::Connect, _) => {
                (failure, "UDP passes and TCP does not: a firewall on either gateway".to_owned())
            }
            (CheckKind::Stream, _) => (failure, "see MTU: long packets may be what is lost".to_owned()),
            _ => self.whereabouts(way, step.from, &failure)?,
        };
        finding.reason = Some(reason);
        finding.next = Some(next);
        Ok(finding)
    }

    /// Sends enough that counters on the way tell where it stops.
    fn whereabouts(&self, way: &Way<'_>, from: CheckFrom, failure: &str) -> Result<(String, String), Failure> {
        std::thread::sleep(LAG);
        let before = way.counts()?;
        let burst = way.from.check(&way.check(from, CheckKind::Burst)?)?;
        std::thread::sleep(LAG);
        let counts = way.counts()?.since(&before);
        self.report.detail(&format!("{} datagrams: {counts:?}, {} answered", burst.attempts, burst.answered));
        if burst.answered > burst.attempts / 2 {
            let lost = burst.attempts - burst.answered;
            let next = "`meshctl status` counts drops by reason; try again when nothing else uses the path".to_owned();
            return Ok((format!("{failure}; then {lost} of {} were lost", burst.attempts), next));
        }
        let ends = Ends { from: way.from.id(), to: way.to.id(), is_from_node: from == CheckFrom::Node };
        let stop = counts.stop(burst.attempts.into());
        let verdicts = way.verdicts()?;
        let verdicts = if verdicts.is_empty() { String::new() } else { format!(" ({})", verdicts.join("; ")) };
        Ok((format!("{failure}: {}{verdicts}", stop.reason(ends)), stop.next(ends)))
    }

    /// Daemons that were named, of clusters that there is no connection to.
    fn strangers(&mut self, connections: &[Connection]) -> Result<(), Failure> {
        let is_stranger = |site: &&Site| !connections.iter().any(|connection| connection.remote == site.id());
        let strangers: Vec<String> = self.remotes.iter().filter(is_stranger).map(|site| site.id().to_owned()).collect();
        strangers.into_iter().try_for_each(|remote| {
            let mut finding = Finding::new(self.local.id(), &remote, CONNECTION, Outcome::Failed);
            finding.reason = Some(format!("{} has no connection to {remote}", self.local.id()));
            finding.next = Some("`meshctl network connect` makes one".to_owned());
            self.found(finding)
        })
    }

    fn outside(&mut self) -> Result<(), Failure> {
        let Some(wanted) = self.extent.outside else { return Ok(()) };
        let mut targets: Vec<(String, SocketAddr)> =
            wanted.iter().flatten().map(|target| ("outside".to_owned(), *target)).collect();
        if targets.is_empty() {
            for site in &self.remotes {
                let names = self.local.names(site.id())?;
                let called = site.given_out()?.into_iter().filter_map(|ip| called(&names, ip));
                targets.extend(called.map(|ip| (site.id().to_owned(), SocketAddr::new(ip, super::HTTPS))));
            }
        }
        if targets.is_empty() {
            let mut finding = Finding::new(self.local.id(), "outside", POD_TO_OUTSIDE, Outcome::Skipped);
            finding.reason = Some("no remote that was named has IP objects".to_owned());
            finding.next = Some(
                "--ip ADDRESS:PORT names a host; `meshctl create ip` at the remote gives one an address".to_owned(),
            );
            return self.found(finding);
        }
        for (to, target) in targets {
            self.check_time()?;
            let (from, kind) = (CheckFrom::Pod, CheckKind::Connect);
            let check = TrialCheck { from, kind, to: target.ip(), port: target.port(), mtu: None };
            let reply = self.local.check(&check)?;
            let mut finding = finding(self.local.id(), &to, POD_TO_OUTSIDE, &reply);
            finding.target = Some(target.to_string());
            finding.reason = reply.failure;
            finding.next = finding.reason.as_ref().map(|_| {
                "does the node reach it itself, and are pods masqueraded on their way out? `meshctl get ips -A` at the \
                 remote where it is an IP object"
                    .to_owned()
            });
            self.found(finding)?;
        }
        Ok(())
    }

    fn found(&mut self, finding: Finding) -> Result<(), Failure> {
        self.report.found(finding);
        if self.extent.fails_fast && self.report.has_failed() {
            return Err(Failure::new(Exit::Unhealthy, "a check failed", "--fail-fast left out tries the others too"));
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Failure> {
        if Instant::now() < self.extent.deadline {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Timeout,
            "the time is up before all checks were made",
            "--timeout gives more, --basic does less",
        ))
    }
}

impl Way<'_> {
    fn check(&self, from: CheckFrom, kind: CheckKind) -> Result<TrialCheck, Failure> {
        let mtu = self.mtu.filter(|_| kind == CheckKind::Mtu);
        Ok(TrialCheck { from, kind, to: self.target, port: self.to.trial()?.port, mtu })
    }

    fn counts(&self) -> Result<Counts, Failure> {
        let packets = |site: &Site, remote: &Site| {
            let connection = site.connection(remote.id())?;
            Ok::<_, Failure>(connection.map_or((0, 0), |one| (one.rx_packets, one.tx_packets)))
        };
        let (back, sent) = packets(self.from, self.to)?;
        let (arrived, returned) = packets(self.to, self.from)?;
        Ok(Counts { sent, arrived, delivered: self.to.delivered()?, returned, back })
    }

    /// What daemons on the way would not let through.
    fn verdicts(&self) -> Result<Vec<String>, Failure> {
        let own = self.from.trial()?.addresses.iter().find(|own| own.is_ipv4() == self.address.is_ipv4());
        let Some(own) = own else { return Ok(Vec::new()) };
        let asked = [(self.from, self.target), (self.to, self.address)];
        let mut verdicts = Vec::new();
        for (site, destination) in asked {
            let verdict = site.explain(*own, destination)?;
            if verdict.starts_with("dropped") {
                verdicts.push(format!("{} explains: {verdict}", site.id()));
            }
        }
        Ok(verdicts)
    }
}

/// A step that says something although pods do not reach each other.
fn is_own(step: &Step) -> bool {
    step.from == CheckFrom::Node
}

fn finding(from: &str, to: &str, check: &'static str, reply: &CheckReply) -> Finding {
    let outcome = if reply.failure.is_some() { Outcome::Failed } else { Outcome::Ok };
    Finding {
        attempts: Some(reply.attempts),
        answered: Some(reply.answered),
        latency: reply.latency,
        bits_per_second: reply.bits_per_second,
        largest: reply.largest,
        ..Finding::new(from, to, check, outcome)
    }
}

/// Conditions that do not hold, with what they say.
fn broken(connection: &Connection) -> Vec<String> {
    let is_broken = |condition: &&Condition| condition.status == ConditionStatus::False;
    let broken = connection.conditions.iter().filter(is_broken);
    broken.map(|condition| format!("{}: {}", condition.kind, condition.message)).collect()
}
