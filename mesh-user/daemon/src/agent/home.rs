//! In which store is a peer of this node registered, and how does the node speak to whoever has it?

use std::time::Duration;

use mesh_client::{Client, Url};
use mesh_core::{
    api::{
        self,
        group::{CreatePeer, GroupReply, NodeLeaseReply, PeerReply, UpdatePeer},
        node::Server,
    },
    model::group::{GroupId, NodeId, Org, PeerId},
    registry::{Author, Command, Refusal, Revision},
};
use serde::{Deserialize, Serialize};

use crate::registrar::{Registrar, Rejection};

/// A hub that takes longer is asked again later.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Home {
    /// The store of this daemon.
    Own,
    Hub(Server),
}

/// Whoever registers peers.
#[derive(Clone, Debug)]
pub(super) enum Desk {
    Own(Registrar),
    Hub(Client),
}

/// This node's lease, which was there just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Another one: the store took the node for dead in between.
    pub(super) lease: u64,
    pub(super) seconds: u32,
    /// The revision that it began in.
    pub(super) since: Revision,
    /// One that it was still there in.
    pub(super) revision: Revision,
}

/// Why a registration did not come about.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub error: api::Error,
    /// It was refused: to ask again is of no use as long as nothing changes.
    pub is_final: bool,
}

/// What shall become of one peer.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) org: Org,
    pub(super) group: GroupId,
    pub(super) peer: PeerId,
    pub(super) wish: Wish,
}

#[derive(Clone, Debug)]
pub(super) enum Wish {
    Create(CreatePeer),
    Update(UpdatePeer),
    Delete,
}

impl Home {
    /// However it is reached: with another certificate, or one that lies elsewhere, the peers there are the same.
    pub(super) fn is_same_store(&self, other: &Home) -> bool {
        match (self, other) {
            (Home::Own, Home::Own) => true,
            (Home::Hub(one), Home::Hub(other)) => {
                one.server.trim_end_matches('/') == other.server.trim_end_matches('/')
            }
            (Home::Own, Home::Hub(_)) | (Home::Hub(_), Home::Own) => false,
        }
    }

    /// Something that it is reached with is there no more.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Home::Own => false,
            Home::Hub(Server { server: _, ca, cert, key }) => {
                [ca, cert, key].into_iter().flatten().any(|file| !file.exists())
            }
        }
    }

    pub(super) fn shown(&self) -> &str {
        match self {
            Home::Own => "the store of this node",
            Home::Hub(server) => &server.server,
        }
    }
}

impl Desk {
    /// Registers, changes or deletes a peer.
    pub(super) async fn run(&self, errand: Errand) -> Result<(), Trouble> {
        match self {
            Desk::Own(registrar) => {
                registrar.execute(Author::Api, command(errand)).await?;
            }
            Desk::Hub(client) => {
                let Errand { org, group, peer, wish } = errand;
                let peers = groups(&org).segment(group.as_str()).segment("peers");
                let one = |peers: Url| peers.segment(peer.as_str());
                let _: PeerReply = match wish {
                    Wish::Create(create) => client.post(peers, &create, PATIENCE).await?,
                    Wish::Update(update) => client.patch(one(peers), &update, PATIENCE).await?,
                    Wish::Delete => client.delete(one(peers), PATIENCE).await?,
                };
            }
        }
        Ok(())
    }

    /// The node lives.
    pub(super) async fn keep_alive(&self, node: &NodeId) -> Result<Term, Trouble> {
        match self {
            Desk::Own(registrar) => {
                let alive = registrar.keep_alive(node).await?;
                let (lease, seconds) = (alive.lease.lease, alive.lease.seconds);
                Ok(Term { lease, seconds, since: alive.lease.modified, revision: alive.revision })
            }
            Desk::Hub(client) => {
                let url = Url::new("/v1/nodes").segment(node.as_str()).segment("lease");
                let reply: NodeLeaseReply = client.put(url, PATIENCE).await?;
                let NodeLeaseReply { lease, seconds, since, revision, .. } = reply;
                Ok(Term { lease, seconds, since: Revision(since), revision: Revision(revision) })
            }
        }
    }

    /// The group that an id or label means.
    pub(super) async fn find_group(&self, org: &Org, text: &str) -> Result<(GroupId, String), Trouble> {
        match self {
            Desk::Own(registrar) => {
                let registry = std::sync::Arc::clone(&registrar.registry().borrow());
                let group = registry.find_group(org, text)?;
                Ok((group.id().clone(), group.group.label.to_string()))
            }
            Desk::Hub(client) => {
                let reply: GroupReply = client.get(groups(org).segment(text), PATIENCE).await?;
                Ok((reply.network_group.group.id, reply.network_group.group.label.to_string()))
            }
        }
    }
}

fn groups(org: &Org) -> Url {
    Url::new("/v1/orgs").segment(org.as_str()).segment("networkgroups")
}

fn command(errand: Errand) -> Command {
    let Errand { group, peer, wish, .. } = errand;
    match wish {
        Wish::Create(create) => Command::CreatePeer { group, peer: create.into() },
        Wish::Update(UpdatePeer { public_key, ip, port }) => {
            Command::UpdatePeer { group, peer, public_key, public: ip.zip(port) }
        }
        Wish::Delete => Command::DeletePeer { group, peer },
    }
}

impl Trouble {
    pub(super) fn new(code: &str, message: impl Into<String>, hint: &str) -> Trouble {
        let error = api::Error { code: code.to_owned(), message: message.into(), hint: hint.to_owned() };
        Trouble { error, is_final: true }
    }

    pub(super) fn says(&self, codes: &[&str]) -> bool {
        codes.contains(&self.error.code.as_str())
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        let code = serde_json::to_value(refusal.code).ok();
        let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or("conflict");
        Trouble::new(code, refusal.message, &refusal.hint)
    }
}

impl From<Rejection> for Trouble {
    fn from(rejection: Rejection) -> Trouble {
        match rejection {
            Rejection::Refused(refusal) => refusal.into(),
            Rejection::Problems(problems) => Trouble::new("invalid", problems.to_string(), ""),
            Rejection::Overtaken | Rejection::Node(_) => {
                Trouble { is_final: false, ..Trouble::new("unavailable", rejection.to_string(), "ask again") }
            }
            Rejection::Store(error) => {
                Trouble { is_final: false, ..Trouble::new("unavailable", error.to_string(), "see the log of meshd") }
            }
        }
    }
}

impl From<mesh_client::Error> for Trouble {
    fn from(error: mesh_client::Error) -> Trouble {
        match error {
            // 429 and what is the server's fault may be otherwise next time.
            mesh_client::Error::Refused { status, error } => {
                Trouble { error, is_final: (400..500).contains(&status) && status != 429 }
            }
            other => {
                let hint = "is meshd running there, and does the context have the right server and certificates?";
                Trouble { is_final: false, ..Trouble::new("unreachable", other.to_string(), hint) }
            }
        }
    }
}
