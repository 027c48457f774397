//! What `wg` can do to a device, verb by verb.

use std::fs;

use mesh_lab::Lab;

use super::device::{Device, Key, fields, pair, wg};

const EMPTY: &str = "(none)";

#[test]
fn a_new_device_is_empty() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    assert_eq!(device.show("private-key"), EMPTY);
    assert_eq!(device.show("public-key"), EMPTY);
    assert_eq!(device.show("fwmark"), "off");
    assert_ne!(device.listen_port(), 0);
    assert_eq!(device.show("peers"), "");
    assert!(wg(&device.namespace, &["show", "interfaces"]).unwrap().split_whitespace().any(|name| name == device.name));
    let about = device.namespace.ip(&["-details", "link", "show", "dev", &device.name]).unwrap();
    assert!(about.contains("mtu 1420") && about.contains("addrgenmode none"), "{about}");
}

#[test]
fn show_tells_what_set_said() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let (own, peer, psk) = (Key::new(1), Key::new(2), Key::new(9));
    device.set(&["private-key", &own.file(&lab), "listen-port", "51999", "fwmark", "0xca6c"]);
    let allowed = "10.1.0.0/16,fd00::/8,10.2.3.4/32";
    device.set(&[
        "peer",
        &peer.public(),
        "preshared-key",
        &psk.file(&lab),
        "endpoint",
        "[2001:db8::7]:1234",
        "persistent-keepalive",
        "25",
        "allowed-ips",
        allowed,
    ]);
    assert_eq!(device.show("private-key"), own.private());
    assert_eq!(device.show("public-key"), own.public());
    assert_eq!(device.show("listen-port"), "51999");
    assert_eq!(device.show("fwmark"), "0xca6c");
    assert_eq!(device.show("peers"), peer.public());
    let of_peer = |what| fields(&device.show(what), &peer.public()).unwrap().join(" ");
    assert_eq!(of_peer("preshared-keys"), psk.private());
    assert_eq!(of_peer("endpoints"), "[2001:db8::7]:1234");
    assert_eq!(of_peer("allowed-ips"), "10.1.0.0/16 fd00::/8 10.2.3.4/32");
    assert_eq!(of_peer("latest-handshakes"), "0");
    assert_eq!(of_peer("persistent-keepalive"), "25");
    let transfer = of_peer("transfer");
    assert!(transfer.starts_with("0 "), "{transfer}");
    let dump = device.show("dump");
    let lines: Vec<Vec<&str>> = dump.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0], [&own.private()[..], &own.public(), "51999", "0xca6c"]);
    assert_eq!(
        lines[1][..5],
        [&peer.public()[..], &psk.private(), "[2001:db8::7]:1234", &allowed.replace(' ', ""), "0"]
    );
    assert_eq!(lines[1][7], "25");
    let all = wg(&device.namespace, &["show", "all", "dump"]).unwrap();
    assert!(all.lines().any(|line| line.starts_with(&format!("{}\t{}", device.name, own.private()))), "{all}");
    let pretty = device.wg("show", &[]);
    for shown in [
        "public key: ",
        "private key: (hidden)",
        "listening port: 51999",
        "preshared key: (hidden)",
        "every 25 seconds",
    ] {
        assert!(pretty.contains(shown), "no {shown:?} in {pretty}");
    }
}

#[test]
fn what_is_set_can_be_taken_back() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let (own, one, two) = (Key::new(1), Key::new(2), Key::new(3));
    device.set(&["private-key", &own.file(&lab), "fwmark", "7", "listen-port", "51999"]);
    device.set(&["peer", &one.public(), "preshared-key", &Key::new(9).file(&lab), "persistent-keepalive", "5"]);
    device.set(&["peer", &one.public(), "preshared-key", "/dev/null", "persistent-keepalive", "off"]);
    device.set(&["fwmark", "off", "private-key", "/dev/null", "listen-port", "0"]);
    assert_eq!(device.show("private-key"), EMPTY);
    assert_eq!(device.show("fwmark"), "off");
    assert!(device.listen_port() != 51_999 && device.listen_port() != 0);
    assert_eq!(fields(&device.show("preshared-keys"), &one.public()).unwrap(), [EMPTY]);
    assert_eq!(fields(&device.show("persistent-keepalive"), &one.public()).unwrap(), ["off"]);

    // An address has one owner, and comes back by nobody but by name.
    device.set(&["peer", &one.public(), "allowed-ips", "10.1.0.0/16,10.2.0.0/16"]);
    device.set(&["peer", &two.public(), "allowed-ips", "10.2.0.0/16"]);
    let allowed = || device.show("allowed-ips");
    assert_eq!(fields(&allowed(), &one.public()).unwrap(), ["10.1.0.0/16"]);
    assert_eq!(fields(&allowed(), &two.public()).unwrap(), ["10.2.0.0/16"]);
    device.set(&["peer", &two.public(), "allowed-ips", ""]);
    assert_eq!(fields(&allowed(), &two.public()).unwrap(), [EMPTY]);
    device.set(&["peer", &two.public(), "remove"]);
    assert_eq!(device.show("peers"), one.public());
    device.set(&["peer", &two.public(), "remove"]);
}

/// The `wg` of Debian 12 does not send it yet; later ones do (`allowed-ips +10.0.0.0/8,-10.1.0.0/16`).
#[test]
fn a_single_allowed_ip_is_taken_away() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let one = Key::new(2);
    device.set(&["peer", &one.public(), "allowed-ips", "10.1.0.0/16,10.2.0.0/16"]);
    let hex: String = {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        BASE64_STANDARD.decode(one.public()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let request = |lines: &str| device.raw(&format!("set=1\npublic_key={hex}\n{lines}\n"));
    assert_eq!(request("update_only=true\nallowed_ip=-10.1.0.0/16\nallowed_ip=+10.3.0.0/16\n"), "errno=-22\n\n");
    assert_eq!(fields(&device.show("allowed-ips"), &one.public()).unwrap(), ["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(request("update_only=true\nallowed_ip=-10.1.0.0/16\nallowed_ip=10.3.0.0/16\n"), "errno=0\n\n");
    assert_eq!(fields(&device.show("allowed-ips"), &one.public()).unwrap(), ["10.2.0.0/16", "10.3.0.0/16"]);
    assert_eq!(request("remove=true\n"), "errno=0\n\n");
    assert_eq!(request("update_only=true\nallowed_ip=10.3.0.0/16\n"), "errno=0\n\n");
    assert_eq!(device.show("peers"), "");
}

/// `showconf`, `setconf`, `addconf` and `syncconf` with the same file.
#[test]
fn a_configuration_survives_as_a_file() {
    let lab = Lab::new().unwrap();
    let device = Device::start(&lab, &lab.namespace("a").unwrap());
    let (own, one, two) = (Key::new(1), Key::new(2), Key::new(3));
    let file = |name: &str, text: &str| {
        let path = lab.directory().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let interface = format!("[Interface]\nListenPort = 51998\nFwMark = 0x7\nPrivateKey = {}\n", own.private());
    let of_one = format!(
        "\n[Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 10.1.0.0/16, fd00::/8\nEndpoint = 192.0.2.9:99\n\
         PersistentKeepalive = 25\n",
        one.public(),
        Key::new(9).private()
    );
    let of_two = format!("\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.2.0.0/16\n", two.public());
    let first = file("first", &format!("{interface}{of_one}"));
    device.wg("setconf", &[&first]);
    let shown = device.wg("showconf", &[]);
    assert_eq!(shown.trim_end(), format!("{interface}{of_one}").trim_end());

    device.wg("addconf", &[&file("second", of_two.trim_start())]);
    let mut peers: Vec<String> = device.show("peers").lines().map(str::to_owned).collect();
    peers.sort();
    let mut both = [one.public(), two.public()];
    both.sort();
    assert_eq!(peers, both);

    // What the file does not name goes; what it names stays as it is.
    device.wg("syncconf", &[&first]);
    assert_eq!(device.wg("showconf", &[]), shown);
    device.wg("setconf", &[&file("third", &format!("[Interface]\nPrivateKey = {}\n{of_two}", own.private()))]);
    assert_eq!(device.show("peers"), two.public());
    assert_eq!(device.show("fwmark"), "off");
    assert_ne!(device.listen_port(), 51_998);
}

#[test]
fn syncconf_does_not_disturb_a_session() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    let handshake = || fields(&a.show("latest-handshakes"), &Key::new(2).public()).unwrap();
    let before = handshake();
    assert_ne!(before, ["0"]);
    let path = lab.directory().join("conf");
    fs::write(&path, a.wg("showconf", &[])).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    a.wg("syncconf", &[path.to_str().unwrap()]);
    a.ping("10.9.0.2").unwrap();
    assert_eq!(handshake(), before);
    let sent = |device: &Device, key: &Key| -> u64 {
        fields(&device.show("transfer"), &key.public()).unwrap()[1].parse().unwrap()
    };
    assert!(sent(&a, &Key::new(2)) > 148 && sent(&b, &Key::new(1)) > 92);
}
