//! What does a peer cost that does nothing: bytes and wake-ups? One test, since the allocator of the process counts.

#![allow(clippy::disallowed_methods, reason = "a test begins now")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::{Peer, PresharedKey, PublicKey},
    tunnel::{Birth, Device, Opened, Sealed, StaticSecret},
};

const PEERS: usize = 10_000;
/// Bytes of an idle peer, the tables that hold it included.
const BUDGET: usize = 1_536;
/// Peers that have a session for a while.
const AWAKE: usize = 50;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is left to the system's allocator; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn secret(number: usize) -> StaticSecret {
    let mut bytes = [0; 32];
    bytes[8..16].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    StaticSecret::from_bytes(bytes)
}

fn device(number: usize, now: Instant) -> Device {
    let birth = Birth { shard: 0, now, since_epoch: Duration::from_secs(1_700_000_000), seed: [number as u8; 32] };
    Device::new(Some(secret(number)), &birth)
}

fn config(number: usize) -> Peer {
    Peer {
        connection: ConnectionId(number as u16),
        endpoints: vec!["192.0.2.1:51820".parse().expect("an address")],
        lane_ports: Vec::new(),
        keepalive_seconds: None,
        preshared_key: Some(PresharedKey([7; 32])),
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

/// Bytes that there are more after `action`.
fn grown(action: impl FnOnce()) -> isize {
    let before = LIVE.load(Relaxed);
    action();
    LIVE.load(Relaxed).cast_signed() - before.cast_signed()
}

/// A client makes a session and sends a packet.
fn visit(server: &mut Device, own: PublicKey, number: usize, now: Instant) {
    let mut client = device(number, now);
    let slot = client.add_peer(now, own, &config(1)).expect("a new peer");
    let here = SocketAddr::from(([192, 0, 2, 9], 9));
    let there = SocketAddr::from(([192, 0, 2, 1], 51_820));
    let (mut out, mut answer) = ([0; 2_048], [0; 2_048]);
    let mut packet = [0; 40];
    (packet[0], packet[3]) = (0x45, 40);
    let Ok(Sealed::Handshake(len)) = client.seal(now, slot, &packet, &mut out) else { panic!("no initiation") };
    let Opened::Reply { len, .. } = server.open(now, here, None, &out[..len], &mut answer) else {
        panic!("no response")
    };
    let Opened::Empty { .. } = client.open(now, there, None, &answer[..len], &mut out) else { panic!("no session") };
    let len = client.flush(now, slot, &mut out).expect("the packet waited");
    assert!(matches!(server.open(now, here, None, &out[..len], &mut answer), Opened::Packet { len: 40, .. }));
}

#[test]
fn an_idle_peer_costs_little_memory_and_no_wake_up() {
    let now = Instant::now();
    let mut server = device(PEERS + 1, now);
    let own = server.own().expect("the device has a key");
    let keys: Vec<_> = (0..PEERS).map(|number| secret(number).public_key()).collect();
    let added = grown(|| {
        for (number, key) in keys.iter().enumerate() {
            server.add_peer(now, *key, &config(number)).expect("a new peer");
        }
    });
    let each = added / PEERS as isize;
    println!("an idle peer: {each} bytes");
    assert!(each <= BUDGET as isize, "{each} bytes");
    assert_eq!(server.poll_timeout(), None);

    // What a session needs is there while it lives.
    let awake = grown(|| (0..AWAKE).for_each(|number| visit(&mut server, own, number, now))) / AWAKE as isize;
    println!("a live session: {awake} bytes");
    assert!((1_024..16_384).contains(&awake), "{awake} bytes");
    let mut out = [0; 2_048];
    let slept = grown(|| {
        while let Some(at) = server.poll_timeout() {
            assert!(at < now + Duration::from_secs(600), "after 9 minutes nothing is left to do");
            while server.poll_transmit(at, &mut out).is_some() {}
        }
        while server.poll_event().is_some() {}
    });
    let left = awake + slept / AWAKE as isize;
    println!("left of a session: {left} bytes");
    assert!(left < 256, "{left} bytes");
}
