//! Where did the packets of a check stop, and what is to be done about it? Counters on the way tell.

/// Packets counted along the way, there and back. Other traffic is in all but `delivered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By the sender's gateway, into the tunnel.
    pub(super) sent: u64,
    /// At the receiver's gateway, out of the tunnel.
    pub(super) arrived: u64,
    /// At the receiving pod.
    pub(super) delivered: u64,
    /// By the receiver's gateway, into the tunnel.
    pub(super) returned: u64,
    /// At the sender's gateway, out of the tunnel.
    pub(super) back: u64,
}

/// The hop at which most of what was sent stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    BeforeTunnel,
    BetweenGateways,
    AfterTunnel,
    BeforeTunnelBack,
    BetweenGatewaysBack,
    AfterTunnelBack,
}

impl Counts {
    pub(super) fn since(&self, before: &Counts) -> Counts {
        Counts {
            sent: self.sent.saturating_sub(before.sent),
            arrived: self.arrived.saturating_sub(before.arrived),
            delivered: self.delivered.saturating_sub(before.delivered),
            returned: self.returned.saturating_sub(before.returned),
            back: self.back.saturating_sub(before.back),
        }
    }

    /// Of so many datagrams, hardly any of which was answered.
    pub(super) fn stop(&self, datagrams: u64) -> Stop {
        let is_less = |count: u64| count < datagrams / 2;
        let way = [
            (self.sent, Stop::BeforeTunnel),
            (self.arrived, Stop::BetweenGateways),
            (self.delivered, Stop::AfterTunnel),
            (self.returned, Stop::BeforeTunnelBack),
            (self.back, Stop::BetweenGatewaysBack),
        ];
        // Who got it has it, whatever a gateway counted.
        let begin = if is_less(self.delivered) { 0 } else { 3 };
        let first = way.iter().skip(begin).find(|(count, _)| is_less(*count));
        first.map_or(Stop::AfterTunnelBack, |(_, stop)| *stop)
    }
}

/// The clusters of a check, and what it tried from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) is_from_node: bool,
}

impl Stop {
    pub(super) fn reason(self, Ends { from, to, is_from_node }: Ends<'_>) -> String {
        let sender = if is_from_node { "node" } else { "pod" };
        match self {
            Stop::BeforeTunnel => format!("the gateway of {from} did not send what its {sender} sent into the tunnel"),
            Stop::BetweenGateways => format!("lost between the gateways: {from} sent it, {to} did not get it"),
            Stop::AfterTunnel => {
                format!("it came out of the tunnel at the gateway of {to}, which did not forward it to the pod")
            }
            Stop::BeforeTunnelBack => {
                format!(
                    "the pod of {to} got it and answered; the gateway of {to} did not send the answer into the tunnel"
                )
            }
            Stop::BetweenGatewaysBack => {
                format!("the answer was lost between the gateways: {to} sent it, {from} did not get it")
            }
            Stop::AfterTunnelBack => {
                format!(
                    "the answer came out of the tunnel at the gateway of {from}, which did not bring it to the {sender}"
                )
            }
        }
    }

    pub(super) fn next(self, Ends { from, to, is_from_node }: Ends<'_>) -> String {
        let forwarding = |cluster: &str| {
            format!(
                "on the gateway of {cluster}: `sysctl net.ipv4.ip_forward`, and a firewall that drops what is forwarded \
                 (`nft list ruleset`, `iptables -S FORWARD`)"
            )
        };
        match self {
            Stop::BeforeTunnel if is_from_node => {
                format!("on the node of {from}: `ip route get`, and `unknown_source` in [remap] of its settings")
            }
            Stop::AfterTunnelBack if is_from_node => {
                format!("on the node of {from}: a firewall that drops what comes in (`nft list ruleset`)")
            }
            Stop::BeforeTunnel | Stop::AfterTunnelBack => forwarding(from),
            Stop::AfterTunnel | Stop::BeforeTunnelBack => forwarding(to),
            Stop::BetweenGateways | Stop::BetweenGatewaysBack => {
                format!(
                    "`meshctl network status -o wide` at both; a firewall for UDP between the gateways of {from} and {to}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counter_that_lacks_packets_is_the_hop() {
        let all = Counts { sent: 207, arrived: 205, delivered: 200, returned: 206, back: 204 };
        let stop = |counts: Counts| counts.stop(200);
        assert_eq!(stop(all), Stop::AfterTunnelBack);
        assert_eq!(stop(Counts { back: 7, ..all }), Stop::BetweenGatewaysBack);
        assert_eq!(stop(Counts { back: 7, returned: 7, ..all }), Stop::BeforeTunnelBack);
        let lost = Counts { delivered: 0, returned: 6, back: 6, ..all };
        assert_eq!(stop(lost), Stop::AfterTunnel);
        assert_eq!(stop(Counts { arrived: 8, ..lost }), Stop::BetweenGateways);
        assert_eq!(stop(Counts { sent: 8, arrived: 8, ..lost }), Stop::BeforeTunnel);
    }

    #[test]
    fn the_hop_is_named() {
        let ends = Ends { from: "cl01", to: "cl02", is_from_node: false };
        assert!(Stop::AfterTunnel.reason(ends).contains("gateway of cl02, which did not forward"));
        assert!(Stop::AfterTunnel.next(ends).contains("on the gateway of cl02"));
        assert!(Stop::BeforeTunnel.next(ends).contains("on the gateway of cl01"));
    }
}
