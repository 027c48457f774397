//! Which conditions hold of a connection, since when, and what they were before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::api::{Change, Condition, ConditionStatus};

/// So many changes are kept.
const CHANGES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// There is a session.
    Handshake,
    /// The gateways reach each other.
    TunnelProbe,
    /// Both gateways forward what comes and goes by the tunnel.
    DataPath,
    /// Packets as long as the tunnel's MTU arrive, and both ends mean the same MTU.
    Mtu,
}

/// What is true of one condition now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub status: ConditionStatus,
    /// One word in CamelCase.
    pub reason: &'static str,
    /// What it means here, and the next step where there is one.
    pub message: String,
}

/// What holds, and the last changes.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    held: BTreeMap<ConditionKind, Held>,
    changes: Arc<VecDeque<Change>>,
}

#[derive(Clone, Debug)]
struct Held {
    statement: Statement,
    since: SystemTime,
}

impl Chronicle {
    /// From now on this holds. Another status or another reason is a change; other words for the same are not.
    pub fn hold(&mut self, kind: ConditionKind, statement: Statement, now: SystemTime) {
        let before = self.held.get(&kind);
        let from = before.map_or(ConditionStatus::Unknown, |held| held.statement.status);
        let is_new = before.is_none_or(|held| held.statement.reason != statement.reason);
        // That nothing is known yet is no news.
        let is_beginning = before.is_none() && statement.status == ConditionStatus::Unknown;
        let since = before.filter(|_| from == statement.status).map_or(now, |held| held.since);
        if (is_new || from != statement.status) && !is_beginning {
            self.note(kind, from, &statement, now);
        }
        self.held.insert(kind, Held { statement, since });
    }

    /// Something happened that left a condition as it is.
    pub fn mention(&mut self, kind: ConditionKind, reason: &'static str, message: String, now: SystemTime) {
        let status = self.held(kind).map_or(ConditionStatus::Unknown, |statement| statement.status);
        self.note(kind, status, &Statement { status, reason, message }, now);
    }

    pub fn held(&self, kind: ConditionKind) -> Option<&Statement> {
        self.held.get(&kind).map(|held| &held.statement)
    }

    /// Their `observed_generation` is 0: what object they are about is not known here.
    pub fn conditions(&self) -> Vec<Condition> {
        let condition = |(kind, held): (&ConditionKind, &Held)| Condition {
            kind: kind.word().to_owned(),
            status: held.statement.status,
            observed_generation: 0,
            last_transition_time: rfc3339(held.since),
            reason: held.statement.reason.to_owned(),
            message: held.statement.message.clone(),
        };
        self.held.iter().map(condition).collect()
    }

    /// Oldest first.
    pub fn changes(&self) -> Arc<VecDeque<Change>> {
        Arc::clone(&self.changes)
    }

    fn note(&mut self, kind: ConditionKind, from: ConditionStatus, statement: &Statement, now: SystemTime) {
        let changes = Arc::make_mut(&mut self.changes);
        if changes.len() == CHANGES {
            changes.pop_front();
        }
        changes.push_back(Change {
            time: rfc3339(now),
            condition: kind.word().to_owned(),
            from,
            to: statement.status,
            reason: statement.reason.to_owned(),
            message: statement.message.clone(),
        });
    }
}

impl ConditionKind {
    pub fn word(self) -> &'static str {
        match self {
            ConditionKind::Handshake => "Handshake",
            ConditionKind::TunnelProbe => "TunnelProbe",
            ConditionKind::DataPath => "DataPath",
            ConditionKind::Mtu => "MTU",
        }
    }
}

impl Statement {
    pub(super) fn yes(reason: &'static str, message: String) -> Statement {
        Statement { status: ConditionStatus::True, reason, message }
    }

    pub(super) fn no(reason: &'static str, message: String) -> Statement {
        Statement { status: ConditionStatus::False, reason, message }
    }

    pub(super) fn unknown(reason: &'static str, message: impl Into<String>) -> Statement {
        Statement { status: ConditionStatus::Unknown, reason, message: message.into() }
    }
}

/// Whole seconds, UTC; the epoch for a clock that stands before it.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    timestamp.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn shown(chronicle: &Chronicle) -> Vec<String> {
        let line =
            |change: &Change| format!("{} {:?}->{:?} {}", change.condition, change.from, change.to, change.reason);
        chronicle.changes().iter().map(line).collect()
    }

    #[test]
    fn a_status_keeps_its_time_and_a_reason_is_a_change() {
        let mut chronicle = Chronicle::default();
        let kind = ConditionKind::DataPath;
        chronicle.hold(kind, Statement::unknown("Probing", "no reply yet"), at(0));
        chronicle.hold(kind, Statement::yes("Forwarded", "good".to_owned()), at(10));
        chronicle.hold(kind, Statement::yes("Forwarded", "in other words".to_owned()), at(20));
        chronicle.hold(kind, Statement::yes("Else", "good".to_owned()), at(30));
        let condition = &chronicle.conditions()[0];
        assert_eq!((condition.kind.as_str(), condition.status), ("DataPath", ConditionStatus::True));
        assert_eq!(condition.last_transition_time, "2027-01-15T08:00:10Z");
        chronicle.hold(kind, Statement::no("NotForwarded", "bad".to_owned()), at(40));
        assert_eq!(chronicle.conditions()[0].last_transition_time, "2027-01-15T08:00:40Z");
        chronicle.mention(kind, "Happened", "once".to_owned(), at(50));
        let expected = [
            "DataPath Unknown->True Forwarded",
            "DataPath True->True Else",
            "DataPath True->False NotForwarded",
            "DataPath False->False Happened",
        ];
        assert_eq!(shown(&chronicle), expected);
    }

    #[test]
    fn old_changes_make_room() {
        let mut chronicle = Chronicle::default();
        for second in 0..100 {
            let reason = if second % 2 == 0 { "Even" } else { "Odd" };
            chronicle.hold(ConditionKind::Mtu, Statement::no(reason, String::new()), at(second));
        }
        let changes = chronicle.changes();
        assert_eq!(changes.len(), CHANGES);
        assert_eq!(changes.back().unwrap().time, "2027-01-15T08:01:39Z");
    }
}
