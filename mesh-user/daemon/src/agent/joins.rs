//! How somebody on this node has it join a group and leave it again.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use mesh_core::{
    api::node::Join,
    model::group::{GroupId, Label, MemberId, Org, PeerId},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Agent, Home, Purpose, Trouble, home::Desk, ledger::Joined, local::Local, registration::new_external_member,
};

/// The way to the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agency {
    asking: mpsc::Sender<Asked>,
    locals: watch::Receiver<Arc<Vec<Arc<Local>>>>,
}

#[derive(Debug)]
pub(super) enum Asked {
    /// How the group of a join is to be found.
    Reach(Home, oneshot::Sender<Result<Desk, Trouble>>),
    Default(oneshot::Sender<Home>),
    Join(Invitation, oneshot::Sender<Result<Undertaken, Trouble>>),
    Leave {
        org: Org,
        group: String,
        member: Option<MemberId>,
        reply: oneshot::Sender<Result<PeerId, Trouble>>,
    },
}

/// A join whose group was found.
#[derive(Clone, Debug)]
pub(super) struct Invitation {
    home: Home,
    org: Org,
    group: GroupId,
    group_label: String,
    member: Option<MemberId>,
    label: Option<Label>,
    netns: Option<PathBuf>,
}

/// A join that is written down.
#[derive(Debug)]
pub struct Undertaken {
    pub peer: PeerId,
    /// Says so if the registration is refused; ends without a word when it comes about.
    pub refused: oneshot::Receiver<Trouble>,
}

impl Agency {
    pub(super) fn new(asking: mpsc::Sender<Asked>, locals: watch::Receiver<Arc<Vec<Arc<Local>>>>) -> Agency {
        Agency { asking, locals }
    }

    pub fn locals(&self) -> watch::Receiver<Arc<Vec<Arc<Local>>>> {
        self.locals.clone()
    }

    /// Undertakes a join; to be registered and up takes longer. What was joined already is the same peer again.
    pub async fn join(&self, join: Join) -> Result<Undertaken, Trouble> {
        let home = match join.hub {
            Some(server) => Home::Hub(server),
            None => self.ask(Asked::Default).await?,
        };
        let desk = self.ask(|reply| Asked::Reach(home.clone(), reply)).await??;
        let (group, group_label) = desk.find_group(&join.org, &join.group).await?;
        let Join { org, member, label, netns, .. } = join;
        let invitation = Invitation { home, org, group, group_label, member, label, netns };
        self.ask(|reply| Asked::Join(invitation, reply)).await?
    }

    /// Ends a join. The tunnel goes at once; the peer is deleted as soon as the hub can be reached.
    pub async fn leave(&self, org: Org, group: String, member: Option<MemberId>) -> Result<PeerId, Trouble> {
        self.ask(|reply| Asked::Leave { org, group, member, reply }).await?
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Result<T, Trouble> {
        let ended = || Trouble::new("unavailable", "meshd is about to end", "try again");
        let (reply, answer) = oneshot::channel();
        self.asking.send(question(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

impl Agent {
    pub(super) fn answer(&mut self, asked: Asked) {
        // Whoever asked may have gone; what was undertaken for them stays.
        match asked {
            Asked::Default(reply) => drop(reply.send(self.home.clone())),
            Asked::Reach(home, reply) => drop(reply.send(self.desk(&home))),
            Asked::Join(invitation, reply) => drop(reply.send(self.join(invitation))),
            Asked::Leave { org, group, member, reply } => {
                drop(reply.send(self.leave(&org, &group, member.as_ref())));
            }
        }
    }

    /// Of a hub that need not be one of ours yet.
    fn desk(&self, home: &Home) -> Result<Desk, Trouble> {
        match (self.office(home), home) {
            (Some(office), _) => Ok(office.desk.clone()),
            (None, Home::Own) => Ok(Desk::Own(self.registrar.clone())),
            (None, Home::Hub(server)) => Ok(Desk::Hub(mesh_client::Client::new(server)?)),
        }
    }

    fn join(&mut self, invitation: Invitation) -> Result<Undertaken, Trouble> {
        if let Some(purpose) = self.joined_before(&invitation) {
            // The way that was named last is the one that is known to work.
            self.ledger.move_to(&invitation.home, |known, _| *known == purpose);
            self.ledger.save_rest().map_err(|error| unwritten(&error))?;
            return self.carry_out(&Purpose { home: invitation.home, ..purpose });
        }
        let purpose = Self::purpose(&invitation)?;
        let undertaken = self.undertake(&purpose, invitation).and_then(|()| self.carry_out(&purpose));
        if undertaken.is_err() {
            // Whoever asked is told that it did not come about, so it must not.
            self.undo(&purpose);
        }
        undertaken
    }

    /// Gives a join its peer.
    fn carry_out(&mut self, purpose: &Purpose) -> Result<Undertaken, Trouble> {
        // With an id at once, so that whoever asked can follow it.
        self.presence_of_joins();
        self.keep_book().map_err(|error| unwritten(&error))?;
        let Some(kept) = self.ledger.of(purpose) else { return Err(self.lack(purpose)) };
        let peer = kept.peer.clone();
        let (refuse, refused) = oneshot::channel();
        if kept.was_registered {
            drop(refuse);
        } else {
            self.waiting.entry(peer.clone()).or_default().push(refuse);
        }
        Ok(Undertaken { peer, refused })
    }

    /// Why a join has no peer.
    fn lack(&self, purpose: &Purpose) -> Trouble {
        if let Some((_, lack)) = self.lacking.iter().find(|(lacking, _)| lacking == purpose) {
            return Trouble::new("unavailable", lack.clone(), "see the log of meshd, and 'meshctl ng whoami'");
        }
        let netns = purpose.netns.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let message = format!("there is no network namespace {netns}");
        Trouble::new("not_found", message, "make it first, or leave --netns out")
    }

    /// Of a join that was undertaken just now: nothing of it is registered.
    fn undo(&mut self, purpose: &Purpose) {
        let peer = self.ledger.of(purpose).map(|kept| kept.peer.clone());
        if let Some(peer) = peer {
            self.forget_by_id(&peer);
        }
        if let Err(trouble) = self.retract(purpose) {
            tracing::error!("a join that failed is still on disk: {trouble}");
        }
    }

    fn presence_of_joins(&mut self) {
        let paths = self.paths();
        self.presence.look(&paths);
    }

    fn joined_before(&self, invitation: &Invitation) -> Option<Purpose> {
        let Invitation { home, org, group, member, netns, .. } = invitation;
        let is_it = |joined: &&Joined| {
            let purpose = &joined.purpose;
            let is_member = member.as_ref().map_or(joined.is_external, |member| *member == purpose.member);
            let is_place = (&purpose.org, &purpose.group, &purpose.netns) == (org, group, netns);
            is_place && is_member && purpose.home.is_same_store(home)
        };
        self.ledger.joins.iter().find(is_it).map(|joined| joined.purpose.clone())
    }

    fn purpose(invitation: &Invitation) -> Result<Purpose, Trouble> {
        let Invitation { home, org, group, member, netns, .. } = invitation.clone();
        let member = member.map_or_else(new_external_member, Ok).map_err(|error| unwritten(&error))?;
        Ok(Purpose { home, org, group, member, netns })
    }

    fn undertake(&mut self, purpose: &Purpose, invitation: Invitation) -> Result<(), Trouble> {
        let Invitation { group_label, member, label, .. } = invitation;
        let is_external = member.is_none();
        let label = label.or_else(|| is_external.then(|| self.node.as_str().parse().ok()).flatten());
        self.ledger.joins.push(Joined { purpose: purpose.clone(), group_label, is_external, label });
        self.ledger.save_joins().map_err(|error| unwritten(&error))
    }

    fn retract(&mut self, purpose: &Purpose) -> Result<(), Trouble> {
        self.ledger.joins.retain(|joined| joined.purpose != *purpose);
        self.ledger.save_joins().map_err(|error| unwritten(&error))
    }

    /// A join that is refused leaves nothing.
    pub(super) fn withdraw(&mut self, peer: &PeerId, trouble: &Trouble, waiting: Vec<oneshot::Sender<Trouble>>) {
        let purpose = self.ledger.peers.iter().find(|kept| kept.peer == *peer).map(|kept| kept.purpose.clone());
        if let Some(purpose) = purpose {
            self.attempts.remove(peer);
            self.keys.remove(peer);
            let undone = self.retract(&purpose).is_ok() && self.ledger.forget(peer).is_ok();
            if !undone {
                tracing::error!(%peer, "a join that was refused could not be forgotten: is the disk full?");
            }
        }
        for waiting in waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(trouble.clone());
        }
    }

    fn leave(&mut self, org: &Org, group: &str, member: Option<&MemberId>) -> Result<PeerId, Trouble> {
        let is_meant = |joined: &&Joined| {
            let is_group = joined.purpose.group.as_str() == group || joined.group_label == group;
            joined.purpose.org == *org && is_group && member.is_none_or(|member| *member == joined.purpose.member)
        };
        let mut meant = self.ledger.joins.iter().filter(is_meant).map(|joined| joined.purpose.clone());
        let Some(purpose) = meant.next() else {
            let message = format!("this node has not joined {group:?} of org {org}");
            return Err(Trouble::new("not_found", message, "'meshctl ng whoami' lists its peers"));
        };
        let others: Vec<String> = meant.map(|other| other.member.to_string()).collect();
        if !others.is_empty() {
            let message = format!("this node joined {group:?} as {} and as {}", purpose.member, others.join(", "));
            return Err(Trouble::new("ambiguous", message, "name one of them with --member"));
        }
        let peer = self.ledger.of(&purpose).map(|kept| kept.peer.clone());
        self.retract(&purpose)?;
        peer.ok_or_else(|| {
            Trouble::new("not_found", format!("{group:?} was joined and never up"), "it is forgotten now")
        })
    }
}

fn unwritten(error: &anyhow::Error) -> Trouble {
    Trouble::new("internal", format!("{error:#}"), "see the log of meshd; is the disk full?")
}
