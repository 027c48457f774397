//! Requests about trials: a pod that exists for a test alone, and what is tried from it.
//!
//! | request | body | reply |
//! |---|---|---|
//! | `POST /v1/trials` | [`TrialOrder`] | [`Trial`] |
//! | `GET /v1/trials` | | [`TrialList`] |
//! | `POST /v1/trials/{trial}/checks` | [`TrialCheck`] | [`CheckReply`], once it is done: 30 s at most |
//! | `DELETE /v1/trials/{trial}` | | [`Trial`], as it was at its end |

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a trial shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrialOrder {
    /// Of a pod CIDR, and in use by nobody. Empty: the daemon chooses one of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Seconds until it ends by itself, from 1 to 3600.
    #[schema(minimum = 1, maximum = 3600)]
    pub life: u64,
}

/// A pod that answers: it echoes datagrams, and takes streams and counts their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    pub schema: u32,
    pub id: String,
    /// The end of its cable in the network namespace of the daemon.
    pub device: String,
    /// Real ones, of pod CIDRs of this cluster.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// UDP and TCP.
    pub port: u16,
    /// Seconds until it ends by itself.
    pub ends_in: u64,
    /// Datagrams of checks that came.
    pub datagrams: u64,
    /// TCP connections that came.
    pub streams: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrialList {
    pub schema: u32,
    pub trials: Vec<Trial>,
}

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrialCheck {
    pub from: CheckFrom,
    pub kind: CheckKind,
    /// As the sender calls it.
    #[schema(value_type = String)]
    pub to: IpAddr,
    #[schema(minimum = 1)]
    pub port: u16,
    /// Of the way, for `mtu`: from 576 to 9000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckFrom {
    /// From the trial's own network namespace.
    Pod,
    /// From that of the daemon, with whatever source address the routes give.
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// Ten datagrams of 64 bytes, each of which is answered.
    Echo,
    /// Two hundred datagrams, one a millisecond: enough to be told from other traffic where packets are counted.
    Burst,
    /// A TCP connection; any server will do.
    Connect,
    /// A TCP stream of two seconds.
    Stream,
    /// The longest packet that may not be fragmented and arrives.
    Mtu,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckReply {
    pub schema: u32,
    pub attempts: u32,
    pub answered: u32,
    /// Round trips of what was answered; of `connect`: until the connection stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<RoundTrips>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
    /// Bytes of the longest packet, with its headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u16>,
    /// Why it failed; absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrips {
    pub min: u64,
    pub avg: u64,
    pub max: u64,
}

impl RoundTrips {
    /// `None` of none.
    pub fn of(micros: &[u64]) -> Option<RoundTrips> {
        let (min, max) = (*micros.iter().min()?, *micros.iter().max()?);
        Some(RoundTrips { min, avg: micros.iter().sum::<u64>() / micros.len() as u64, max })
    }
}
