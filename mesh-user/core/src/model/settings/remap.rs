//! `[remap]`: what becomes of sources that are no workloads of this cluster, and how large segments of TCP may be.

use toml::Spanned;

use super::{file::RemapSection, reading::Reading};

/// A segment of fewer bytes is of no use; 536 is what every host takes (RFC 9293 section 3.7.1).
const MSS_MIN: u16 = 536;
const IPV4_AND_TCP: u16 = 40;
const IPV6_AND_TCP: u16 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemapSettings {
    /// Sources that are no workloads of this cluster become its unknown-source address towards remotes. Off: their packets
    /// are dropped.
    pub unknown_source: bool,
    /// All sources become that address.
    pub full_masquerade: bool,
    /// Connection tracking does not see what goes between workloads and remotes.
    pub notrack: bool,
    /// No remote reaches another one by an `IP` object of this cluster.
    pub deny_direct_connections: bool,
    pub mss: MssClamp,
}

/// Which segments both ends of a TCP connection are told to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MssClamp {
    Off,
    /// What fits through the tunnel.
    Auto,
    /// Segments of so many bytes, also where a connection has no tunnel.
    Fixed(u16),
}

impl Default for RemapSettings {
    fn default() -> Self {
        RemapSettings {
            unknown_source: true,
            full_masquerade: false,
            notrack: false,
            deny_direct_connections: true,
            mss: MssClamp::Auto,
        }
    }
}

impl MssClamp {
    /// What packets of a connection have to fit into: through a tunnel of this MTU, or none. 0: nobody is told.
    pub fn mtu(self, tunnel: Option<u16>, is_v4: bool) -> u16 {
        match self {
            MssClamp::Off => 0,
            MssClamp::Auto => tunnel.unwrap_or(0),
            MssClamp::Fixed(mss) => mss.saturating_add(if is_v4 { IPV4_AND_TCP } else { IPV6_AND_TCP }),
        }
    }
}

impl Reading<'_> {
    pub(super) fn remap(&mut self, section: &RemapSection) -> RemapSettings {
        if let (true, Some(other)) =
            (section.full_masquerade, section.unknown_source.as_ref().filter(|on| !on.get_ref()))
        {
            let hint = "leave one of the two out";
            self.refuse(other, "remap.unknown_source", "off, and full_masquerade makes every source unknown", hint);
        }
        if let (true, Some(notrack)) = (section.full_masquerade, section.notrack.as_ref().filter(|on| *on.get_ref())) {
            let hint = "leave one of the two out";
            self.refuse(notrack, "remap.notrack", "on, and full_masquerade needs connection tracking", hint);
        }
        let is = |value: &Option<Spanned<bool>>, default| value.as_ref().map_or(default, |value| *value.get_ref());
        let plain = RemapSettings::default();
        RemapSettings {
            unknown_source: is(&section.unknown_source, plain.unknown_source),
            full_masquerade: section.full_masquerade,
            notrack: is(&section.notrack, plain.notrack),
            deny_direct_connections: section.deny_direct_connections,
            mss: self.mss(section),
        }
    }

    /// `mss` 0 is what the MTU leaves, as in Liqo.
    fn mss(&mut self, section: &RemapSection) -> MssClamp {
        if !section.mss_clamp {
            return MssClamp::Off;
        }
        match section.mss.as_ref().map(|mss| (mss, *mss.get_ref())) {
            None | Some((_, 0)) => MssClamp::Auto,
            Some((_, size)) if size >= MSS_MIN => MssClamp::Fixed(size),
            Some((mss, size)) => {
                let hint = format!("write 0 for what the MTU leaves, or at least {MSS_MIN}");
                self.refuse(mss, "remap.mss", format!("segments of {size} bytes"), &hint);
                MssClamp::Auto
            }
        }
    }
}
