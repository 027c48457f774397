//! How long and how much: the constants of the WireGuard paper (section 6.1) and of the Linux module.

use std::time::Duration;

/// When sessions are renewed and given up. Everything but tests uses [`Limits::WIREGUARD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages sent with one key before a new one is asked for.
    pub rekey_after_messages: u64,
    /// The counter from which on nothing is sent or taken.
    pub reject_after_messages: u64,
    /// Age of a key at which the end that began it begins a new one.
    pub rekey_after_time: Duration,
    /// Age of a key at which it is of no use any more.
    pub reject_after_time: Duration,
    /// How long a handshake is tried.
    pub rekey_attempt_time: Duration,
    /// How long one initiation waits for its response, and the least time between two.
    pub rekey_timeout: Duration,
    /// Silence after which data that was received is acknowledged by an empty message.
    pub keepalive_timeout: Duration,
}

impl Limits {
    pub const WIREGUARD: Limits = Limits {
        rekey_after_messages: 1 << 60,
        reject_after_messages: u64::MAX - (1 << 13),
        rekey_after_time: Duration::from_secs(120),
        reject_after_time: Duration::from_secs(180),
        rekey_attempt_time: Duration::from_secs(90),
        rekey_timeout: Duration::from_secs(5),
        keepalive_timeout: Duration::from_secs(10),
    };

    /// Age of a key at which its initiator renews it on data that it *receives*, so that an answer finds a session.
    pub(super) fn rekey_on_receive(&self) -> Duration {
        self.reject_after_time.saturating_sub(self.keepalive_timeout + self.rekey_timeout)
    }

    /// Silence after data of ours that makes us suspect that the peer has lost the session.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.keepalive_timeout + self.rekey_timeout
    }

    /// When what is left of a session is erased.
    pub(super) fn erase_after(&self) -> Duration {
        self.reject_after_time * 3
    }
}

/// Initiations are repeated up to so much later than [`Limits::rekey_timeout`] says.
pub(super) const JITTER: Duration = Duration::from_millis(334);

/// The least time between two initiations of one peer that are answered: 50 a second, as in Linux.
pub(super) const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// Handshake messages that a device takes in a second before their senders have to prove their addresses: with about
/// 0.2 ms for each, a fifth of a core.
pub(super) const HANDSHAKES_PER_SECOND: u32 = 1_000;

/// How long a device stays cautious after it had too many handshakes, as in Linux.
pub(super) const LOAD_LASTS: Duration = Duration::from_secs(1);

/// Handshakes of one source, an IPv4 address or an IPv6 /64, that are taken in a second and at once while the device is
/// under load, as in Linux.
pub(super) const PER_SOURCE_PER_SECOND: u32 = 20;
pub(super) const PER_SOURCE_AT_ONCE: u32 = 5;

/// How long a cookie is good, and how long the secret that cookies are made of.
pub(super) const COOKIE_LIFE: Duration = Duration::from_secs(120);

/// What may wait for a session with one peer.
pub(super) const WAITING_PACKETS: usize = 256;
pub(super) const WAITING_BYTES: usize = 512 * 1024;
