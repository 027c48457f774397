//! What a device does not take, and how it says so.

use std::{
    fs,
    net::UdpSocket,
    os::unix::{net::UnixListener, process::CommandExt as _},
    time::Duration,
};

use mesh_lab::{Lab, process};

use super::device::{Device, Key, PATIENCE, finish, mesh_wg, socket, unique_name};

#[test]
fn a_listen_port_in_use_is_refused_and_nothing_else_of_the_request_is_done() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let taken = device.namespace.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let before = device.show("dump");
    device.refuses(
        &["private-key", &Key::new(1).file(&lab), "fwmark", "3", "listen-port", &port, "peer", &Key::new(2).public()],
        "Address already in use",
    );
    assert_eq!(device.show("dump"), before);
    drop(taken);
    device.set(&["listen-port", &port]);
    assert_eq!(device.show("listen-port"), port);
}

#[test]
fn a_bad_line_is_refused_with_all_that_came_before_it() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let key = "01".repeat(32);
    let before = device.show("dump");
    let errnos = [
        (format!("set=1\nlisten_port=1\nprivate_key={key}\nhello\n\n"), "errno=-71\n\n"),
        (format!("set=1\nfwmark=1\npublic_key={key}\nallowed_ip=10.0.0.0/99\n\n"), "errno=-22\n\n"),
        (format!("set=1\npublic_key={key}\nprotocol_version=2\n\n"), "errno=-22\n\n"),
        ("get=1\nall=true\n\n".to_owned(), "errno=-22\n\n"),
        ("please=1\n\n".to_owned(), "errno=-71\n\n"),
        (format!("set=1\nfwmark={}\n\n", "1".repeat(5_000)), "errno=-71\n\n"),
        // A client that is gone in the middle wanted nothing.
        ("set=1\nfwmark=5\n".to_owned(), ""),
        ("get=1\n".to_owned(), ""),
        (String::new(), ""),
    ];
    for (request, reply) in &errnos {
        assert_eq!(device.raw(request), *reply, "{request:?}");
        assert_eq!(device.show("dump"), before, "{request:?}");
    }
    // One conversation may have many requests, and a refused one does not end it.
    let answers = device.raw("set=1\nfwmark=x\n\nset=1\nfwmark=9\n\nget=1\n\n");
    assert!(answers.starts_with("errno=-22\n\nerrno=0\n\nlisten_port="), "{answers}");
    assert!(answers.ends_with("fwmark=9\nerrno=0\n\n"), "{answers}");
}

#[test]
fn nobody_is_a_peer_of_itself() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let own = Key::new(1);
    device.set(&["peer", &own.public(), "allowed-ips", "10.0.0.0/8"]);
    device.set(&["private-key", &own.file(&lab)]);
    assert_eq!(device.show("peers"), "");
    device.set(&["peer", &own.public(), "allowed-ips", "10.0.0.0/8"]);
    assert_eq!(device.show("peers"), "");
}

#[test]
fn a_name_in_use_is_refused() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("a").unwrap();
    let device = Device::start(&lab, &namespace);
    for arguments in [&["-f", &device.name][..], &[&device.name]] {
        let second = finish(&lab, &lab.namespace("b").unwrap(), arguments);
        assert_eq!(second.status.code(), Some(1));
        assert!(second.stderr.contains("in use"), "{}", second.stderr);
    }
    // The first is as it was.
    device.set(&["fwmark", "5"]);

    // A device of that name, but no socket.
    let other = unique_name();
    namespace.ip(&["link", "add", "name", &other, "type", "veth"]).unwrap();
    let third = finish(&lab, &namespace, &[&other]);
    assert_eq!(third.status.code(), Some(1));
    assert!(third.stderr.contains(&other) && third.stderr.contains("delete it"), "{}", third.stderr);
    assert!(!socket(&other).exists());
}

#[test]
fn a_socket_that_nobody_answers_is_replaced() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("a").unwrap();
    let mut killed = Device::start(&lab, &namespace);
    let name = killed.name.clone();
    killed.daemon.kill().unwrap();
    assert!(socket(&name).exists());
    let again = finish(&lab, &namespace, &[&name]);
    assert!(again.status.success(), "{}", again.stderr);
    namespace.run("wg", &["set", &name, "fwmark", "4"]).unwrap();
    namespace.ip(&["link", "delete", "dev", &name]).unwrap();
    super::device::wait_until("the end of the device", || !socket(&name).exists());
}

#[test]
fn a_socket_that_does_not_reply_is_in_use() {
    let lab = Lab::new().unwrap();
    let name = unique_name();
    let _silent = UnixListener::bind(socket(&name)).unwrap();
    let refused = finish(&lab, &lab.namespace("a").unwrap(), &[&name]);
    fs::remove_file(socket(&name)).unwrap();
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("in use"), "{}", refused.stderr);
}

#[test]
fn bad_names_and_options_are_refused() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("a").unwrap();
    for name in ["", "wg 0", "a/b", "..", "sixteencharacter", "wg%d"] {
        let refused = finish(&lab, &namespace, &["--", name]);
        assert_eq!(refused.status.code(), Some(1), "{name:?}");
        assert!(refused.stderr.contains("no device name"), "{name:?}: {}", refused.stderr);
    }
    for arguments in [&[][..], &["a", "b"], &["--what"], &["--shards", "0", "wg0"]] {
        let refused = finish(&lab, &namespace, arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stderr.contains("Usage: mesh-wg") || refused.stderr.contains("--shards"), "{}", refused.stderr);
    }
    let mut command = namespace.command(mesh_wg(&lab));
    let level = process::finish(command.args(["-f", "wg0"]).env("LOG_LEVEL", "loud"), PATIENCE).unwrap();
    assert!(level.status.code() == Some(1) && level.stderr.contains("LOG_LEVEL=loud"), "{}", level.stderr);
    let version = finish(&lab, &namespace, &["--version"]);
    assert_eq!(version.stdout, format!("mesh-wg {}\n", env!("CARGO_PKG_VERSION")));
    assert!(finish(&lab, &namespace, &["--help"]).stdout.contains("LOG_LEVEL"));
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    let lab = Lab::new().unwrap();
    let name = unique_name();
    for arguments in [&["-f", &name[..]][..], &[&name]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meshd"));
        // Root without capabilities may still read the program, which a user may not.
        command.arg0("mesh-wg").args(arguments);
        let mut dropped = std::process::Command::new("setpriv");
        dropped.args(["--bounding-set", "-all", "--inh-caps", "-all"]).arg(mesh_wg(&lab)).args(arguments);
        let refused = process::finish(&mut dropped, Duration::from_secs(10)).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("CAP_NET_ADMIN") && refused.stderr.contains("root"), "{}", refused.stderr);
        assert!(!socket(&name).exists());
    }
}
