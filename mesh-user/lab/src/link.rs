//! What connects namespaces: veth pairs, switches, addresses, offloads.

use anyhow::{Context, Result};

use crate::Namespace;

/// One end of a cable to be.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    pub namespace: &'a Namespace,
    pub device: &'a str,
}

impl<'a> Port<'a> {
    pub fn new(namespace: &'a Namespace, device: &'a str) -> Port<'a> {
        Port { namespace, device }
    }
}

/// A veth pair between two namespaces, both ends up, made in place (a device never shows up in the caller's namespace).
pub fn veth(a: Port, b: Port) -> Result<()> {
    let far = b.namespace.path();
    let far = far.to_str().context("names of namespaces are ASCII")?;
    a.namespace.ip(&["link", "add", "name", a.device, "type", "veth", "peer", "name", b.device, "netns", far])?;
    for end in [a, b] {
        end.namespace.ip(&["link", "set", "dev", end.device, "up"])?;
    }
    Ok(())
}

/// A bridge without spanning tree: the wire that several hosts share. Plug hosts in with [`plug`].
pub fn switch(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.ip(&["link", "add", "name", device, "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
    // Learning which ports want multicast takes queries that nobody here sends.
    namespace.ip(&["link", "set", "dev", device, "type", "bridge", "mcast_snooping", "0"])?;
    namespace.ip(&["link", "set", "dev", device, "up"])?;
    Ok(())
}

/// Connects `host` to the bridge `switch` by a veth whose far end is `port`.
pub fn plug(host: Port, switch: Port, port: &str) -> Result<()> {
    veth(host, Port::new(switch.namespace, port))?;
    switch.namespace.ip(&["link", "set", "dev", port, "master", switch.device])?;
    Ok(())
}

/// Adds addresses such as `10.0.0.1/24` or `2001:db8::1/64`, usable at once.
pub fn address(port: Port, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let mut arguments = vec!["address", "add", address, "dev", port.device];
        if address.contains(':') {
            arguments.push("nodad");
        }
        port.namespace.ip(&arguments)?;
    }
    Ok(())
}

pub fn mtu(port: Port, mtu: u16) -> Result<()> {
    port.namespace.ip(&["link", "set", "dev", port.device, "mtu", &mtu.to_string()])?;
    Ok(())
}

/// Packets that leave this end look as on a wire: complete checksums, no segmentation left to do. What arrives at it goes
/// through GRO, without which a veth drops what XDP redirects to its peer.
pub fn as_on_a_wire(port: Port) -> Result<()> {
    offload(port, &[("tx", false), ("tso", false), ("gso", false), ("gro", true)])
}

/// `ethtool -K`.
pub fn offload(port: Port, features: &[(&str, bool)]) -> Result<()> {
    let mut arguments = vec!["-K", port.device];
    for (feature, on) in features {
        arguments.extend([*feature, if *on { "on" } else { "off" }]);
    }
    port.namespace.run("ethtool", &arguments)?;
    Ok(())
}

/// The link-layer address of a device.
pub fn mac(port: Port) -> Result<String> {
    let shown = port.namespace.ip(&["-brief", "link", "show", "dev", port.device])?;
    let mac = shown.split_whitespace().nth(2).with_context(|| format!("no address in `{}`", shown.trim()))?;
    Ok(mac.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn hosts_on_a_switch_reach_each_other() {
        let lab = Lab::new().unwrap();
        let (wire, a, b) = (lab.namespace("wire").unwrap(), lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
        switch(&wire, "br0").unwrap();
        for (host, port, own) in [(&a, "a", "192.0.2.1/24"), (&b, "b", "192.0.2.2/24")] {
            let eth0 = Port::new(host, "eth0");
            plug(eth0, Port::new(&wire, "br0"), port).unwrap();
            as_on_a_wire(eth0).unwrap();
            address(eth0, &[own]).unwrap();
        }
        a.run("ping", &["-c", "1", "-W", "2", "192.0.2.2"]).unwrap();
        assert!(mac(Port::new(&a, "eth0")).unwrap().matches(':').count() == 5);
    }
}
