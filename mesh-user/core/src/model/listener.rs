//! What this node runs for one gateway: the spec that its template was rendered to, as far as both ends have it in common.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    DEFAULT_MTU,
    group::NodeId,
    tree::{self, Fields},
};
use crate::probe::Thresholds;

/// Below this, IPv4 hosts need not take a datagram whole (RFC 791).
const MTU_MIN: u16 = 576;
/// Leaves room for what WireGuard and the underlay headers add.
const MTU_MAX: u16 = 65_000;
/// Seconds between probes.
const INTERVALS: std::ops::RangeInclusive<u16> = 1..=300;
const LOSSES: std::ops::RangeInclusive<u16> = 1..=100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub driver: Driver,
    /// Bytes of a packet inside the tunnel.
    pub mtu: u16,
    /// Addresses of this node that the ports are bound to, at most one of each family. Empty: all.
    pub bind: Vec<IpAddr>,
    /// The nodes of the cluster that run this gateway. Empty: each that has the object.
    pub nodes: Vec<NodeId>,
    /// How the connection is watched. Without probes it always counts as connected.
    pub thresholds: Thresholds,
    /// Of the key pair, in the state directory of the node; `None`: the node's own.
    pub secret: Option<String>,
}

/// What moves the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    Wireguard,
    /// Over the underlay, unencrypted.
    Direct,
    /// A program that owns the tunnel device.
    Exec(ExecDriver),
}

/// The program and what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecDriver {
    /// Program and arguments, never empty.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Listener {
    /// The fields that both ends have.
    pub(super) fn read(spec: &mut Fields<'_>) -> Option<Listener> {
        let mtu = mtu(spec);
        let thresholds = thresholds(spec);
        let bind = bind(spec);
        let nodes = nodes(spec);
        let secret = secret(spec, "secretName");
        let driver = driver(spec)?;
        Some(Listener { driver, mtu, bind, nodes, thresholds, secret })
    }

    /// This node runs the gateway.
    pub fn is_on(&self, node: Option<&NodeId>) -> bool {
        self.nodes.is_empty() || node.is_some_and(|node| self.nodes.contains(node))
    }
}

/// `mtu`, [`DEFAULT_MTU`] where it is not given.
pub(super) fn mtu(spec: &mut Fields<'_>) -> u16 {
    spec.number("mtu", MTU_MIN..=MTU_MAX).unwrap_or(DEFAULT_MTU)
}

/// A name that is also one of a file.
pub(super) fn secret(fields: &mut Fields<'_>, field: &'static str) -> Option<String> {
    let name = fields.scalar(field)?;
    let is_good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '.');
    if name.is_empty() || name.len() > 200 || name.starts_with(['.', '-']) || !name.chars().all(is_good) {
        fields.report(field, format!("{name:?} is no name of a secret"), "write small letters, digits, - and .");
        return None;
    }
    Some(name)
}

fn driver(spec: &mut Fields<'_>) -> Option<Driver> {
    let word = spec.text("driver");
    let exec = spec.section("exec");
    match (word, exec) {
        (Some("exec"), Some(exec)) => exec_driver(exec).map(Driver::Exec),
        (Some("exec"), None) => {
            if spec.is_absent("exec") {
                spec.report("exec", "missing beside driver: exec", "give its command");
            }
            None
        }
        (_, Some(_)) => {
            spec.report("exec", "given without driver: exec", "write driver: exec, or remove it");
            None
        }
        (Some("wireguard"), None) | (None, None) if spec.is_absent("driver") || word.is_some() => {
            Some(Driver::Wireguard)
        }
        (Some("direct"), None) => Some(Driver::Direct),
        (Some(other), None) => {
            spec.report("driver", format!("{other:?} is not known"), "write wireguard, direct or exec");
            None
        }
        (None, None) => None,
    }
}

fn exec_driver(mut exec: Fields<'_>) -> Option<ExecDriver> {
    let command = exec.scalars("command");
    if command.is_empty() {
        exec.report("command", "missing", "give the program and its arguments as a list");
    }
    let mut environment = BTreeMap::new();
    for (name, value) in exec.mapping("environment").into_iter().flatten() {
        match tree::scalar_of(value) {
            Some(value) => _ = environment.insert(name.clone(), value),
            None => exec.report("environment", format!("{name} is no text"), "give a text to each variable"),
        }
    }
    exec.finish();
    (!command.is_empty()).then_some(ExecDriver { command, environment })
}

fn thresholds(spec: &mut Fields<'_>) -> Thresholds {
    let mut thresholds = Thresholds::default();
    if let Some(mut probe) = spec.section("probe") {
        thresholds.enabled = probe.truth("enabled").unwrap_or(true);
        if let Some(seconds) = probe.number("interval", INTERVALS) {
            thresholds.interval = Duration::from_secs(seconds.into());
        }
        if let Some(loss) = probe.number("loss", LOSSES) {
            thresholds.loss = loss;
        }
        probe.finish();
    }
    thresholds
}

fn bind(spec: &mut Fields<'_>) -> Vec<IpAddr> {
    let mut bind: Vec<IpAddr> = Vec::new();
    for text in spec.texts("bind") {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_multicast() || address.is_unspecified() => {
                spec.report("bind", format!("{address} is no address of one host"), "leave it out to bind all");
            }
            Ok(address) if bind.iter().any(|other| other.is_ipv4() == address.is_ipv4()) => {
                spec.report("bind", "more than one address of a family", "give one of each");
            }
            Ok(address) => bind.push(address),
            Err(_) => spec.report("bind", format!("{text:?} is no IP address"), "write an address of this node"),
        }
    }
    bind
}

fn nodes(spec: &mut Fields<'_>) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    for text in spec.texts("nodes") {
        match text.parse() {
            Ok(node) => nodes.push(node),
            Err(error) => spec.report("nodes", format!("{error}"), "write node_id of nodes of this cluster"),
        }
    }
    nodes
}
