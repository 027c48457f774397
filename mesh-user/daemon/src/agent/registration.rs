//! How a peer of this node gets into the registry it belongs in, stays there as it is, and leaves it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mesh_core::{
    api::group::{CreatePeer, UpdatePeer},
    model::group::{MemberId, Peer, PeerId, PeerKind, PeerRole},
    plan::PublicKey,
    registry::Revision,
};

use super::{
    Agent, Home, Kept, Trouble,
    home::{Errand, Wish},
    lease::Fate,
    mirror::Sight,
    wanted::Want,
};
use crate::{kernel::udp::UdpSockets, keys, state::public_key};

/// First and longest pause between attempts; the first is also how soon a registry should show what it was told.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is under way for one peer, and how it went so far.
#[derive(Debug)]
pub(super) struct Attempt {
    is_under_way: bool,
    /// Nothing more is tried before.
    not_before: Instant,
    pause: Duration,
    count: usize,
    trouble: Option<Trouble>,
}

/// How an errand ended.
#[derive(Debug)]
pub(super) struct Outcome {
    peer: PeerId,
    is_delete: bool,
    is_create: bool,
    result: Result<(), Trouble>,
}

impl Attempt {
    fn first() -> Attempt {
        Attempt { is_under_way: false, not_before: Instant::now(), pause: FIRST_PAUSE, count: 0, trouble: None }
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    fn is_due(&self) -> bool {
        !self.is_under_way && self.not_before <= Instant::now()
    }
}

impl Agent {
    pub(super) fn is_attempt_due(&self) -> bool {
        self.attempts.values().any(Attempt::is_due)
    }

    /// What is wanted and not undertaken is written down, with an id, a key and a port.
    ///
    /// What lacks one of these is left for later and hinders nothing else. An error: what is undertaken is not all on disk.
    pub(super) fn keep_book(&mut self) -> Result<()> {
        let known = std::mem::take(&mut self.lacking);
        let mut has_ports = true;
        for want in self.wanted() {
            if self.ledger.of(&want.purpose).is_some() {
                continue;
            }
            // Without one for this, there is none for the next.
            let port = if has_ports { self.free_port() } else { None };
            has_ports = port.is_some();
            let purpose = want.purpose.clone();
            if let Err(error) = self.write_down(want, port) {
                let lack = (purpose, format!("{error:#}"));
                if !known.contains(&lack) {
                    tracing::warn!(group = %lack.0.group, member = %lack.0.member, "no peer yet: {}", lack.1);
                }
                self.lacking.push(lack);
            }
        }
        self.ledger.save_rest()
    }

    fn write_down(&mut self, want: Want, port: Option<u16>) -> Result<()> {
        let Want { purpose, is_external, label, .. } = want;
        let listen_port = port.with_context(|| {
            let (first, last) = (self.ports.start(), self.ports.end());
            format!("no UDP port of ng.ports ({first}-{last}) is free")
        })?;
        let peer = PeerId::new(keys::random_uuid()?);
        self.own_key(&peer)?;
        let (was_registered, lease, address) = Default::default();
        self.ledger.add(Kept { purpose, peer, is_external, label, listen_port, was_registered, lease, address });
        Ok(())
    }

    /// The lowest of the range that nobody has.
    fn free_port(&self) -> Option<u16> {
        let is_ours = |port: &u16| self.ledger.peers.iter().any(|kept| kept.listen_port == *port);
        self.ports.clone().find(|port| !is_ours(port) && UdpSockets::bind(*port).is_ok())
    }

    /// Of a local peer, made with the first question.
    pub(super) fn own_key(&mut self, peer: &PeerId) -> Result<PublicKey> {
        if let Some(known) = self.keys.get(peer) {
            return Ok(*known);
        }
        let key = public_key(self.state.peer_key(peer)?);
        self.keys.insert(peer.clone(), key);
        Ok(key)
    }

    /// Begins what brings the registries up to date. Trouble with one peer hinders no other; the first is told.
    pub(super) fn register(&mut self) -> Result<()> {
        let wanted = self.wanted();
        let mut begun = Ok(());
        for kept in self.ledger.peers.clone() {
            let sight = self.sight(&kept.purpose.home);
            let want = wanted.iter().find(|want| want.purpose == kept.purpose);
            begun = begun.and(match want {
                Some(want) => self.keep_registered(&kept, want, &sight),
                None => self.give_up(&kept, &sight),
            });
        }
        begun
    }

    fn keep_registered(&mut self, kept: &Kept, want: &Want, sight: &Sight) -> Result<()> {
        let group = sight.registry.groups.get(&kept.purpose.group);
        let peer = group.and_then(|group| group.peers.get(&kept.peer)).map(|peer| &*peer.object);
        let key = self.own_key(&kept.peer)?;
        match peer {
            Some(peer) => {
                self.note_registered(kept, peer, sight.registry.revision)?;
                if self.is_as_it_should_be(kept, peer, key) {
                    self.attempts.remove(&kept.peer);
                } else {
                    let (ip, port) = self.public(kept).unzip();
                    self.send(kept, Wish::Update(UpdatePeer { public_key: key, ip, port }));
                }
            }
            // Deleted, or a role of ours was withdrawn: it may be seen again.
            None if group.is_none() && want.is_join && kept.was_registered && kept.purpose.home != Home::Own => {}
            None if kept.was_registered && sight.is_current => {
                let fate = self.fate(kept, sight.registry.revision);
                match fate {
                    // Its group is gone, or somebody else deleted it: it is not wanted there.
                    Fate::Removed if want.is_join => {
                        tracing::info!(group = %kept.purpose.group, peer = %kept.peer, "was removed from its group");
                        self.ledger.joins.retain(|joined| joined.purpose != kept.purpose);
                        self.ledger.save_joins()?;
                        self.forget(kept)?;
                    }
                    Fate::Unknown if want.is_join => {}
                    Fate::Removed | Fate::Ended | Fate::Unknown => {
                        self.note(kept, Kept { was_registered: false, ..kept.clone() })?;
                        self.create(kept, key);
                    }
                }
            }
            None => self.create(kept, key),
        }
        Ok(())
    }

    fn create(&mut self, kept: &Kept, key: PublicKey) {
        let create = self.creation(kept, key);
        self.send(kept, Wish::Create(create));
    }

    fn give_up(&mut self, kept: &Kept, sight: &Sight) -> Result<()> {
        let group = sight.registry.groups.get(&kept.purpose.group);
        let peer = group.and_then(|group| group.peers.get(&kept.peer)).map(|peer| &*peer.object);
        let is_under_way = self.attempts.get(&kept.peer).is_some_and(|attempt| attempt.is_under_way);
        if let Some(peer) = peer {
            self.note_registered(kept, peer, sight.registry.revision)?;
        } else if !sight.is_current {
            // Whether it is wanted is not known either.
            return Ok(());
        } else if kept.was_registered && !is_under_way {
            return self.forget(kept);
        }
        // What was never seen there may be on its way into the registry: it says whether it has it.
        self.send(kept, Wish::Delete);
        Ok(())
    }

    fn forget(&mut self, kept: &Kept) -> Result<()> {
        self.attempts.remove(&kept.peer);
        self.waiting.remove(&kept.peer);
        self.keys.remove(&kept.peer);
        self.absent.remove(&kept.peer);
        self.ledger.forget(&kept.peer)
    }

    fn note_registered(&mut self, kept: &Kept, peer: &Peer, revision: Revision) -> Result<()> {
        self.waiting.remove(&kept.peer);
        self.absent.remove(&kept.peer);
        let lease = self.office(&kept.purpose.home).and_then(|office| office.lease.at(revision));
        let lease = lease.filter(|_| !kept.is_external).or(kept.lease);
        let seen = Kept { was_registered: true, lease, address: Some(peer.endpoint.address()), ..kept.clone() };
        self.note(kept, seen)
    }

    /// Writes down what is new of a peer.
    fn note(&mut self, kept: &Kept, new: Kept) -> Result<()> {
        if *kept == new {
            return Ok(());
        }
        let known = self.ledger.peers.iter_mut().find(|known| known.peer == new.peer);
        known.into_iter().for_each(|known| *known = new.clone());
        self.ledger.save_peers()
    }

    fn is_as_it_should_be(&self, kept: &Kept, peer: &Peer, key: PublicKey) -> bool {
        let public = peer.endpoint.public().map(|term| (term.host, term.port));
        peer.public_key == key && public == self.public(kept)
    }

    /// Where others call it.
    fn public(&self, kept: &Kept) -> Option<(std::net::IpAddr, u16)> {
        self.advertise.map(|address| (address, kept.listen_port))
    }

    fn creation(&self, kept: &Kept, public_key: PublicKey) -> CreatePeer {
        let (ip, port) = self.public(kept).unzip();
        CreatePeer {
            id: Some(kept.peer.clone()),
            parent_member: kept.purpose.member.clone(),
            peer_kind: if kept.is_external { PeerKind::ExternalPeer } else { PeerKind::CleverPeer },
            peer_role: if ip.is_some() { PeerRole::Server } else { PeerRole::Client },
            hv: (!kept.is_external).then(|| self.node.clone()),
            ip,
            port,
            public_key,
            hostname: Some(self.hostname.clone()),
            label: kept.label.clone(),
            ng_ip: kept.address,
        }
    }

    /// Runs an errand beside everything else, unless one is under way or the last one was just tried.
    fn send(&mut self, kept: &Kept, wish: Wish) {
        let Some(office) = self.office(&kept.purpose.home) else { return };
        let desk = office.desk.clone();
        let attempt = self.attempts.entry(kept.peer.clone()).or_insert_with(Attempt::first);
        if !attempt.is_due() {
            return;
        }
        attempt.is_under_way = true;
        attempt.count += 1;
        let (is_delete, is_create) = (matches!(wish, Wish::Delete), matches!(wish, Wish::Create(_)));
        let errand =
            Errand { org: kept.purpose.org.clone(), group: kept.purpose.group.clone(), peer: kept.peer.clone(), wish };
        let (peer, outcomes) = (kept.peer.clone(), self.outcomes.0.clone());
        tokio::spawn(async move {
            let result = desk.run(errand).await;
            // Without a receiver the agent has ended.
            let _ = outcomes.send(Outcome { peer, is_delete, is_create, result }).await;
        });
    }

    pub(super) fn hear(&mut self, outcome: Outcome) {
        let Outcome { peer, is_delete, is_create, result } = outcome;
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        attempt.is_under_way = false;
        attempt.not_before = Instant::now() + attempt.pause;
        match result {
            Ok(()) => attempt.trouble = None,
            // What is to be deleted is not there: an earlier attempt did it, and was not heard.
            Err(trouble) if is_delete && trouble.says(&["not_found"]) => self.forget_by_id(&peer),
            Err(trouble) => {
                attempt.pause = (attempt.pause * 2).min(LONGEST_PAUSE);
                if attempt.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(%peer, "not registered as it should be: {trouble}");
                }
                // Not the first attempt: an earlier one may have made it, and was not heard.
                let is_made = attempt.count > 1 && trouble.says(&["conflict"]);
                let is_refused = trouble.is_final && is_create && !is_made;
                attempt.trouble = Some(trouble.clone());
                if is_refused && let Some(waiting) = self.waiting.remove(&peer) {
                    self.withdraw(&peer, &trouble, waiting);
                }
            }
        }
    }

    pub(super) fn forget_by_id(&mut self, peer: &PeerId) {
        let kept = self.ledger.peers.iter().find(|kept| kept.peer == *peer).cloned();
        if let Some(Err(error)) = kept.map(|kept| self.forget(&kept)) {
            tracing::error!("the agent of network groups: {error:#}");
        }
    }
}

/// A member for one peer alone.
pub(super) fn new_external_member() -> Result<MemberId> {
    Ok(MemberId::external(keys::random_uuid()?))
}
