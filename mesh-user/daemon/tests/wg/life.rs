//! What may happen to a device that runs: it is renamed, moved, resized, deleted, ended, and its socket removed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mesh_lab::{Lab, process};

use super::device::{Device, Key, PATIENCE, fields, finish, pair, ping, socket, unique_name, wait_until, wg};

#[test]
fn it_goes_to_the_background_when_the_socket_answers() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("a").unwrap();
    let name = unique_name();
    let started = finish(&lab, &namespace, &[&name]);
    assert!(started.status.success(), "{}", started.stderr);
    assert_eq!((started.stdout.as_str(), started.stderr.as_str()), ("", ""));
    // At once, without waiting for anything.
    wg(&namespace, &["set", &name, "fwmark", "5"]).unwrap();
    assert_eq!(fs::metadata(socket(&name)).unwrap().permissions().mode() & 0o777, 0o600);
    let process = holder(&name);
    let stat = fs::read_to_string(process.join("stat")).unwrap();
    let after_name: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(after_name[3].to_owned(), process.file_name().unwrap().to_str().unwrap(), "it leads its own session");
    assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(process.join(descriptor)).unwrap(), Path::new("/dev/null"));
    }
    namespace.ip(&["link", "delete", "dev", &name]).unwrap();
    wait_until("the end of the process", || !process.exists() && !socket(&name).exists());
}

/// The process in the background that has this device.
fn holder(device: &str) -> PathBuf {
    let line = format!("mesh-wg\0--foreground\0--\0{device}\0");
    let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.find(|process| fs::read(process.join("cmdline")).is_ok_and(|found| found == line.as_bytes())).unwrap()
}

#[test]
fn it_ends_by_a_signal_and_takes_device_and_socket_along() {
    let lab = Lab::new().unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut device = Device::start(&lab, &lab.namespace("a").unwrap());
        device.daemon.signal(signal).unwrap();
        device.wait_ended();
        assert!(device.namespace.ip(&["link", "show", "dev", &device.name]).is_err());
    }
}

#[test]
fn it_ends_when_the_device_is_deleted_wherever_that_is() {
    let lab = Lab::new().unwrap();
    let (near, far) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    let mut device = Device::start(&lab, &near);
    near.ip(&["link", "delete", "dev", &device.name]).unwrap();
    device.wait_ended();

    let mut moved = Device::start(&lab, &near);
    near.ip(&["link", "set", "dev", &moved.name, "netns", far.path().to_str().unwrap()]).unwrap();
    far.ip(&["link", "delete", "dev", &moved.name]).unwrap();
    moved.wait_ended();

    // With its namespace.
    let mut orphan = Device::start(&lab, &near);
    let doomed = lab.namespace("c").unwrap();
    near.ip(&["link", "set", "dev", &orphan.name, "netns", doomed.path().to_str().unwrap()]).unwrap();
    drop(doomed);
    orphan.wait_ended();
}

#[test]
fn the_socket_follows_a_new_name() {
    let lab = Lab::new().unwrap();
    let (mut a, b) = pair(&lab);
    let (old, new) = (a.name.clone(), unique_name());
    a.ping("10.9.0.2").unwrap();
    a.namespace.ip(&["link", "set", "dev", &old, "name", &new]).unwrap();
    a.name = new;
    wait_until("the new name", || socket(&a.name).exists() && !socket(&old).exists());
    a.set(&["fwmark", "0"]);
    a.ping("10.9.0.2").unwrap();

    // A name that somebody else has is left to them.
    a.namespace.ip(&["link", "set", "dev", &a.name, "name", &b.name]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(a.show("public-key"), Key::new(1).public());
    assert_eq!(b.show("public-key"), Key::new(2).public());
    // Its socket has still the name that it had.
    a.namespace.ip(&["link", "delete", "dev", &b.name]).unwrap();
    a.wait_ended();
    assert!(socket(&b.name).exists());
}

#[test]
fn a_socket_that_vanishes_is_made_anew_and_the_device_lives_on() {
    let lab = Lab::new().unwrap();
    let (a, _b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    let path = socket(&a.name);
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        wait_until("the socket", || path.exists());
        assert_eq!(a.show("public-key"), Key::new(1).public());
    }
    // Renamed over by something that is no socket: that is not ours to remove, until it goes.
    let other = path.with_extension("other");
    fs::create_dir(&other).unwrap();
    fs::remove_file(&path).unwrap();
    wait_until("the socket", || path.exists());
    fs::rename(&path, other.join("away")).unwrap();
    wait_until("the socket", || path.exists());
    fs::remove_dir_all(&other).unwrap();
    a.ping("10.9.0.2").unwrap();
    // No busy loop stays behind.
    let before = cpu_time(&a);
    std::thread::sleep(Duration::from_millis(500));
    assert!(cpu_time(&a) - before <= 3, "busy without work");
}

/// Ticks of 10 ms.
fn cpu_time(device: &Device) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", device.daemon.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn in_another_namespace_its_sockets_stay_where_they_were() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    // Nothing but the device is in there: what is pinged goes through the tunnel or nowhere.
    let inside = lab.namespace("inside").unwrap();
    a.namespace.ip(&["link", "set", "dev", &a.name, "netns", inside.path().to_str().unwrap(), "name", "eth7"]).unwrap();
    inside.ip(&["address", "add", "10.9.0.1/24", "dev", "eth7"]).unwrap();
    inside.ip(&["link", "set", "dev", "eth7", "up"]).unwrap();
    ping(&inside, "10.9.0.2", &[]).unwrap();
    // `wg` finds it by its new name, which it has wherever it is asked.
    let name = wait_for_name(&["eth7", &a.name]);
    assert_eq!(wg(&inside, &["show", &name, "public-key"]).unwrap().trim(), Key::new(1).public());
    wg(&inside, &["set", &name, "listen-port", "51888"]).unwrap();
    ping(&inside, "10.9.0.2", &[]).unwrap();
    assert!(!a.namespace.run("ss", &["-Hlun", "sport", "=", ":51888"]).unwrap().is_empty());
    assert!(inside.run("ss", &["-Hlun"]).unwrap().is_empty());

    // A bigger MTU is followed there too: an echo in one piece that the old one has no room for, neither way.
    let echo = || ping(&inside, "10.9.0.2", &["-M", "do", "-s", "1402"]);
    assert!(echo().is_err(), "1430 bytes do not fit yet");
    inside.ip(&["link", "set", "dev", "eth7", "mtu", "1430"]).unwrap();
    b.namespace.ip(&["link", "set", "dev", &b.name, "mtu", "1430"]).unwrap();
    for device in [&a, &b] {
        wait_until("the MTU", || fs::read_to_string(device.daemon.log()).unwrap().contains("its MTU is 1430"));
    }
    echo().unwrap();
    inside.ip(&["link", "delete", "dev", "eth7"]).unwrap();
    wait_until("the end of the socket", || !socket(&name).exists());
}

fn wait_for_name(names: &[&str]) -> String {
    let mut found = None;
    wait_until("a socket", || {
        found = names.iter().find(|name| socket(name).exists()).map(|name| (*name).to_owned());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_device_that_is_down_is_silent() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.set(&["peer", &Key::new(2).public(), "persistent-keepalive", "1"]);
    a.ping("10.9.0.2").unwrap();
    let received = || fields(&b.show("transfer"), &Key::new(1).public()).unwrap()[0].clone();
    a.namespace.ip(&["link", "set", "dev", &a.name, "down"]).unwrap();
    wait_until("the end", || fs::read_to_string(a.daemon.log()).unwrap().contains("is down"));
    let before = received();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(received(), before, "nothing came from a device that is down");
    a.namespace.ip(&["link", "set", "dev", &a.name, "up"]).unwrap();
    a.ping("10.9.0.2").unwrap();
    assert_eq!(a.show("private-key"), Key::new(1).private());
}

#[test]
fn an_mtu_of_65_000_carries_packets_of_that_size() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    for device in [&a, &b] {
        device.namespace.ip(&["link", "set", "dev", "eth0", "mtu", "65100"]).unwrap();
        device.namespace.ip(&["link", "set", "dev", &device.name, "mtu", "65000"]).unwrap();
    }
    for device in [&a, &b] {
        wait_until("the MTU", || fs::read_to_string(device.daemon.log()).unwrap().contains("its MTU is 65000"));
    }
    for size in ["1392", "9000", "64972"] {
        ping(&a.namespace, "10.9.0.2", &["-M", "do", "-s", size]).unwrap();
    }
    ping(&b.namespace, "fd09::1", &["-M", "do", "-s", "64952"]).unwrap();
    let longer = process::finish(
        a.namespace.command("ping").args(["-n", "-c", "1", "-W", "1", "-M", "do", "-s", "64973", "10.9.0.2"]),
        PATIENCE,
    );
    assert!(!longer.unwrap().status.success());
    super::traffic::tcp(&a, &b, "10.9.0.2", 1).unwrap();
}

#[test]
fn a_device_that_nobody_uses_takes_no_time() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    b.ping("10.9.0.1").unwrap();
    // The passive keepalives, ten seconds after the last packet, are over; a handshake is due only much later.
    std::thread::sleep(Duration::from_secs(11));
    let (before, start) = (cpu_time(&a), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    assert!(cpu_time(&a) - before <= 2, "{:?}", start.elapsed());
}
