//! What no network group may have as its CIDR on this node, and whose it is.

use ipnet::IpNet;

use super::{DEVICE_PREFIX, NodeFacts, names::is_routable};
use crate::{
    allocate::Allocations,
    model::{Prefixes, ValidIntent},
};

/// Prefixes of this cluster and of its remotes, as this cluster calls them, and what the host reaches by itself.
pub fn taken(intent: &ValidIntent, facts: &NodeFacts, given_out: &Allocations) -> Vec<(IpNet, String)> {
    let cluster = &intent.cluster;
    let named = |name: &'static str, nets: &[IpNet]| nets.iter().map(|net| (*net, name.to_owned())).collect::<Vec<_>>();
    let mut taken = named("cidr.pod", &cluster.pod);
    taken.extend(named("cidr.service", &cluster.service));
    taken.extend(named("cidr.reserved", &cluster.reserved));
    for (name, wish) in [("cidr.external", &cluster.external), ("cidr.internal", &cluster.internal)] {
        let moved = wish.cidrs.iter().map(|net| *given_out.own.get(net).unwrap_or(net));
        taken.extend(moved.map(|net| (net, name.to_owned())));
    }
    let presented = intent.presented.iter().flat_map(Prefixes::iter);
    taken.extend(presented.map(|net| (*net, "our own presented prefix".to_owned())));
    for (remote, share) in &given_out.remotes {
        let owner = format!("the presented prefix of {remote}");
        taken.extend(share.presented.values().map(|net| (*net, owner.clone())));
    }
    for (device, addresses) in facts.interfaces.iter().filter(|(device, _)| !device.0.starts_with(DEVICE_PREFIX)) {
        let nets = addresses.iter().filter(|address| is_routable(address)).map(IpNet::trunc);
        taken.extend(nets.map(|net| (net, format!("interface {device}"))));
    }
    let unnamed = facts.routes.iter().filter(|net| net.prefix_len() > 0 && is_routable(net));
    let routes: Vec<IpNet> = unnamed.filter(|net| !taken.iter().any(|(other, _)| other == *net)).copied().collect();
    taken.extend(routes.into_iter().map(|net| (net, format!("the host's route to {net}"))));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::fixtures::{CONFIGURATION, KEY, SERVER, facts, valid},
        plan::{DeviceName, plan},
    };

    /// NG-24: whose a prefix is that no group gets.
    #[test]
    fn everything_that_has_an_owner_is_taken() {
        let intent = valid(&[CONFIGURATION, SERVER, KEY]);
        let mut facts = facts();
        facts.routes = ["0.0.0.0/0", "10.243.0.0/16", "172.31.0.0/16", "169.254.0.0/16"].map(net).into();
        facts.interfaces.insert(DeviceName("mesh-g123456789".to_owned()), vec![net("10.255.0.5/16")]);
        let (_, given_out) = plan(&intent, &facts, &Allocations::default()).unwrap();
        let mut taken = taken(&intent, &facts, &given_out);
        taken.sort();
        let shown: Vec<_> = taken.iter().map(|(net, owner)| format!("{net} {owner}")).collect();
        let expected = [
            "10.68.0.0/16 the presented prefix of cl02",
            "10.70.0.0/16 cidr.external",
            "10.71.0.0/16 the presented prefix of cl02",
            "10.243.0.0/16 cidr.pod",
            "10.243.0.0/16 interface pods0",
            "172.31.0.0/16 the host's route to 172.31.0.0/16",
            "192.0.2.0/24 interface wan0",
        ];
        assert_eq!(shown, expected);
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }
}
