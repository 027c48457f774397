//! Replies as `wg` reads them.

use std::time::Duration;

use super::{
    super::{Device, Errno, Peer, PrivateKey, print, print_errno},
    hex, key, net,
};
use crate::plan::PresharedKey;

#[test]
fn a_reply_reads_as_wg_wants_it() {
    let peer = Peer {
        key: key(2),
        preshared_key: None,
        endpoint: Some("[fe80::1%7]:9".parse().unwrap()),
        last_handshake: Some(Duration::new(1_700_000_000, 5)),
        sent: 148,
        received: u64::MAX,
        keepalive: 25,
        allowed_ips: vec![net("10.0.0.0/8"), net("::/0")],
    };
    let bare = Peer {
        key: key(3),
        preshared_key: Some(PresharedKey([4; 32])),
        endpoint: None,
        last_handshake: None,
        keepalive: 0,
        allowed_ips: Vec::new(),
        ..peer.clone()
    };
    let device =
        Device { private_key: PrivateKey::new(&[0x48; 32]), listen_port: 51_820, fwmark: 7, peers: vec![peer, bare] };
    let mut text = Vec::new();
    print(&device, &mut text).unwrap();
    print_errno(None, &mut text).unwrap();
    let expected = format!(
        "private_key={}\nlisten_port=51820\nfwmark=7\n\
         public_key={}\npreshared_key={}\nprotocol_version=1\nendpoint=[fe80::1%7]:9\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=148\nrx_bytes=18446744073709551615\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n\
         public_key={}\npreshared_key={}\nprotocol_version=1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=148\nrx_bytes=18446744073709551615\n\
         persistent_keepalive_interval=0\nerrno=0\n\n",
        hex(0x48),
        hex(2),
        hex(0),
        hex(3),
        hex(4),
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let mut refused = Vec::new();
    print_errno(Some(Errno::PortInUse), &mut refused).unwrap();
    assert_eq!(refused, b"errno=-98\n\n");
}
