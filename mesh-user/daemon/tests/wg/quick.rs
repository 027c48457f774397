//! `wg-quick` with `mesh-wg` as its user-space implementation: the kernel here has no WireGuard, so it falls back to it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    process,
};

use super::device::{Device, Key, PATIENCE, fields, mesh_wg, ping, socket, underlay, unique_name, wait_until, wg};

/// A configuration file and the namespace that it is for.
struct Quick {
    namespace: Namespace,
    name: String,
    file: PathBuf,
    path: String,
}

impl Quick {
    fn new(lab: &Lab, namespace: &Namespace, text: &str) -> Quick {
        let name = unique_name();
        let file = lab.directory().join(format!("{name}.conf"));
        fs::write(&file, text).unwrap();
        let directory = mesh_wg(lab).parent().unwrap().display().to_string();
        let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
        Quick { namespace: namespace.clone(), name, file, path }
    }

    fn run(&self, verb: &str) -> Result<String> {
        let mut command: Command = self.namespace.command("wg-quick");
        command.arg(verb).arg(&self.file);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "mesh-wg").env("PATH", &self.path);
        let finished = process::finish(&mut command, PATIENCE)?;
        ensure!(finished.status.success(), "wg-quick {verb}: {}", finished.stderr);
        Ok(finished.stderr)
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        // Where the test took it down, there is none.
        let _ = self.namespace.ip(&["link", "delete", "dev", &self.name]);
        wait_until("the end of the process", || !socket(&self.name).exists());
    }
}

/// The other end, as plain as can be.
fn other_end(lab: &Lab, namespace: &Namespace) -> Device {
    let device = Device::start(lab, namespace);
    device.set(&["private-key", &Key::new(2).file(lab), "listen-port", "51820"]);
    device.set(&["peer", &Key::new(1).public(), "allowed-ips", "10.9.0.1/32,fd09::1/128"]);
    device.up(&["10.9.0.2/24", "fd09::2/64", "10.8.0.1/32"]);
    device
}

#[test]
fn up_and_down() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let _b = other_end(&lab, &b);
    let text = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24, fd09::1/64\nListenPort = 51821\nMTU = 1380\n\
         PostUp = ip route add 10.99.0.0/16 dev %i\n\
         [Peer]\nPublicKey = {}\nEndpoint = 192.0.2.2:51820\nAllowedIPs = 10.9.0.2/32, 10.8.0.0/16, fd09::2/128\n\
         PersistentKeepalive = 25\n",
        Key::new(1).private(),
        Key::new(2).public()
    );
    let quick = Quick::new(&lab, &a, &text);
    let said = quick.run("up").unwrap();
    assert!(said.contains("Missing WireGuard kernel module") && said.contains("mesh-wg"), "{said}");
    for to in ["10.9.0.2", "fd09::2", "10.8.0.1"] {
        ping(&a, to, &[]).unwrap();
    }
    let link = a.ip(&["link", "show", "dev", &quick.name]).unwrap();
    assert!(link.contains("mtu 1380") && link.contains(",UP"), "{link}");
    assert_eq!(wg(&a, &["show", &quick.name, "listen-port"]).unwrap().trim(), "51821");
    assert!(quick.run("up").unwrap_err().to_string().contains("already exists"));
    let stripped = quick.namespace.run("wg-quick", &["strip", quick.file.to_str().unwrap()]).unwrap();
    let sync = lab.directory().join("sync");
    fs::write(&sync, stripped).unwrap();
    wg(&a, &["syncconf", &quick.name, sync.to_str().unwrap()]).unwrap();
    ping(&a, "10.9.0.2", &[]).unwrap();

    quick.run("down").unwrap();
    wait_until("the end of the process", || !socket(&quick.name).exists());
    assert!(a.ip(&["link", "show", "dev", &quick.name]).is_err());
    // And once more.
    quick.run("up").unwrap();
    ping(&a, "10.9.0.2", &[]).unwrap();
    quick.run("down").unwrap();
}

/// `AllowedIPs = 0.0.0.0/0`: a mark, a rule and a table of routes keep what is encrypted out of the tunnel.
#[test]
fn a_default_route_through_the_tunnel() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let there = other_end(&lab, &b);
    link::address(Port::new(&b, "lo"), &["203.0.113.5/32"]).unwrap();
    let text = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/32, fd09::1/128\n\
         [Peer]\nPublicKey = {}\nEndpoint = 192.0.2.2:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n",
        Key::new(1).private(),
        Key::new(2).public()
    );
    let quick = Quick::new(&lab, &a, &text);
    quick.run("up").unwrap();
    ping(&a, "203.0.113.5", &[]).unwrap();
    let mark = wg(&a, &["show", &quick.name, "fwmark"]).unwrap();
    assert!(mark.trim().starts_with("0x"), "{mark}");
    let transfer = fields(&there.show("transfer"), &Key::new(1).public()).unwrap();
    assert_ne!(transfer[0], "0");
    quick.run("down").unwrap();
    assert!(!a.ip(&["rule", "show"]).unwrap().contains("fwmark"));
}

/// `save`, and `SaveConfig`, write what `wg showconf` tells.
#[test]
fn what_was_set_meanwhile_is_saved() {
    let lab = Lab::new().unwrap();
    let (a, _b) = underlay(&lab);
    let text =
        format!("[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24\nSaveConfig = true\n", Key::new(1).private());
    let quick = Quick::new(&lab, &a, &text);
    quick.run("up").unwrap();
    for (verb, peer, allowed) in [("save", Key::new(2), "10.9.0.2/32"), ("down", Key::new(3), "10.9.0.3/32")] {
        wg(&a, &["set", &quick.name, "peer", &peer.public(), "allowed-ips", allowed]).unwrap();
        quick.run(verb).unwrap();
        let saved = fs::read_to_string(&quick.file).unwrap();
        assert!(saved.contains(&peer.public()) && saved.contains(&format!("AllowedIPs = {allowed}")), "{saved}");
    }
}
