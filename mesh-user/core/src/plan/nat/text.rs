//! The table as nft(8) reads it: deleted if it is there, and made anew, in one transaction.

use std::{
    fmt::{self, Display},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Family, Leaving, Nat};
use crate::plan::NAT_TABLE;

/// Before fragments are gathered for connection tracking.
const UNTRACKED: i32 = -450;
/// Before other destination NATs see the packet: remotes' names of hosts are nobody else's.
const ARRIVING: i32 = -105;
/// Before any source NAT, which does not see what is not tracked.
const RENAMED: i32 = 90;
/// After other destination NATs, before other source NATs: theirs would hide our workloads from remotes.
const LEAVING: i32 = 95;

impl Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "add table inet {NAT_TABLE}\ndelete table inet {NAT_TABLE}\ntable inet {NAT_TABLE} {{")?;
        let families = [
            Words { family: &self.v4, ip: "ip", kind: "ipv4_addr" },
            Words { family: &self.v6, ip: "ip6", kind: "ipv6_addr" },
        ];
        for words in &families {
            words.sets(f)?;
        }
        chain(f, "untracked", &format!("filter hook prerouting priority {UNTRACKED}"), &families, |words| {
            words.untracked()
        })?;
        chain(f, "arriving", &format!("nat hook prerouting priority {ARRIVING}"), &families, |words| words.arriving())?;
        chain(f, "renamed", &format!("filter hook postrouting priority {RENAMED}"), &families, |words| {
            words.renamed()
        })?;
        chain(f, "leaving", &format!("nat hook postrouting priority {LEAVING}"), &families, |words| words.leaving())?;
        f.write_str("}\n")
    }
}

impl Nat {
    /// As an operator reads it.
    pub(in crate::plan) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in [&self.v4, &self.v6] {
            for leaving in [&family.tunnelled, &family.direct] {
                let to: Vec<String> = leaving.to.iter().map(IpNet::to_string).collect();
                let to = to.join(" ");
                if let Some(unknown) = &leaving.unknown {
                    let who =
                        if unknown.nearby.is_some() { "sources that are no workloads are" } else { "all sources are" };
                    lines.push(format!("nat to {to}: {who} {}", unknown.address));
                }
                lines.extend(leaving.untracked.iter().map(|net| format!("nat to {to}: {net} is not tracked")));
                lines.extend(leaving.renamed.iter().map(|(host, name)| format!("nat to {to}: {host} is {name}")));
                lines.extend(leaving.outside.iter().map(|(host, name)| format!("nat to {to}: {host} is {name}")));
            }
            for (name, host) in &family.inside {
                let seen = if family.masqueraded.contains(host) { ", which sees this node" } else { "" };
                lines.push(format!("nat from remotes: {name} is {host}{seen}"));
            }
        }
        lines
    }
}

/// A chain of these rules of both families, if there is any.
fn chain(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    hook: &str,
    families: &[Words<'_>],
    rules: fn(&Words<'_>) -> Vec<String>,
) -> fmt::Result {
    let rules: Vec<String> = families.iter().flat_map(rules).collect();
    if rules.is_empty() {
        return Ok(());
    }
    writeln!(f, "\tchain {name} {{\n\t\ttype {hook}; policy accept;")?;
    rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}"))?;
    f.write_str("\t}\n")
}

/// One family, and what nft(8) calls it.
struct Words<'a> {
    family: &'a Family,
    ip: &'static str,
    kind: &'static str,
}

impl Words<'_> {
    /// Both directions, and how the names of their sets begin.
    fn directions(&self) -> [(&'static str, &Leaving); 2] {
        [("tunnelled", &self.family.tunnelled), ("direct", &self.family.direct)]
    }

    fn sets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Family { inside, masqueraded, .. } = self.family;
        for (name, leaving) in self.directions() {
            self.prefixes(f, name, &leaving.to)?;
            self.map(f, &format!("{name}_outside"), &leaving.outside)?;
            self.map(f, &format!("{name}_renamed"), &leaving.renamed)?;
            self.prefixes(f, &format!("{name}_untracked"), &leaving.untracked)?;
            if let Some(unknown) = &leaving.unknown {
                self.prefixes(f, &format!("{name}_kept"), &unknown.kept)?;
                self.prefixes(f, &format!("{name}_nearby"), unknown.nearby.iter().flatten())?;
            }
        }
        self.map(f, "inside", inside)?;
        let hosts: Vec<IpNet> = masqueraded.iter().map(|host| IpNet::from(*host)).collect();
        self.prefixes(f, "masqueraded", &hosts)
    }

    fn prefixes<'n>(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        nets: impl IntoIterator<Item = &'n IpNet>,
    ) -> fmt::Result {
        let nets: Vec<String> = nets.into_iter().map(shown).collect();
        if nets.is_empty() {
            return Ok(());
        }
        let Words { ip, kind, .. } = self;
        let nets = nets.join(", ");
        writeln!(f, "\tset {name}_{ip} {{\n\t\ttype {kind}\n\t\tflags interval\n\t\telements = {{ {nets} }}\n\t}}")
    }

    fn map<'n>(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        pairs: impl IntoIterator<Item = (&'n IpAddr, &'n IpAddr)>,
    ) -> fmt::Result {
        let pairs: Vec<String> = pairs.into_iter().map(|(from, to)| format!("{from} : {to}")).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let Words { ip, kind, .. } = self;
        let pairs = pairs.join(", ");
        writeln!(f, "\tmap {name}_{ip} {{\n\t\ttype {kind} : {kind}\n\t\telements = {{ {pairs} }}\n\t}}")
    }

    fn untracked(&self) -> Vec<String> {
        let ip = self.ip;
        let both = |(name, leaving): (&str, &Leaving)| {
            let rules = [
                format!("{ip} saddr @{name}_untracked_{ip} {ip} daddr @{name}_{ip} notrack"),
                format!("{ip} saddr @{name}_{ip} {ip} daddr @{name}_untracked_{ip} notrack"),
            ];
            (!leaving.untracked.is_empty()).then_some(rules)
        };
        self.directions().into_iter().filter_map(both).flatten().collect()
    }

    /// Without state, and so for packets that are not tracked alone.
    fn renamed(&self) -> Vec<String> {
        let ip = self.ip;
        let with_names = self.directions().into_iter().filter(|(_, leaving)| !leaving.renamed.is_empty());
        let rule = |name: &str| format!("{ip} daddr @{name}_{ip} {ip} saddr set {ip} saddr map @{name}_renamed_{ip}");
        with_names.map(|(name, _)| rule(name)).collect()
    }

    /// Only remotes know the names.
    fn arriving(&self) -> Vec<String> {
        if self.family.inside.is_empty() {
            return Vec::new();
        }
        let ip = self.ip;
        let remotes = self.directions().into_iter().filter(|(_, leaving)| !leaving.to.is_empty());
        remotes.map(|(name, _)| format!("{ip} saddr @{name}_{ip} dnat {ip} to {ip} daddr map @inside_{ip}")).collect()
    }

    fn leaving(&self) -> Vec<String> {
        let ip = self.ip;
        let mut rules = Vec::new();
        for (name, leaving) in self.directions().into_iter().filter(|(_, leaving)| !leaving.to.is_empty()) {
            if !self.family.masqueraded.is_empty() {
                rules.push(format!("{ip} saddr @{name}_{ip} {ip} daddr @masqueraded_{ip} masquerade"));
            }
            if !leaving.outside.is_empty() {
                rules.push(format!("{ip} daddr @{name}_{ip} snat {ip} to {ip} saddr map @{name}_outside_{ip}"));
            }
            let Some(unknown) = &leaving.unknown else { continue };
            let begin = format!("{ip} daddr @{name}_{ip}");
            let end = format!("snat {ip} to {}", unknown.address);
            if !unknown.kept.is_empty() {
                rules.push(format!("{begin} {ip} saddr @{name}_kept_{ip} return"));
            }
            match &unknown.nearby {
                None => rules.push(format!("{begin} {end}")),
                Some(nearby) => {
                    rules.push(format!("{begin} ct status dnat {end}"));
                    if !nearby.is_empty() {
                        rules.push(format!("{begin} {ip} saddr @{name}_nearby_{ip} {end}"));
                    }
                }
            }
        }
        rules
    }
}

/// As nft(8) lists it: a single address has no length.
fn shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
