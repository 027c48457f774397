//! What the loop tells of itself: to the log once, and to everybody else as a snapshot.

use std::{sync::Arc, time::Instant};

use super::Control;
use crate::api::Snapshot;

impl Control {
    pub(super) fn refuse(&mut self, reason: &str) {
        let refused = lines(reason);
        for line in refused.iter().filter(|line| !self.refused.contains(line)) {
            tracing::error!("refused, what runs goes on: {line}");
        }
        self.refused = refused;
    }

    pub(super) fn set_trouble(&mut self, trouble: Vec<String>) {
        for line in trouble.iter().filter(|line| !self.trouble.contains(line)) {
            tracing::warn!("will be tried again: {line}");
        }
        self.started |= trouble.is_empty();
        self.trouble = trouble;
    }

    pub(super) fn publish(&self) {
        let snapshot = Snapshot {
            at: Instant::now(),
            started: self.started,
            plan: Arc::clone(&self.plan),
            tables: self.world.tables(),
            listen_ports: self.world.listen_ports(),
            gateway_keys: self.world.public_keys(),
            hooks: self.world.hooks(),
            problems: self.problems(),
            live_groups: self.world.live_groups(),
            objects: Arc::clone(&self.known),
            intent: self.intent.clone(),
            allocations: Arc::clone(&self.allocations),
            notices: self.intent.as_ref().map(|intent| intent.notices.clone()).unwrap_or_default(),
        };
        self.published.snapshots.send_replace(Arc::new(snapshot));
    }

    fn problems(&self) -> Vec<String> {
        let all = [&self.refused, &self.trouble, &self.undeclared, &self.group_trouble, &self.unclosed];
        all.into_iter().flatten().cloned().chain(self.world.driver_troubles()).collect()
    }
}

pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
