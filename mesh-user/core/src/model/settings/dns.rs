//! `[dns]`: where names of network groups are answered, and what becomes of other questions.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::{file::DnsSection, reading::Reading};

const DEFAULT_LISTEN: &str = "127.0.0.153:53";
const PORT: u16 = 53;
/// Seconds: a day. Names of peers that stopped would live on in caches for longer than anybody waits.
const TTL_MAX: u32 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    pub enabled: bool,
    /// Never empty where it is enabled.
    pub listen: Vec<SocketAddr>,
    /// Who answers questions about other names; empty: they are refused.
    pub forward: Vec<SocketAddr>,
    /// Seconds.
    pub ttl: u32,
    /// Tell systemd-resolved that the groups' suffixes are answered here.
    pub register: bool,
}

impl Reading<'_> {
    pub(super) fn dns(&mut self, section: &DnsSection) -> DnsSettings {
        let listen = match &section.listen {
            Some(list) => self.servers("dns.listen", list),
            None => vec![DEFAULT_LISTEN.parse().expect("the default is an address")],
        };
        if section.enabled && section.listen.as_ref().is_some_and(Vec::is_empty) {
            self.report(None, "dns.listen", "no address", "give one, or write enabled = false");
        }
        let forward = self.servers("dns.forward", &section.forward);
        for (address, text) in forward.iter().zip(&section.forward) {
            if listen.contains(address) {
                let message = format!("{address} is where this server listens");
                self.refuse(text, "dns.forward", message, "give a resolver that answers for the rest of the world");
            }
        }
        let ttl = *section.ttl.get_ref();
        if ttl > TTL_MAX {
            self.refuse(&section.ttl, "dns.ttl", format!("{ttl} seconds"), &format!("write 0 to {TTL_MAX}"));
        }
        DnsSettings { enabled: section.enabled, listen, forward, ttl, register: section.register }
    }

    /// Addresses with or without port.
    fn servers(&mut self, path: &str, list: &[Spanned<String>]) -> Vec<SocketAddr> {
        let mut servers = Vec::new();
        for text in list {
            let with_port = text.get_ref().parse::<SocketAddr>().ok();
            let bare = || text.get_ref().parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
            match with_port.or_else(bare).filter(|server| server.port() > 0) {
                Some(server) => servers.push(server),
                None => {
                    let message = format!("{:?} is no address and port", text.get_ref());
                    self.refuse(text, path, message, "write ADDRESS:PORT, such as 127.0.0.153:53 or [::1]:53");
                }
            }
        }
        servers
    }
}
