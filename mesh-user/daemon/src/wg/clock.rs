//! When on the calendar was an instant?

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system clock is set rarely; a smaller difference is only the time between two readings.
const NOISE: Duration = Duration::from_millis(100);

/// Tells the same time for the same instant until the system clock is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

impl Clock {
    pub(super) fn new() -> Clock {
        // Before 1970: a machine without a clock; all is "never" there, and nothing worse.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { instant: Instant::now(), since_epoch }
    }

    /// Follows a system clock that was set.
    pub(super) fn refresh(&mut self) {
        let now = Clock::new();
        if self.at(now.instant).abs_diff(now.since_epoch) > NOISE {
            *self = now;
        }
    }

    pub(super) fn at(&self, instant: Instant) -> Duration {
        match instant.checked_duration_since(self.instant) {
            Some(later) => self.since_epoch + later,
            None => self.since_epoch.saturating_sub(self.instant - instant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_keeps_its_time_and_a_set_clock_is_followed() {
        let mut clock = Clock::new();
        let at = clock.instant;
        let told = clock.at(at);
        clock.refresh();
        assert_eq!(clock.at(at), told);
        assert_eq!(clock.at(at + NOISE), told + NOISE);
        assert_eq!(clock.at(at - NOISE), told - NOISE);
        clock.since_epoch -= Duration::from_secs(3_600);
        clock.refresh();
        assert!(clock.at(at).abs_diff(told) < NOISE);
    }
}
