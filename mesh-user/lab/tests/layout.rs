//! Does the demo's layout work before any daemon runs? Pods of one cluster reach each other, gateways see each other, and
//! no pod reaches the other cluster.

use anyhow::Result;
use mesh_lab::{
    Lab,
    demo::{Cables, Connection, Network, Site, UNDERLAY_MTU},
    node::Programs,
    traffic::{self, answers_ping, echo},
};

fn network(lab: &Lab) -> Result<Network> {
    // No program is started here.
    let programs = Programs { meshd: "/bin/false".into(), meshctl: "/bin/false".into() };
    let mut network = Network::new(lab, "wire", UNDERLAY_MTU)?;
    for (number, cables) in [(1, Cables::Virtual), (2, Cables::Real)] {
        network.add(lab, Site::new(number).dual_stack(), cables, UNDERLAY_MTU, &programs)?;
    }
    network.connect(0, 1, Connection::Wireguard)?;
    Ok(network)
}

#[test]
fn clusters_are_whole_and_apart() {
    let lab = Lab::new().unwrap();
    let network = network(&lab).unwrap();
    let mut random = 1;
    for cluster in &network.clusters {
        for v6 in [false, true] {
            let (a, b) = (cluster.pod_on(0, v6, &mut random), cluster.pod_on(1, v6, &mut random));
            traffic::ping(&a, b.address).unwrap();
            assert_eq!(echo::tcp(&a, &b, b.address, 100_000, 1).unwrap(), a.address);
        }
    }
    let [first, second] = &network.clusters[..] else { panic!("two clusters") };
    let (here, there) = (first.site.underlay, second.site.underlay);
    traffic::ping(&traffic::End::new(first.gateway(), here), there.into()).unwrap();
    let pod = first.pod(false, &mut random);
    assert!(!answers_ping(&pod, [10, 71, 1, 130].into(), 1).unwrap());
    assert_ne!(first.public_key(), second.public_key());
    assert_eq!(first.public_key().len(), 44);
}

#[test]
fn a_daemon_that_ends_at_once_is_reported() {
    let lab = Lab::new().unwrap();
    let mut network = network(&lab).unwrap();
    let error = format!("{:#}", network.start().unwrap_err());
    // Whichever of them is looked at first.
    assert!(error.contains("-gw ended with exit status"), "{error}");
}
