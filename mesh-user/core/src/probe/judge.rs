//! What does all that is known of a connection mean: its conditions, in words that name the broken hop and the next step,
//! and the one state on top.

use std::{net::SocketAddr, time::Duration};

use super::{Carried, ConditionKind, Health, Prober, SizeSearch, Statement, health::Legs, message::Faults};
use crate::{
    api::{ConditionStatus, ConnectionState},
    plan::{PROBE_PORT, Transport},
};

/// What the daemon sees around a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub session: Session,
    /// Where the remote is, as far as that is known.
    pub endpoint: Option<SocketAddr>,
    /// Why no probe can be sent from the gateway address.
    pub trouble: Option<String>,
    /// Why this node has no responder.
    pub responder_trouble: Option<String>,
    /// What is wrong with this node's forwarding, with the next step.
    pub own_faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// There never was one, or it is forgotten.
    #[default]
    Never,
    Live,
    Expired,
    /// A program carries the tunnel and says nothing of sessions.
    Unseen,
}

/// The state of a connection as others show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub state: ConnectionState,
    pub latency: Option<Duration>,
    /// Why it is not connected, or what it trusts.
    pub detail: String,
    /// The longest packet that arrives, up to the MTU.
    pub path_mtu: Option<u16>,
}

/// How one family's legs stand.
enum Verdict {
    Pending,
    /// Some legs are whole again, and the next reply may show that all are.
    Settling,
    Forwarded,
    Broken(Hop),
}

#[derive(Clone, Copy)]
enum Hop {
    Far,
    Ours,
    Either,
    Responders,
}

impl Health {
    /// What changed or stays; a condition that cannot be told at this moment is left as it is.
    pub(super) fn statements(&self, around: &Surroundings) -> Vec<(ConditionKind, Statement)> {
        let each = [
            (ConditionKind::Handshake, Some(self.handshake(around))),
            (ConditionKind::TunnelProbe, Some(self.tunnel_probe(around))),
            (ConditionKind::DataPath, self.data_path(around)),
            (ConditionKind::Mtu, self.path_mtu()),
        ];
        each.into_iter().filter_map(|(kind, statement)| Some((kind, statement?))).collect()
    }

    pub(super) fn judgement(&self, around: &Surroundings) -> Judgement {
        let state = self.state(around);
        let path_mtu = match self.sizes.as_ref().map(SizeSearch::carried) {
            None | Some(Carried::Unknown) => None,
            Some(Carried::Full) => Some(self.mtu),
            Some(Carried::AtMost(length)) => Some(length),
        };
        Judgement { state, latency: self.latency(), detail: self.detail(state, around), path_mtu }
    }

    fn state(&self, around: &Surroundings) -> ConnectionState {
        if !self.connection.thresholds.enabled {
            return ConnectionState::Connected;
        }
        let Some(gateways) = &self.gateways else {
            return match around.session {
                Session::Never | Session::Unseen => ConnectionState::Connecting,
                Session::Live => ConnectionState::Connected,
                Session::Expired => ConnectionState::Error,
            };
        };
        let fails = |kind| self.chronicle.held(kind).is_some_and(|held| held.status == ConditionStatus::False);
        match gateways.state() {
            ConnectionState::Connected if fails(ConditionKind::DataPath) || fails(ConditionKind::Mtu) => {
                ConnectionState::Error
            }
            state => state,
        }
    }

    fn detail(&self, state: ConnectionState, around: &Surroundings) -> String {
        if let Some(trouble) = &around.trouble {
            return trouble.clone();
        }
        if state == ConnectionState::Connected {
            return match self.connection.transport {
                Transport::Direct { .. } => {
                    "authenticates nobody: trusts what comes in by this interface; received counts both ways".to_owned()
                }
                Transport::WireguardServer { .. } | Transport::WireguardClient { .. } => String::new(),
            };
        }
        let order = [ConditionKind::Handshake, ConditionKind::TunnelProbe, ConditionKind::DataPath, ConditionKind::Mtu];
        let mut held = order.into_iter().filter_map(|kind| self.chronicle.held(kind));
        let first = held.find(|statement| statement.status == ConditionStatus::False);
        first.map(|statement| statement.message.clone()).unwrap_or_default()
    }

    fn handshake(&self, around: &Surroundings) -> Statement {
        if matches!(self.connection.transport, Transport::Direct { .. }) {
            return Statement::unknown("Direct", "`direct` has no handshake and authenticates nobody");
        }
        let is_server = matches!(self.connection.transport, Transport::WireguardServer { .. });
        let again = "is its daemon running, and does UDP pass between the two?";
        match (around.session, around.endpoint) {
            (Session::Live, Some(endpoint)) => Statement::yes("SessionLive", format!("session with {endpoint}")),
            (Session::Live, None) => Statement::yes("SessionLive", "session in force".to_owned()),
            (Session::Expired, Some(endpoint)) => {
                Statement::no("SessionExpired", format!("the session with {endpoint} was not renewed: {again}"))
            }
            (Session::Expired, None) => {
                Statement::no("SessionExpired", format!("the session was not renewed: {again}"))
            }
            (Session::Never, Some(endpoint)) => {
                let next = "is that its address and port, does UDP pass, and has each side the other's PublicKey?";
                Statement::no("NoHandshake", format!("no session: no handshake with {endpoint}: {next}"))
            }
            (Session::Never, None) if is_server => {
                Statement::no("WaitsForClient", "no session: waits for the client to call".to_owned())
            }
            (Session::Never, None) => Statement::no("NoEndpoint", "no session".to_owned()),
            (Session::Unseen, _) => {
                Statement::unknown("Driver", "the program that carries the tunnel has its sessions")
            }
        }
    }

    fn tunnel_probe(&self, around: &Surroundings) -> Statement {
        let (Some(gateways), Some(probe)) = (&self.gateways, self.connection.probe) else {
            return self.not_probed();
        };
        if let Some(trouble) = &around.trouble {
            return Statement::unknown("CannotProbe", trouble);
        }
        let (remote, to) = (&self.connection.remote, probe.to);
        match gateways.state() {
            ConnectionState::Connecting => Statement::unknown("Probing", format!("no reply from {to} yet")),
            ConnectionState::Connected => {
                Statement::yes("Answered", format!("the gateway of {remote} answers on {to}"))
            }
            ConnectionState::Error => {
                let next = match around.session {
                    Session::Live | Session::Unseen => {
                        format!(
                            "the session is live: does meshd run at {remote}, and may UDP port {PROBE_PORT} come in?"
                        )
                    }
                    Session::Never | Session::Expired => "there is no session, see Handshake".to_owned(),
                };
                Statement::no("NoReply", format!("no reply from {to} UDP port {PROBE_PORT}: {next}"))
            }
        }
    }

    fn not_probed(&self) -> Statement {
        if self.connection.thresholds.enabled {
            let message =
                format!("{} announces no external CIDR, in which its responder would be", self.connection.remote);
            Statement::unknown("NoResponder", message)
        } else {
            Statement::unknown("ProbesOff", "the gateway's template turns probes off")
        }
    }

    /// `None`: at this moment it cannot be told.
    fn data_path(&self, around: &Surroundings) -> Option<Statement> {
        if let Some(fault) = around.own_faults.first() {
            return Some(Statement::no("NotForwardedHere", format!("this gateway does not forward: {fault}")));
        }
        let Some(gateways) = &self.gateways else { return Some(self.not_probed()) };
        match gateways.state() {
            ConnectionState::Connecting => return Some(Statement::unknown("Probing", "no reply yet")),
            ConnectionState::Error => {
                return Some(Statement::unknown("TunnelDown", "the tunnel comes first, see TunnelProbe"));
            }
            ConnectionState::Connected if !self.answers_now() => return None,
            ConnectionState::Connected => {}
        }
        let faults = self.far.map_or(Faults::default(), |far| far.faults);
        if let Some(message) = self.far_fault(faults) {
            return Some(Statement::no("NotForwardedThere", message));
        }
        if faults.has(Faults::NO_RESPONDER) {
            let message = format!("{} has no responder behind its gateway", self.connection.remote);
            return Some(Statement::unknown("NoResponder", message));
        }
        if let Some(trouble) = &around.responder_trouble {
            return Some(Statement::unknown("NoOwnResponder", trouble));
        }
        let verdicts: Vec<(&Legs, Verdict)> = self.paths.iter().map(|legs| (legs, legs.verdict())).collect();
        for (legs, verdict) in &verdicts {
            if let Verdict::Broken(hop) = verdict {
                return Some(self.broken(legs, *hop));
            }
        }
        if verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Settling)) {
            return None;
        }
        if verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Pending)) {
            return Some(Statement::unknown("Probing", "no reply from behind the remote gateway yet"));
        }
        Some(Statement::yes("Forwarded", "both gateways forward between the tunnel and what is behind them".to_owned()))
    }

    fn far_fault(&self, faults: Faults) -> Option<String> {
        let remote = &self.connection.remote;
        let has = |v4| self.paths.iter().any(|legs| legs.path.gateway.to.is_ipv4() == v4);
        let off = |family: &str, setting: &str| {
            Some(format!("the gateway of {remote} does not forward {family}: `sysctl -w {setting}=1` there"))
        };
        if faults.has(Faults::FORWARDING_V4_OFF) && has(true) {
            return off("IPv4", "net.ipv4.ip_forward");
        }
        if faults.has(Faults::FORWARDING_V6_OFF) && has(false) {
            return off("IPv6", "net.ipv6.conf.all.forwarding");
        }
        faults.has(Faults::WORKLOAD_DOWN).then(|| {
            format!("an interface towards the pods of {remote} is down on its gateway: `meshctl status` there names it")
        })
    }

    fn broken(&self, legs: &Legs, hop: Hop) -> Statement {
        let remote = &self.connection.remote;
        let (far, behind) = (legs.path.gateway.to, legs.path.responder.to);
        let own = legs.path.responder.from;
        let look = if far.is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
        let look = format!("`sysctl {look}` and the forward chains of `nft list ruleset`");
        match hop {
            Hop::Far => {
                let message = format!(
                    "packets reach the gateway of {remote} ({far} answers) and are not forwarded there ({behind} behind it \
                     does not answer): on that gateway look at {look}"
                );
                Statement::no("NotForwardedThere", message)
            }
            Hop::Ours => {
                let message = format!(
                    "the gateway of {remote} answers this gateway and not {own} behind it: forwarding is cut here, look at \
                     {look}"
                );
                Statement::no("NotForwardedHere", message)
            }
            Hop::Either => {
                let message = format!(
                    "the gateways reach each other ({far} answers), and neither forwards: on this gateway and on that of \
                     {remote} look at {look}"
                );
                Statement::no("NotForwarded", message)
            }
            Hop::Responders => {
                let message = format!(
                    "each gateway forwards by itself, and {own} does not reach {behind}: a firewall between the tunnel and \
                     {remote} judges by addresses, look at the forward chains of `nft list ruleset` on both gateways"
                );
                Statement::no("NotForwarded", message)
            }
        }
    }

    /// `None`: at this moment it cannot be told.
    fn path_mtu(&self) -> Option<Statement> {
        let Some(sizes) = &self.sizes else {
            let is_direct = matches!(self.connection.transport, Transport::Direct { .. });
            let none = || Statement::unknown("Direct", "`direct` has no tunnel: the MTU is that of the interface");
            return Some(if is_direct && self.connection.thresholds.enabled { none() } else { self.not_probed() });
        };
        let (mtu, remote) = (self.mtu, &self.connection.remote);
        if let Some(far) = self.far.filter(|far| far.mtu > 0 && far.mtu != mtu) {
            let message = format!(
                "the MTU is {mtu} here and {far} at {remote}: give both gateways the same spec.mtu, {fits} fits both",
                far = far.mtu,
                fits = far.mtu.min(mtu)
            );
            return Some(Statement::no("MtuMismatch", message));
        }
        match sizes.carried() {
            Carried::Unknown => Some(Statement::unknown("Probing", "not tried yet")),
            Carried::Full => Some(Statement::yes("PathCarriesMtu", format!("packets of {mtu} bytes reach {remote}"))),
            Carried::AtMost(length) => {
                let message = format!(
                    "packets of {mtu} bytes are lost on the way to {remote}, those of {length} arrive: give the gateways of \
                     both sides spec.mtu: {length}, or make room for {mtu} and what the tunnel adds on the underlay"
                );
                Some(Statement::no("PathTooNarrow", message))
            }
        }
    }
}

impl Legs {
    fn verdict(&self) -> Verdict {
        let lost = |prober: &Prober| prober.state() == ConnectionState::Error;
        let (far, ours) = (&self.far_forwarding, &self.our_forwarding);
        let settles = |prober| !lost(prober) && !prober.is_settled();
        match self.through.state() {
            ConnectionState::Connected => Verdict::Forwarded,
            ConnectionState::Connecting => Verdict::Pending,
            ConnectionState::Error if settles(far) || settles(ours) => Verdict::Settling,
            ConnectionState::Error => Verdict::Broken(match (lost(far), lost(ours)) {
                (true, false) => Hop::Far,
                (false, true) => Hop::Ours,
                (true, true) => Hop::Either,
                (false, false) => Hop::Responders,
            }),
        }
    }
}
