//! What peers that come and go cost the others: nothing.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    process::{self, Daemon},
    traffic::stream::Stream,
};
use serde_json::Value;

use crate::{reach::reach, site::Site};

/// Peers that come and go meanwhile.
const GUESTS: usize = 50;
/// Datagrams per second.
const RATE: u32 = 1_000;

/// NG-41, NG-42: a UDP stream and iperf3 between two nodes lose no packet while 50 peers are added and removed.
#[test]
fn guests_cost_no_packet() -> Result<()> {
    let mut site = Site::with_hub("")?;
    for (host, number, member) in [("a", 2, "app_a"), ("b", 3, "app_b")] {
        site.plug(host, number)?;
        let instance = format!("advertise = \"192.0.2.{number}\"\n[[instance]]\nmember = \"{member}\"\n");
        site.start(host, &site.follower(host, &instance)?)?;
    }
    site.ng(&["create", "one", "--link", "app_a,app_b"])?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    site.wait_known(&["a", "b"], "one", 1)?;
    reach(&a, &b, 1)?;

    let server = b.end.namespace.command("iperf3");
    let address = b.end.address.to_string();
    let log = site.lab.directory().join("iperf3-server.log");
    let _server = Daemon::start("iperf3", with(server, &["-s", "-1", "-B", &address]), &log)?;
    std::thread::sleep(Duration::from_millis(300));
    let client = a.end.namespace.command("iperf3");
    let seconds = 10;
    let arguments = ["-c", &address, "-u", "-b", "20M", "-l", "1200", "-t", &seconds.to_string(), "-J"];
    let mut client = with(client, &arguments);
    let measured = std::thread::spawn(move || process::output(&mut client, Duration::from_secs(seconds + 20)));
    let stream = Stream::start(&a.end, &b.end, b.end.address, RATE)?;
    for round in 0..2 {
        for guest in 0..GUESTS {
            let mut key = [7; 32];
            key[..2].copy_from_slice(&[round, guest as u8 + 1]);
            let key = base64(&key);
            site.ng(&["create", "external", &format!("guest{guest}"), "one", &key])?;
        }
        site.wait_known(&["a", "b"], "one", 1 + GUESTS)?;
        for guest in 0..GUESTS {
            site.ng(&["delete", "external", &format!("guest{guest}"), "one", "--yes"])?;
        }
        site.wait_known(&["a", "b"], "one", 1)?;
    }
    let tally = stream.stop()?;
    ensure!(tally.sent > u64::from(RATE), "only {} datagrams were sent", tally.sent);
    ensure!(tally.lost == 0, "{tally:?}");
    let report = measured.join().map_err(|_| anyhow::anyhow!("the thread of iperf3 panicked"))??;
    let report: Value = serde_json::from_str(&report)?;
    let sum = &report["end"]["sum"];
    ensure!(sum["lost_packets"] == 0 && sum["packets"].as_u64() > Some(10_000), "{sum}");
    Ok(())
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}

/// NG-05, NG-11: unlinked and linked within a second each, without a restart; deleted, the interface and the key go.
#[test]
fn link_and_unlink_act_within_a_second() -> Result<()> {
    const SOON: Duration = Duration::from_secs(1);
    let mut site = Site::with_hub("")?;
    site.plug("a", 2)?;
    let settings = site.follower("a", "advertise = \"192.0.2.2\"\n[[instance]]\nmember = \"app_a\"\n")?;
    site.start("a", &settings)?;
    site.ng(&["create", "one"])?;
    let has = |site: &Site, count: usize| {
        site.wait_for("link or unlink to act", SOON, || Ok((site.peers("a")?.len() == count).then_some(())))
    };
    for _ in 0..3 {
        site.ng(&["link", "app_a", "one"])?;
        has(&site, 1).with_context(|| site.at("a").tail(20))?;
        site.ng(&["unlink", "app_a", "one"])?;
        has(&site, 0).with_context(|| site.at("a").tail(20))?;
    }
    site.ng(&["link", "app_a", "one"])?;
    has(&site, 1)?;
    site.ng(&["delete", "one", "--yes"])?;
    has(&site, 0)?;
    site.wait_for("the device to go", SOON, || {
        let devices = site.at("a").namespace().ip(&["-o", "link", "show", "type", "tun"])?;
        Ok(devices.is_empty().then_some(()))
    })?;
    let keys = site.at("a").directory().join("state/keys");
    site.wait_for("the key to go", SOON, || Ok((std::fs::read_dir(&keys)?.count() == 0).then_some(())))
}
