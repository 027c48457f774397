//! What a change means for what was configured before.

use std::collections::BTreeSet;

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{
    super::{Change, Configuration, Live, MAX_PEERS, PeerChange, Step},
    change, hex, key, net,
};
use crate::{
    plan::PublicKey,
    tunnel::{AllowedIps, StaticSecret},
};

#[test]
fn an_allowed_ip_moves_to_the_peer_that_it_is_given_to() {
    let mut configuration = Configuration::default();
    configuration.apply(change(&format!("public_key={}\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n", hex(1))));
    let steps = configuration.apply(change(&format!("public_key={}\nallowed_ip=10.0.0.0/8\n", hex(2))));
    let Some(Step::SetAllowedIps(allowed)) = steps.last() else { panic!("{steps:?}") };
    assert_ne!(allowed.lookup("10.1.1.1".parse().unwrap()), allowed.lookup("fd00::1".parse().unwrap()));
    assert_eq!(allowed_ips_of(&configuration), [(key(1), vec![net("fd00::/8")]), (key(2), vec![net("10.0.0.0/8")])]);
    // Another's is not taken away by a minus.
    let untouched = configuration.apply(change(&format!("public_key={}\nallowed_ip=-10.0.0.0/8\n", hex(1))));
    assert_eq!(untouched, []);
    let gone = configuration.apply(change(&format!("public_key={}\nallowed_ip=-10.0.0.0/8\n", hex(2))));
    let Some(Step::SetAllowedIps(allowed)) = gone.last() else { panic!("{gone:?}") };
    assert_eq!(allowed.lookup("10.1.1.1".parse().unwrap()), None);
}

fn allowed_ips_of(configuration: &Configuration) -> Vec<(PublicKey, Vec<IpNet>)> {
    let device = configuration.device(0, |_| Live::default());
    device.peers.into_iter().map(|peer| (peer.key, peer.allowed_ips)).collect()
}

#[test]
fn what_is_as_it_was_is_no_step() {
    let text = format!(
        "private_key={}\nlisten_port=5\nfwmark=1\npublic_key={}\npreshared_key={}\npersistent_keepalive_interval=5\n\
         replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n",
        hex(0x40),
        hex(1),
        hex(6)
    );
    let mut configuration = Configuration::default();
    let steps = configuration.apply(change(&text));
    assert!(matches!(&steps[..], [Step::SetSecret(Some(_)), Step::AddPeer(..), Step::SetAllowedIps(_)]), "{steps:?}");
    assert_eq!(configuration.apply(change(&text)), []);
}

#[test]
fn nobody_is_a_peer_of_itself() {
    let secret = [0x48; 32];
    let own = StaticSecret::from_bytes(secret).public_key();
    let own_hex: String = own.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let (add_self, set_key) =
        (format!("public_key={own_hex}\nallowed_ip=10.0.0.0/8\n"), format!("private_key={}\n", hex(0x48)));
    let mut key_first = Configuration::default();
    key_first.apply(change(&set_key));
    assert_eq!(key_first.apply(change(&add_self)), [], "it is ignored");
    let mut peer_first = Configuration::default();
    peer_first.apply(change(&add_self));
    let steps = peer_first.apply(change(&set_key));
    assert_eq!(steps[0], Step::RemovePeer(own));
    assert_eq!(steps[1], Step::SetAllowedIps(AllowedIps::default()));
    assert_eq!(allowed_ips_of(&peer_first), []);
}

#[test]
fn more_peers_than_there_are_numbers_are_refused_before_anything_happens() {
    let peers = |from: u32, count: u32| {
        let peer = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            PeerChange::new(PublicKey(key))
        };
        Change { peers: (from..from + count).map(peer).collect(), ..Change::default() }
    };
    let mut configuration = Configuration::default();
    assert!(configuration.check(&peers(0, MAX_PEERS as u32 + 1)).is_err());
    let all = peers(0, MAX_PEERS as u32);
    assert_eq!(configuration.check(&all), Ok(()));
    let steps = configuration.apply(all.clone());
    let numbers: BTreeSet<ConnectionId> = steps.iter().filter_map(|step| added(step).map(|(_, c)| c)).collect();
    assert_eq!(numbers.len(), MAX_PEERS);
    assert!(!numbers.contains(&ConnectionId(u16::MAX)));
    assert_eq!(configuration.check(&all), Ok(()), "known ones are no more");
    assert!(configuration.check(&peers(MAX_PEERS as u32, 1)).is_err());
    let replaced = Change { replace_peers: true, ..peers(MAX_PEERS as u32, MAX_PEERS as u32) };
    assert_eq!(configuration.check(&replaced), Ok(()));
    assert_eq!(configuration.apply(replaced).len(), 1 + 2 * MAX_PEERS);
}

fn added(step: &Step) -> Option<(PublicKey, ConnectionId)> {
    match step {
        Step::AddPeer(key, session) => Some((*key, session.connection)),
        _ => None,
    }
}
