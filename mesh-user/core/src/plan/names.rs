//! What every prefix is called here: names that the operator gave, names given out before, and new ones.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{NodeFacts, compile::settings_problem};
use crate::{
    allocate::{Allocations, Blocks, NetworkShare, Numbers, Refusal, Share},
    model::{ClusterId, Configuration, Gateway, Network, Prefixes, Problems, Remote, ValidIntent, Wish},
};

/// The names of one plan.
pub(super) struct Names {
    /// Our own external prefixes as they are in force, index-aligned with the wish.
    pub(super) external: Vec<IpNet>,
    pub(super) own: BTreeMap<IpNet, IpNet>,
    pub(super) remotes: BTreeMap<ClusterId, Share>,
    pub(super) networks: Vec<NetworkShare>,
}

/// Names everything; conflicts are reported with both owners.
pub(super) fn assign(intent: &ValidIntent, facts: &NodeFacts, previous: &Allocations) -> Result<Names, Problems> {
    let mut naming = Naming { intent, blocks: shared(intent, facts), problems: Problems::default() };
    let mut own = BTreeMap::new();
    for (path, wish) in [("cidr.external", &intent.cluster.external), ("cidr.internal", &intent.cluster.internal)] {
        own.extend(naming.own(path, wish, previous));
    }
    let external: Vec<IpNet> = intent.cluster.external.cidrs.iter().filter_map(|wish| own.get(wish).copied()).collect();
    naming.own_presented(&external);
    let mut remotes: BTreeMap<ClusterId, Share> = BTreeMap::new();
    for (id, remote) in &intent.remotes {
        remotes.insert(id.clone(), Share { connection: 0, presented: naming.given(&remote.configuration) });
    }
    for (id, remote) in &intent.remotes {
        let kept = previous.remotes.get(id).map(|share| naming.kept(&remote.configuration, share));
        remotes.entry(id.clone()).or_default().presented.extend(kept.unwrap_or_default());
    }
    let networks = naming.networks(previous);
    for (id, remote) in &intent.remotes {
        naming.new_names(&remote.configuration, &mut remotes.entry(id.clone()).or_default().presented);
    }
    naming.number(previous, &mut remotes);
    naming.problems.or(Names { external, own, remotes, networks })
}

struct Naming<'a> {
    intent: &'a ValidIntent,
    blocks: Blocks,
    problems: Problems,
}

/// What is taken before anything is given out. Prefixes of the host that lie within ours are ours.
fn shared(intent: &ValidIntent, facts: &NodeFacts) -> Blocks {
    let cluster = &intent.cluster;
    let mut blocks = Blocks::new(&cluster.pools);
    let named = [("cidr.pod", &cluster.pod), ("cidr.service", &cluster.service), ("cidr.reserved", &cluster.reserved)];
    for (owner, nets) in named {
        nets.iter().for_each(|net| blocks.share(*net, owner));
    }
    let presented = intent.presented.iter().flat_map(Prefixes::iter);
    let wishes = cluster.external.cidrs.iter().chain(&cluster.internal.cidrs);
    let ours: Vec<&IpNet> = cluster.pod.iter().chain(&cluster.service).chain(wishes).chain(presented).collect();
    for (device, addresses) in &facts.interfaces {
        let foreign = addresses.iter().filter(|address| is_routable(address)).map(IpNet::trunc);
        // A device of ours carries a reserved address, which lies in a prefix of ours even after that was moved.
        for net in foreign
            .filter(|net| !device.0.starts_with(super::DEVICE_PREFIX) && !ours.iter().any(|own| own.contains(net)))
        {
            blocks.share(net, &format!("interface {device}"));
        }
    }
    for (net, group) in &facts.groups {
        blocks.share(*net, &format!("network group {group}"));
    }
    for (id, remote) in &intent.remotes {
        // A prefix around the way to its own gateway would lead into its own tunnel.
        for address in remote.gateway.iter().flat_map(Gateway::underlay_addresses) {
            blocks.share(IpNet::from(address), &format!("the gateway of {id}"));
        }
    }
    blocks
}

pub(super) fn is_routable(address: &IpNet) -> bool {
    match address.addr() {
        std::net::IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        std::net::IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

impl Naming<'_> {
    /// Our exclusive prefixes: as given or as before or moved.
    fn own(&mut self, path: &str, wish: &Wish, previous: &Allocations) -> Vec<(IpNet, IpNet)> {
        let mut own = Vec::new();
        for net in &wish.cidrs {
            let kept = previous.own.get(net).filter(|kept| !wish.given && self.blocks.claim(**kept, path).is_ok());
            let taken = match kept {
                Some(kept) => Ok(*kept),
                None if wish.given => self.blocks.claim_in_pool(*net, path).map(|()| *net),
                None => self.blocks.take(*net, path),
            };
            match taken {
                Ok(taken) => own.push((*net, taken)),
                Err(refusal) => {
                    let hint = "choose a prefix that is free, in a pool";
                    self.problems.0.push(settings_problem(self.intent, path, refusal.to_string(), hint));
                }
            }
        }
        own
    }

    fn own_presented(&mut self, external: &[IpNet]) {
        let Some(presented) = &self.intent.presented else { return };
        let real = self.intent.cluster.pod.iter().chain(external);
        let says_so = |remote: &&Remote| remote.configuration.presented.is_some();
        let speaker = self.intent.remotes.values().find(says_so);
        for (net, real) in presented.iter().zip(real) {
            if net == real {
                continue;
            }
            let Err(refusal) = self.blocks.claim(*net, "our own presented prefix") else { continue };
            match speaker {
                Some(speaker) => self.refused(&speaker.configuration, "spec.local.presented", &refusal),
                None => {
                    let hint = "give a prefix that is free";
                    self.problems.0.push(settings_problem(self.intent, "cidr.presented", refusal.to_string(), hint));
                }
            }
        }
    }

    /// Mesh-wide names of a remote.
    fn given(&mut self, configuration: &Configuration) -> BTreeMap<IpNet, IpNet> {
        let Some(wide) = &configuration.presented else { return BTreeMap::new() };
        for net in wide.remote.iter() {
            if let Err(refusal) = self.blocks.claim(*net, configuration.remote.as_str()) {
                self.refused(configuration, "spec.remote.presented", &refusal);
            }
        }
        configuration.real.zip(&wide.remote).map(|(real, presented)| (*real, *presented)).collect()
    }

    /// Names that this cluster chose earlier for prefixes that the remote still has.
    fn kept(&mut self, configuration: &Configuration, share: &Share) -> BTreeMap<IpNet, IpNet> {
        if configuration.presented.is_some() {
            return BTreeMap::new();
        }
        let mut kept = BTreeMap::new();
        for real in configuration.real.iter() {
            let Some(presented) = share.presented.get(real) else { continue };
            if let Err(refusal) = self.blocks.claim(*presented, configuration.remote.as_str()) {
                self.refused(configuration, "spec.remote.cidr", &refusal);
            }
            kept.insert(*real, *presented);
        }
        kept
    }

    /// What `Network` objects have reserved; those that came first are served first.
    fn networks(&mut self, previous: &Allocations) -> Vec<NetworkShare> {
        let intent = self.intent;
        let before = |network: &Network| {
            previous.networks.iter().find(|share| share.id == network.id && share.wish == network.cidr)
        };
        let (kept, new): (Vec<_>, Vec<_>) = intent.networks.values().partition(|network| before(network).is_some());
        let mut shares = Vec::new();
        for network in kept.into_iter().chain(new) {
            let owner = network.id.to_string();
            let taken = match before(network) {
                Some(share) => self.blocks.claim(share.cidr, &owner).map(|()| share.cidr),
                None => self.blocks.take(network.cidr, &owner),
            };
            match taken {
                Ok(cidr) => shares.push(NetworkShare { id: network.id.clone(), wish: network.cidr, cidr }),
                Err(refusal) => {
                    let hint = "give another prefix, or add a pool to cidr.pools in the settings";
                    self.problems.0.push(network.place.problem("spec.cidr", refusal.to_string(), hint));
                }
            }
        }
        shares.sort_by(|a, b| a.id.cmp(&b.id));
        shares
    }

    fn new_names(&mut self, configuration: &Configuration, names: &mut BTreeMap<IpNet, IpNet>) {
        for real in configuration.real.iter() {
            if names.contains_key(real) {
                continue;
            }
            match self.blocks.take(*real, configuration.remote.as_str()) {
                Ok(block) => _ = names.insert(*real, block),
                Err(refusal) => self.refused(configuration, "spec.remote.cidr", &refusal),
            }
        }
    }

    /// Numbers stay with their remote; a number that became free is not given out in the same plan.
    fn number(&mut self, previous: &Allocations, remotes: &mut BTreeMap<ClusterId, Share>) {
        let mut numbers = Numbers::avoiding(previous.remotes.values().map(|share| share.connection));
        for (id, share) in remotes {
            let kept = previous.remotes.get(id).map(|share| share.connection);
            match kept.or_else(|| numbers.take()) {
                Some(number) => share.connection = number,
                None => {
                    let place = &self.intent.remotes[id].configuration.place;
                    let message = "more than 65,535 remote clusters";
                    self.problems.0.push(place.problem("", message, "remove a Configuration"));
                }
            }
        }
    }

    fn refused(&mut self, configuration: &Configuration, path: &str, refusal: &Refusal) {
        let hint = match refusal {
            Refusal::Taken { .. } => "give one of the two another prefix",
            Refusal::OutOfPool { .. } | Refusal::Full { .. } => "add a pool to cidr.pools in the settings",
        };
        self.problems.0.push(configuration.place.problem(path, refusal.to_string(), hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::fixtures::{CLIENT, CONFIGURATION, KEY, SETTINGS, facts, intent, mesh_wide, of, valid},
        plan::{DeviceName, plan},
    };

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn given(manifests: &[&str], previous: &Allocations) -> Allocations {
        plan(&valid(manifests), &facts(), previous).unwrap().1
    }

    /// What a remote's usual prefixes are called.
    fn names(allocations: &Allocations, remote: &str) -> [String; 2] {
        let share = &allocations.remotes[&remote.parse().unwrap()];
        [net("10.243.0.0/16"), net("10.70.0.0/16")].map(|real| share.presented[&real].to_string())
    }

    #[test]
    fn names_survive_disconnect_and_end_with_reset() {
        let (first, second) = (of("cl02", CONFIGURATION), of("cl03", CONFIGURATION));
        let connected = given(&[&first, CLIENT, KEY, &second], &Allocations::default());
        assert_eq!(names(&connected, "cl02"), ["10.71.0.0/16", "10.68.0.0/16"]);
        assert_eq!(names(&connected, "cl03"), ["10.69.0.0/16", "10.64.0.0/16"]);
        // Without its gateway a remote keeps its names, number and all.
        let disconnected = given(&[&first, &second], &connected);
        assert_eq!(disconnected.remotes, connected.remotes);
        // Without its Configuration it loses them; another one's stay where they are.
        let reset = given(&[&second], &disconnected);
        assert_eq!(names(&reset, "cl03"), names(&connected, "cl03"));
        let again = given(&[&of("cl04", CONFIGURATION)], &given(&[], &reset));
        assert_eq!(names(&again, "cl04"), ["10.71.0.0/16", "10.68.0.0/16"]);
        assert_eq!(again.remotes[&"cl04".parse().unwrap()].connection, 1);
    }

    #[test]
    fn a_number_that_falls_free_rests_for_one_plan() {
        let before = given(&[CONFIGURATION], &Allocations::default());
        let after = given(&[&of("cl03", CONFIGURATION)], &before);
        assert_eq!(after.remotes[&"cl03".parse().unwrap()].connection, 2);
    }

    #[test]
    fn the_default_external_cidr_moves_and_a_given_one_does_not() {
        let moving = SETTINGS.replace("[\"10.243.0.0/16\"]", "[\"10.243.0.0/16\", \"10.70.0.0/16\"]");
        let valid = intent(&moving, &[]).validate().unwrap();
        let (_, allocations) = plan(&valid, &facts(), &Allocations::default()).unwrap();
        assert_eq!(allocations.own[&net("10.70.0.0/16")], net("10.71.0.0/16"));
        let outside = SETTINGS.replace("pod =", "external = [\"100.64.0.0/16\"]\npod =");
        let valid = intent(&outside, &[]).validate().unwrap();
        let refusal = plan(&valid, &facts(), &Allocations::default()).unwrap_err().to_string();
        assert!(refusal.contains("100.64.0.0/16 for cidr.external lies in no pool"), "{refusal}");
    }

    #[test]
    fn prefixes_of_the_host_are_left_alone() {
        let mut facts = facts();
        facts.interfaces.insert(DeviceName("docker0".into()), vec![net("10.71.0.1/16")]);
        // What looks like ours on a device of ours is no obstacle.
        facts.interfaces.insert(DeviceName("mesh-cl02".into()), vec![net("10.68.0.2/32")]);
        let (_, allocations) = plan(&valid(&[CONFIGURATION]), &facts, &Allocations::default()).unwrap();
        assert_eq!(names(&allocations, "cl02"), ["10.68.0.0/16", "10.69.0.0/16"]);
        let wide = mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.71.0.0/16", "10.63.0.0/16"]);
        let refusal = plan(&valid(&[&wide]), &facts, &Allocations::default()).unwrap_err().to_string();
        assert!(refusal.contains("10.71.0.0/16 for cl02 overlaps 10.71.0.0/16 of interface docker0"), "{refusal}");
    }

    #[test]
    fn no_name_holds_the_way_to_its_own_gateway() {
        let configuration = CONFIGURATION.replace("10.243.0.0/16", "10.99.0.0/16");
        let client = CLIENT.replace("172.19.0.8", "10.99.0.8");
        let allocations = given(&[&configuration, &client, KEY], &Allocations::default());
        let share = &allocations.remotes[&"cl02".parse().unwrap()];
        assert_eq!(share.presented[&net("10.99.0.0/16")], net("10.71.0.0/16"));
        let moved =
            plan(&valid(&[&configuration, &CLIENT.replace("172.19.0.8", "10.71.0.8"), KEY]), &facts(), &allocations);
        let refusal = moved.unwrap_err().to_string();
        assert!(refusal.contains("10.71.0.0/16 for cl02 overlaps 10.71.0.8/32 of the gateway of cl02"), "{refusal}");
    }

    #[test]
    fn a_name_chosen_earlier_is_not_taken_away() {
        let before = given(&[CONFIGURATION], &Allocations::default());
        let wide = mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.71.0.0/16", "10.63.0.0/16"]);
        let refusal = plan(&valid(&[CONFIGURATION, &of("cl03", &wide)]), &facts(), &before).unwrap_err().to_string();
        assert!(refusal.contains("10.71.0.0/16 for cl02 overlaps 10.71.0.0/16 of cl03"), "{refusal}");
    }

    #[test]
    fn the_same_ipv6_prefix_is_moved_within_its_pool() {
        let v6 = |text: &str| text.replace("10.243.0.0/16", "fd00:243::/64").replace("10.70.0.0/16", "fd00:70::/64");
        let settings = SETTINGS.replace("[\"10.243.0.0/16\"]", "[\"fd00:243::/64\"]\nexternal = [\"fd00:70::/64\"]");
        let valid = intent(&settings, &[&v6(CONFIGURATION)]).validate().unwrap();
        let (_, allocations) = plan(&valid, &facts(), &Allocations::default()).unwrap();
        let share = &allocations.remotes[&"cl02".parse().unwrap()];
        assert_eq!(share.presented[&net("fd00:243::/64")], net("fd00:70:0:1::/64"));
    }
}
