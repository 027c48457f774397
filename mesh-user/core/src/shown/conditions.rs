//! Since when is something true of an object?

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::time;
use crate::{
    api::{Condition, ConditionStatus},
    model::{ClusterObject, ObjectId},
};

/// A condition of which nobody asked yet since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: &'static str,
    pub(super) status: ConditionStatus,
    /// One word in CamelCase.
    pub(super) reason: String,
    pub(super) message: String,
}

/// When each condition was first seen as it is. In memory only: after a restart all begin anew.
#[derive(Clone, Debug, Default)]
pub struct Transitions {
    since: BTreeMap<(ObjectId, String), (ConditionStatus, u64)>,
}

impl Transitions {
    /// What `seen` says has its time already.
    pub(super) fn dated(
        &mut self,
        object: &ClusterObject,
        statements: Vec<Statement>,
        seen: Vec<Condition>,
        now: u64,
    ) -> Value {
        let generation = |condition| Condition { observed_generation: object.generation, ..condition };
        let conditions = statements.into_iter().map(|Statement { kind, status, reason, message }| {
            let place = (object.id.clone(), kind.to_owned());
            let known = self.since.entry(place).or_insert((status, now));
            if known.0 != status {
                *known = (status, now);
            }
            Condition {
                kind: kind.to_owned(),
                status,
                observed_generation: object.generation,
                last_transition_time: time(known.1),
                reason,
                message,
            }
        });
        json!(conditions.chain(seen.into_iter().map(generation)).collect::<Vec<_>>())
    }

    /// Forgets what is no longer there.
    pub(super) fn keep(&mut self, is_there: impl Fn(&ObjectId) -> bool) {
        self.since.retain(|(id, _), _| is_there(id));
    }
}

pub(super) fn holds(kind: &'static str, reason: &str, message: impl Into<String>) -> Statement {
    Statement { kind, status: ConditionStatus::True, reason: reason.to_owned(), message: message.into() }
}

pub(super) fn waiting(kind: &'static str, reason: &str, message: impl Into<String>) -> Statement {
    Statement { kind, status: ConditionStatus::False, reason: reason.to_owned(), message: message.into() }
}
