//! A shard allocates nothing for a packet: counted while TCP and small datagrams go through, both ways.
#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

#[expect(dead_code, reason = "the tests of the engine use the rest of it")]
#[path = "../engine/site.rs"]
mod site;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use mesh_lab::{Lab, Namespace, link};
use site::{A, B, Site};

/// Counts what threads with the name of a shard allocate while it is asked to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is a shard; `None`: not asked yet.
    static IS_SHARD: Cell<Option<bool>> = const { Cell::new(None) };
}

fn is_shard() -> bool {
    if let Some(known) = IS_SHARD.get() {
        return known;
    }
    // What the question itself allocates must not ask again.
    IS_SHARD.set(Some(false));
    let name = fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    IS_SHARD.set(Some(name.starts_with("shard-")));
    name.starts_with("shard-")
}

fn note() {
    if COUNTS.load(Relaxed) && is_shard() {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's layout, as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: from this allocator, which is the system's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Four TCP streams one way and two the other, then datagrams of 64 bytes.
fn traffic(server: &Namespace, client: &Namespace) {
    for arguments in [&["-P", "4"][..], &["-P", "2", "-R"], &["-u", "-b", "50M", "-l", "64"]] {
        let mut serve = server.command("iperf3");
        let mut child = serve.args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..100 {
            if !server.run("ss", &["-Hltn", "sport", "=", ":5201"]).unwrap().is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let ran = client.run("iperf3", &[&["-c", A.remote_host[0], "-t", "1"], arguments].concat());
        let _ = child.kill();
        child.wait().unwrap();
        ran.unwrap();
    }
}

#[test]
fn nothing_is_allocated_for_a_packet() {
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    link::veth(link::Port::new(&a, "eth0"), link::Port::new(&b, "eth0")).unwrap();
    link::address(link::Port::new(&a, "eth0"), &["192.0.2.1/24"]).unwrap();
    link::address(link::Port::new(&b, "eth0"), &["192.0.2.2/24"]).unwrap();
    COUNTS.store(true, Relaxed);
    let b = Site::start(B, &b, A.key(), Vec::new()).unwrap();
    let a = Site::start(A, &a, B.key(), vec![B.endpoint()]).unwrap();
    a.wait_connected().unwrap();
    COUNTS.store(false, Relaxed);
    assert!(ALLOCATIONS.swap(0, Relaxed) > 0, "devices and sessions take memory: the count works");
    // The first packet of a remap makes room for its counters.
    traffic(&b.namespace, &a.namespace);

    let packets = |site: &Site| site.peer().sent.packets;
    let before = packets(&a) + packets(&b);
    COUNTS.store(true, Relaxed);
    traffic(&b.namespace, &a.namespace);
    COUNTS.store(false, Relaxed);
    let carried = packets(&a) + packets(&b) - before;
    assert!(carried > 20_000, "{carried} packets show little");
    let allocations = ALLOCATIONS.load(Relaxed);
    assert_eq!(allocations, 0, "for {carried} packets");
}
