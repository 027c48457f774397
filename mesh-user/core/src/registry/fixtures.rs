//! A store in a test: commands are decided and what they change is taken over at once.

use uuid::Uuid;

use super::{
    Author, Change, Command, Group, MemberSpec, PeerSpec, Refusal, RefusalCode, Registry, Revision, Rules, decide,
};
use crate::{
    model::group::{Access, GroupId, Org, Peer, PeerKind, PeerRole},
    plan::PublicKey,
};

#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) rules: Rules,
    ids: u128,
}

impl World {
    pub(crate) fn decide(&mut self, author: Author, command: &Command) -> Result<Change, Refusal> {
        let ids = &mut self.ids;
        decide(&self.registry, &self.rules, author, command, &mut || fresh(ids))
    }

    /// Ids as a store would give them.
    pub(crate) fn id(&mut self) -> Uuid {
        fresh(&mut self.ids)
    }

    pub(crate) fn commit(&mut self, change: Change) {
        let revision = Revision(self.registry.revision.0 + 1);
        self.registry.apply(revision, change.into_entries(revision));
    }

    pub(crate) fn by(&mut self, author: Author, command: &Command) -> Result<(), Refusal> {
        let change = self.decide(author, command)?;
        self.commit(change);
        Ok(())
    }

    pub(crate) fn execute(&mut self, command: Command) {
        self.by(Author::Api, &command).unwrap();
    }

    /// Code and path of the refusal, after which nothing has changed.
    pub(crate) fn refused(&mut self, command: Command) -> (RefusalCode, String) {
        let before = self.registry.clone();
        let refusal = self.by(Author::Api, &command).unwrap_err();
        assert_eq!(self.registry, before);
        assert!(!refusal.message.is_empty() && !refusal.hint.is_empty(), "{refusal:?}");
        (refusal.code, refusal.path)
    }

    pub(crate) fn create(&mut self, label: &str, members: &[&str]) -> GroupId {
        self.execute(create(label, members));
        self.group(label).id().clone()
    }

    pub(crate) fn group(&self, label: &str) -> &Group {
        self.registry.find_group(&Org::default(), label).unwrap()
    }

    /// A peer of `member`, which is the only one with this key.
    pub(crate) fn join(&mut self, group: &GroupId, member: &str, key: u8) -> Peer {
        self.execute(Command::CreatePeer { group: group.clone(), peer: clever(member, key) });
        self.registry.groups[group].peer_with_key(&public_key(key)).unwrap().clone()
    }
}

pub(crate) fn create(label: &str, members: &[&str]) -> Command {
    Command::CreateGroup {
        id: None,
        org: Org::default(),
        label: label.parse().unwrap(),
        description: None,
        tags: Default::default(),
        members: members.iter().map(|id| spec(id)).collect(),
        cidr: None,
        prefix_length: None,
        default_access: Access::Allow,
    }
}

pub(crate) fn spec(id: &str) -> MemberSpec {
    MemberSpec { id: id.parse().unwrap(), label: None, kind: None, domain_name: None }
}

pub(crate) fn link(group: &GroupId, id: &str) -> Command {
    Command::Link { group: group.clone(), member: spec(id) }
}

pub(crate) fn clever(member: &str, key: u8) -> PeerSpec {
    PeerSpec {
        kind: PeerKind::CleverPeer,
        parent_member: Some(member.parse().unwrap()),
        hv: Some("hv-1".parse().unwrap()),
        label: None,
        ..external("", key)
    }
}

/// With a member of its own.
pub(crate) fn external(label: &str, key: u8) -> PeerSpec {
    PeerSpec {
        id: None,
        kind: PeerKind::ExternalPeer,
        label: label.parse().ok(),
        parent_member: None,
        role: PeerRole::Client,
        public_key: public_key(key),
        ip: None,
        port: None,
        hostname: None,
        parent_event: None,
        hv: None,
        address: None,
    }
}

pub(crate) fn server(mut peer: PeerSpec, ip: &str, port: u16) -> PeerSpec {
    (peer.role, peer.ip, peer.port) = (PeerRole::Server, Some(ip.parse().unwrap()), Some(port));
    peer
}

/// Of a number above zero.
pub(crate) fn public_key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

fn fresh(ids: &mut u128) -> Uuid {
    *ids += 1;
    uuid::Builder::from_random_bytes(ids.to_be_bytes()).into_uuid()
}
