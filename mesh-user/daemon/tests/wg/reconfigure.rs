//! Four TCP streams each way while the device is reconfigured ten times a second: no error, no leak, no stall.
//!
//! 8 seconds here; `MESH_RECONFIGURE_SECONDS=60` for the length that is promised.

use std::{
    fs::{self, File},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mesh_lab::Lab;
use serde_json::Value;

use super::device::{Device, Key, pair, wg};

const PERIOD: Duration = Duration::from_millis(100);
/// What iperf3 can tell apart.
const INTERVAL: &str = "0.1";
/// Beyond the longest stall of a run without changes.
const STALL: Duration = Duration::from_millis(200);
/// On a machine that is busy with other things a run may stall by itself; what changes do shows in most.
const PAIRS: usize = 3;
const QUIET_PAIRS: usize = 2;
/// Peers that come and go.
const OTHERS: u8 = 20;

fn seconds() -> u32 {
    std::env::var("MESH_RECONFIGURE_SECONDS").map_or(8, |seconds| seconds.parse().unwrap())
}

#[test]
fn traffic_does_not_notice() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    // Once through everything, so that what is allocated once is there.
    (0..40).for_each(|turn| change(&lab, &a, turn));
    let (memory, descriptors) = (resident_kib(&a), a.descriptors());
    let quiet = (0..PAIRS).filter(|_| {
        let without = longest_stall(&lab, &a, &b).unwrap();
        let (turns, stalled) = changed_all_the_time(&lab, &a, || longest_stall(&lab, &a, &b).unwrap());
        println!("{turns} changes; longest stall {stalled:?}, {without:?} without changes");
        assert!(turns >= u64::from(seconds()) * 8, "only {turns} changes");
        stalled <= without + STALL
    });
    let quiet = quiet.take(QUIET_PAIRS).count();
    assert_eq!(quiet, QUIET_PAIRS, "of {PAIRS} pairs of runs that many were without a stall");
    assert!(resident_kib(&a) <= memory + 1_024, "{} KiB, before {memory}", resident_kib(&a));
    assert_eq!(a.descriptors(), descriptors);
    let errors = fs::read_to_string(a.daemon.log()).unwrap();
    assert!(!errors.contains("ERROR"), "{errors}");
}

/// Changes the device while something runs; says how often.
fn changed_all_the_time<T>(lab: &Lab, device: &Device, run: impl FnOnce() -> T) -> (u64, T) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut turns = 0;
            while !stop.load(Ordering::Relaxed) {
                let next = Instant::now() + PERIOD;
                change(lab, device, turns);
                turns += 1;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            turns
        });
        let result = run();
        stop.store(true, Ordering::Relaxed);
        (changer.join().unwrap(), result)
    })
}

/// What an operator does to a device in use, one thing after the other.
fn change(lab: &Lab, device: &Device, turn: u64) {
    let live = Key::new(2).public();
    let other = Key::new(20 + (turn / 8 % u64::from(OTHERS)) as u8);
    let of_other = format!("10.{}.0.0/16,fd00:{turn:x}::/32", turn / 8 % 200 + 20);
    match turn % 8 {
        0 => device.set(&["peer", &other.public(), "allowed-ips", &of_other, "endpoint", "192.0.2.99:9"]),
        1 => device.set(&["peer", &other.public(), "preshared-key", &Key::new(9).file(lab)]),
        // A prefix around the one in use goes to another peer and back.
        2 => device.set(&["peer", &other.public(), "allowed-ips", "10.9.0.0/24"]),
        3 => device.set(&["peer", &live, "allowed-ips", "10.9.0.2/32,fd09::2/128,10.9.0.0/24"]),
        4 => device.set(&["peer", &live, "persistent-keepalive", if turn % 16 == 4 { "1" } else { "off" }]),
        5 => device.set(&["fwmark", &turn.to_string()]),
        6 => {
            let file = lab.directory().join("conf");
            let conf = wg(&device.namespace, &["showconf", &device.name]).unwrap();
            fs::write(&file, conf).unwrap();
            device.wg("syncconf", &[file.to_str().unwrap()]);
        }
        _ => device.set(&["peer", &other.public(), "remove"]),
    }
}

fn resident_kib(device: &Device) -> u64 {
    device.status("VmRSS:").parse().unwrap()
}

/// The longest time in which one of eight streams received nothing.
fn longest_stall(lab: &Lab, a: &Device, b: &Device) -> Result<Duration> {
    let log = lab.directory().join("server.json");
    let server =
        super::traffic::Server::start(&b.namespace, Stdio::from(File::create(&log)?), &["-J", "-i", INTERVAL])?;
    let time = seconds().to_string();
    let mut command = a.namespace.command("iperf3");
    command.args(["-c", "10.9.0.2", "-P", "4", "--bidir", "-t", &time, "-i", INTERVAL, "-C", "cubic", "-J"]);
    let patience = Duration::from_secs(u64::from(seconds()) + 20);
    let client = mesh_lab::process::output(&mut command, patience).context("the iperf3 client")?;
    server.wait()?;
    let mut longest = Duration::ZERO;
    for output in [client, fs::read_to_string(&log)?] {
        longest = longest.max(stall(&serde_json::from_str(&output)?)?);
    }
    Ok(longest)
}

/// Of the streams that this end received.
fn stall(output: &Value) -> Result<Duration> {
    let intervals = output["intervals"].as_array().context("no intervals from iperf3")?;
    let mut silent = std::collections::BTreeMap::new();
    let (mut longest, mut streams) = (0.0, 0);
    for interval in intervals {
        for stream in interval["streams"].as_array().context("no streams")? {
            if stream["sender"].as_bool() != Some(false) || stream["omitted"].as_bool() == Some(true) {
                continue;
            }
            streams += 1;
            let so_far = silent.entry(stream["socket"].as_i64().context("no socket")?).or_insert(0.0);
            *so_far = match stream["bytes"].as_u64().context("no bytes")? {
                0 => *so_far + stream["seconds"].as_f64().context("no seconds")?,
                _ => 0.0,
            };
            // The last interval may be a sliver of one.
            longest = f64::max(longest, *so_far);
        }
    }
    anyhow::ensure!(streams >= 4 * 10 * seconds() as usize / 2, "only {streams} figures from iperf3");
    Ok(Duration::from_secs_f64(longest))
}
