//! Does this node live, as far as the stores know in which its peers are?
//!
//! Each store ends the peers of a node that it has not heard for the time of a lease. So a node that comes back late finds
//! its peers gone; [`Fate`] tells that apart from peers that somebody removed.

use std::time::{Duration, Instant};

use mesh_core::registry::Revision;

use super::{Agent, Home, Kept, Office, Trouble, home::Term};

/// Of attempts to reach whoever has the lease.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a lease is kept alive while it lasts once.
const PER_LEASE: u32 = 3;

/// The node's lease in one store.
#[derive(Debug)]
pub(super) struct Lease {
    /// As of the last time that it was kept alive.
    term: Option<Term>,
    /// There is none to be had.
    is_refused: bool,
    is_under_way: bool,
    due: Instant,
    trouble: String,
}

/// How keeping a lease alive ended.
#[derive(Debug)]
pub(super) struct Renewal {
    home: Home,
    result: Result<Term, Trouble>,
}

/// Why a peer is not where it was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// With a lease of the node that ended.
    Ended,
    /// By somebody, while the node lived.
    Removed,
    /// The store has not said yet whether the lease is the same.
    Unknown,
}

impl Lease {
    pub(super) fn new() -> Lease {
        Lease { term: None, is_refused: false, is_under_way: false, due: Instant::now(), trouble: String::new() }
    }

    fn is_due(&self) -> bool {
        !self.is_under_way && self.due <= Instant::now()
    }

    /// The lease that what is seen in `revision` is registered under.
    pub(super) fn at(&self, revision: Revision) -> Option<u64> {
        self.term.as_ref().filter(|term| term.since <= revision).map(|term| term.lease)
    }

    /// Of a peer that was seen under the lease `known` and was first seen to be absent in `absent`.
    fn fate(&self, known: Option<u64>, absent: Revision) -> Fate {
        match &self.term {
            _ if self.is_refused => Fate::Removed,
            Some(term) if Some(term.lease) != known => Fate::Ended,
            Some(term) if term.revision >= absent => Fate::Removed,
            Some(_) | None => Fate::Unknown,
        }
    }

    fn hear(&mut self, home: &Home, result: Result<Term, Trouble>) {
        self.is_under_way = false;
        self.due = Instant::now() + PAUSE;
        match result {
            Ok(term) => {
                self.due = Instant::now() + Duration::from_secs(term.seconds.into()) / PER_LEASE;
                self.is_refused = false;
                self.trouble.clear();
                self.term = Some(term);
            }
            Err(trouble) => {
                self.is_refused = trouble.is_final;
                let trouble = trouble.to_string();
                if trouble != self.trouble {
                    tracing::warn!(hub = home.shown(), "peers of this node may be taken for dead: {trouble}");
                }
                self.trouble = trouble;
            }
        }
    }
}

impl Agent {
    pub(super) fn is_renewal_due(&self) -> bool {
        self.offices.iter().any(|office| office.lease.is_due() && self.has_leased(&office.home))
    }

    /// Keeps the leases alive that local peers live by.
    pub(super) fn renew(&mut self) {
        let due = |office: &&Office| office.lease.is_due() && self.has_leased(&office.home);
        let homes: Vec<Home> = self.offices.iter().filter(due).map(|office| office.home.clone()).collect();
        for office in self.offices.iter_mut().filter(|office| homes.contains(&office.home)) {
            office.lease.is_under_way = true;
            let (desk, home, node) = (office.desk.clone(), office.home.clone(), self.node.clone());
            let renewals = self.renewals.0.clone();
            tokio::spawn(async move {
                let result = desk.keep_alive(&node).await;
                // Without a receiver the agent has ended.
                let _ = renewals.send(Renewal { home, result }).await;
            });
        }
    }

    pub(super) fn hear_renewal(&mut self, renewal: Renewal) {
        let Renewal { home, result } = renewal;
        if let Some(office) = self.offices.iter_mut().find(|office| office.home == home) {
            office.lease.hear(&home, result);
        }
    }

    /// Of a peer that was registered and is absent in `revision`. What is not known is asked for at once.
    pub(super) fn fate(&mut self, kept: &Kept, revision: Revision) -> Fate {
        if kept.is_external {
            return Fate::Removed;
        }
        let absent = *self.absent.entry(kept.peer.clone()).or_insert(revision);
        let Some(office) = self.offices.iter_mut().find(|office| office.home == kept.purpose.home) else {
            return Fate::Unknown;
        };
        let fate = office.lease.fate(kept.lease, absent);
        if fate == Fate::Unknown && office.lease.trouble.is_empty() {
            office.lease.due = Instant::now();
        }
        fate
    }

    /// Other WireGuards have none.
    fn has_leased(&self, home: &Home) -> bool {
        self.ledger.peers.iter().any(|kept| !kept.is_external && kept.purpose.home == *home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_alive(lease: u64, since: u64, revision: u64) -> Lease {
        let mut kept = Lease::new();
        let term = Term { lease, seconds: 60, since: Revision(since), revision: Revision(revision) };
        kept.hear(&Home::Own, Ok(term));
        kept
    }

    #[test]
    fn a_peer_that_is_absent_ended_with_its_lease_or_was_removed() {
        assert_eq!(Lease::new().fate(Some(7), Revision(20)), Fate::Unknown);
        let lease = kept_alive(7, 10, 15);
        assert_eq!(lease.fate(Some(7), Revision(20)), Fate::Unknown, "it may have ended between 15 and 20");
        assert_eq!(lease.fate(Some(7), Revision(15)), Fate::Removed);
        assert_eq!(lease.fate(Some(6), Revision(20)), Fate::Ended);
        assert_eq!(lease.fate(None, Revision(20)), Fate::Ended);
    }

    #[test]
    fn what_was_seen_before_a_lease_is_not_registered_under_it() {
        let lease = kept_alive(7, 10, 15);
        assert_eq!(lease.at(Revision(9)), None);
        assert_eq!(lease.at(Revision(10)), Some(7));
    }

    #[test]
    fn where_there_are_no_leases_nothing_ends_with_one() {
        let mut lease = kept_alive(7, 10, 15);
        lease.hear(&Home::Own, Err(Trouble::new("not_found", "there is no such path", "")));
        assert_eq!(lease.fate(Some(6), Revision(20)), Fate::Removed);
        assert!(!lease.is_due(), "it is asked again after a pause");
    }
}
