//! Is this host as before when a lab is gone? The only test of its process: labs of other tests would be seen.

use std::time::Duration;

use mesh_lab::{
    Lab,
    link::{self, Port},
    snapshot::Snapshot,
};

#[test]
fn a_lab_is_seen_and_then_gone() {
    let before = Snapshot::take().unwrap();
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    link::veth(Port::new(&a, "eth0"), Port::new(&b, "eth0")).unwrap();
    let difference = before.difference(&Snapshot::take().unwrap());
    for kind in ["+ namespace: ", "+ directory: ", "+ mount: "] {
        assert!(difference.iter().any(|line| line.starts_with(kind)), "{kind} in {difference:?}");
    }
    drop((a, b, lab));
    before.expect_same(Duration::from_secs(20)).unwrap();
}
