//! One Noise session with one peer: keys, handshakes, timers. The only file that names boringtun.
//!
//! boringtun reads the clock itself; everything above this file takes time as an argument.

use std::{net::IpAddr, sync::Arc, time::Duration};

use boringtun::{
    noise::{
        Packet, Tunn, TunnResult, errors::WireGuardError, handshake::parse_handshake_anon, rate_limiter::RateLimiter,
    },
    x25519,
};
use mesh_common::datapath::DropReason;

use crate::plan::PublicKey;

/// Room that any message but data may need in an output buffer; data needs its packet and 32 bytes.
pub const MESSAGE_ROOM: usize = 256;

/// Handshake messages per second of one device before senders have to prove their address with a cookie. boringtun
/// counts an initiation twice where the peer has to be found first.
const HANDSHAKES_PER_SECOND: u64 = 200;

/// The private key of this cluster. Erased when dropped.
#[derive(Clone)]
pub struct StaticSecret(x25519::StaticSecret);

impl StaticSecret {
    /// Clamps the bytes as Curve25519 wants them (RFC 7748 section 5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        StaticSecret(x25519::StaticSecret::from(bytes))
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.0).to_bytes())
    }
}

impl std::fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticSecret of {:?}", self.public_key())
    }
}

/// What a device needs to look at a handshake message before it knows the peer.
pub(super) struct Gate {
    secret: StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
}

impl Gate {
    pub(super) fn new(secret: StaticSecret) -> Self {
        let public = x25519::PublicKey::from(&secret.0);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        Gate { secret, public, limiter }
    }

    /// Starts a new second of the limit, if one has passed.
    pub(super) fn refresh(&self) {
        self.limiter.reset_count();
    }

    /// Finds out who sent an initiation. Costs one Diffie-Hellman, after the first MAC was verified.
    pub(super) fn initiator(&self, from: IpAddr, message: &[u8], out: &mut [u8]) -> Result<PublicKey, Refusal> {
        let packet = match self.limiter.verify_packet(Some(from), message, out) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => return Err(Refusal::Cookie(cookie.len())),
            Err(TunnResult::Err(error)) => return Err(Refusal::Drop(reason(&error))),
            Err(_) => return Err(Refusal::Drop(DropReason::NotWireguard)),
        };
        let Packet::HandshakeInit(initiation) = packet else {
            return Err(Refusal::Drop(DropReason::NotWireguard));
        };
        match parse_handshake_anon(&self.secret.0, &self.public, &initiation) {
            Ok(half) => Ok(PublicKey(half.peer_static_public)),
            Err(error) => Err(Refusal::Drop(reason(&error))),
        }
    }
}

pub(super) enum Refusal {
    /// We are under load: the first bytes of the output are a cookie reply.
    Cookie(usize),
    Drop(DropReason),
}

/// What [`Session::seal`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A data message of that many bytes.
    Data(usize),
    /// The packet waits for a session, and here is the message that asks for one.
    Handshake(usize),
    /// The packet waits for a session that was asked for before.
    Waiting,
}

/// What [`Session::open`] wrote.
pub(super) enum Unsealed {
    /// An IP packet of that many bytes.
    Packet(usize),
    /// An authentic message that carries nothing.
    Empty,
    /// An answer for the peer, which has proved itself.
    Reply(usize),
    /// A cookie for somebody who has not.
    Cookie(usize),
    Refused(DropReason),
}

pub(super) struct Session {
    tunn: Tunn,
    /// Packets wait inside `tunn` for a session.
    waiting: bool,
}

impl Session {
    /// `index` fills the upper 24 bits of the session indices that the peer will name. Persistent keepalive is not left to
    /// boringtun, where it could not be changed and ends with the session.
    pub(super) fn new(gate: &Gate, peer: &PublicKey, index: u32) -> Self {
        let peer = x25519::PublicKey::from(peer.0);
        let limiter = Some(Arc::clone(&gate.limiter));
        Session { tunn: Tunn::new(gate.secret.0.clone(), peer, None, None, index, limiter), waiting: false }
    }

    /// `out` holds [`MESSAGE_ROOM`] bytes and 32 more than the packet.
    pub(super) fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Sealed {
        match self.tunn.encapsulate(packet, out) {
            TunnResult::WriteToNetwork([4, 0, 0, 0, rest @ ..]) => Sealed::Data(4 + rest.len()),
            TunnResult::WriteToNetwork(message) => {
                self.waiting = true;
                Sealed::Handshake(message.len())
            }
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => {
                self.waiting = true;
                Sealed::Waiting
            }
        }
    }

    /// `out` is at least as long as the message and [`MESSAGE_ROOM`].
    pub(super) fn open(&mut self, from: IpAddr, message: &[u8], out: &mut [u8]) -> Unsealed {
        match self.tunn.decapsulate(Some(from), message, out) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Unsealed::Packet(packet.len())
            }
            TunnResult::Done => Unsealed::Empty,
            TunnResult::WriteToNetwork([3, 0, 0, 0, rest @ ..]) => Unsealed::Cookie(4 + rest.len()),
            TunnResult::WriteToNetwork(message) => Unsealed::Reply(message.len()),
            TunnResult::Err(error) => Unsealed::Refused(reason(&error)),
        }
    }

    /// A session is in force.
    pub(super) fn is_live(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    pub(super) fn handshake_age(&self) -> Option<Duration> {
        self.tunn.time_since_last_handshake()
    }

    /// Whether [`Session::flush`] has something to send.
    pub(super) fn can_flush(&self) -> bool {
        self.waiting && self.is_live()
    }

    /// Seals one packet that waited. `None`: none waits any more.
    pub(super) fn flush(&mut self, from: IpAddr, out: &mut [u8]) -> Option<usize> {
        match self.tunn.decapsulate(Some(from), &[], out) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => {
                self.waiting = false;
                None
            }
        }
    }

    /// Asks for a session, unless that was done already.
    pub(super) fn initiate(&mut self, out: &mut [u8]) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, false) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// An empty message over the session in force.
    pub(super) fn keepalive(&mut self, out: &mut [u8]) -> Option<usize> {
        match self.tunn.encapsulate(&[], out) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Lets the timers run; call this every 250 ms while the session is awake.
    pub(super) fn tick(&mut self, out: &mut [u8]) -> Tick {
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork([4, 0, 0, 0, rest @ ..]) => Tick::Keepalive(4 + rest.len()),
            TunnResult::WriteToNetwork(message) => Tick::Initiation(message.len()),
            TunnResult::Err(_) => {
                self.waiting = false;
                Tick::Expired
            }
            _ => Tick::Nothing,
        }
    }
}

/// What the timers want sent.
pub(super) enum Tick {
    Nothing,
    Keepalive(usize),
    Initiation(usize),
    /// The peer did not answer for long, or nobody used the session: all keys are gone.
    Expired,
}

fn reason(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::NoCurrentSession | WireGuardError::ConnectionExpired => DropReason::NoSession,
        WireGuardError::InvalidPacket
        | WireGuardError::IncorrectPacketLength
        | WireGuardError::WrongPacketType
        | WireGuardError::DestinationBufferTooSmall => DropReason::NotWireguard,
        WireGuardError::UnderLoad | WireGuardError::LockFailed => DropReason::Congested,
        WireGuardError::UnexpectedPacket
        | WireGuardError::WrongIndex
        | WireGuardError::WrongKey
        | WireGuardError::InvalidTai64nTimestamp
        | WireGuardError::WrongTai64nTimestamp
        | WireGuardError::InvalidMac
        | WireGuardError::InvalidAeadTag
        | WireGuardError::InvalidCounter
        | WireGuardError::DuplicateCounter => DropReason::Unauthenticated,
    }
}
