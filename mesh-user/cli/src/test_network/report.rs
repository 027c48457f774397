//! What a test found: a line for each check while it runs, and all of it at the end for programs.

use std::io::Write as _;

use mesh_core::api::trial::RoundTrips;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    output::Form,
    table::latency,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    Failed,
    /// It could not be tried, or says nothing after another one failed.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) check: &'static str,
    /// As the sender calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    pub(super) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answered: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<RoundTrips>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bits_per_second: Option<u64>,
    /// Bytes of the longest packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) largest: Option<u16>,
    /// Of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// What to look at or to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

#[derive(Debug)]
pub(super) struct Report {
    is_text: bool,
    is_verbose: bool,
    cluster: String,
    facts: Vec<String>,
    findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn new(from: &str, to: &str, check: &'static str, outcome: Outcome) -> Finding {
        Finding {
            from: from.to_owned(),
            to: to.to_owned(),
            check,
            target: None,
            outcome,
            attempts: None,
            answered: None,
            latency: None,
            bits_per_second: None,
            largest: None,
            mtu: None,
            reason: None,
            next: None,
        }
    }

    fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Ok => "OK",
            Outcome::Failed => "FAIL",
            Outcome::Skipped => "SKIP",
        };
        let mut line = format!(" {outcome:4}  {} -> {}  {:22}", self.from, self.to, self.check);
        let attempts = self.attempts.zip(self.answered).map(|(attempts, answered)| format!("{answered}/{attempts}"));
        let trips = self.latency.map(|RoundTrips { min, avg, max }| {
            format!("min {}, avg {}, max {}", latency(min), latency(avg), latency(max))
        });
        let rate = self.bits_per_second.map(|bits| format!("{} Mbit/s", bits / 1_000_000));
        let mtu = self.largest.map(|largest| match self.mtu {
            Some(mtu) => format!("{largest} of {mtu} bytes"),
            None => format!("{largest} bytes"),
        });
        for part in [self.target.clone(), attempts, trips, rate, mtu].into_iter().flatten() {
            line += &format!("  {part}");
        }
        for (name, text) in [("reason", &self.reason), ("next", &self.next)] {
            if let Some(text) = text {
                line += &format!("\n         {name}: {text}");
            }
        }
        line
    }
}

impl Report {
    pub(super) fn new(form: Form, is_verbose: bool, cluster: &str) -> Report {
        let (facts, findings) = (Vec::new(), Vec::new());
        Report { is_text: form == Form::Text, is_verbose, cluster: cluster.to_owned(), facts, findings }
    }

    /// What is known before anything is tried.
    pub(super) fn fact(&mut self, text: String) {
        self.say(&format!(" INFO  {text}"));
        self.facts.push(text);
    }

    pub(super) fn detail(&self, text: &str) {
        if self.is_verbose {
            self.say(&format!(" DEBG  {text}"));
        }
    }

    pub(super) fn found(&mut self, finding: Finding) {
        self.say(&finding.line());
        self.findings.push(finding);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.count(Outcome::Failed) > 0
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "schema": mesh_core::api::group::SCHEMA,
            "cluster": self.cluster,
            "info": self.facts,
            "checks": self.findings,
            "ok": self.count(Outcome::Ok),
            "failed": self.count(Outcome::Failed),
            "skipped": self.count(Outcome::Skipped),
        })
    }

    /// The last line, or the whole for programs; a failure where a check failed.
    pub(super) fn end(&self, form: Form) -> Result<String, Failure> {
        let [ok, failed, skipped] = [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        if failed > 0 {
            let message = format!("{failed} of {} checks failed", ok + failed);
            let failure = Failure::new(Exit::Unhealthy, message, "each says its reason and what to look at next");
            return Err(failure.with_report(self.value()));
        }
        form.print(&self.value(), |_| format!("{ok} checks are fine, {skipped} were skipped\n"))
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }

    fn say(&self, line: &str) {
        if self.is_text {
            // A reader that went away does not stop what was begun.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome) -> Finding {
        Finding {
            target: Some("10.71.255.254".to_owned()),
            attempts: Some(10),
            answered: Some(9),
            latency: RoundTrips::of(&[300, 500, 1_000]),
            ..Finding::new("cl01", "cl02", "pod to pod", outcome)
        }
    }

    #[test]
    fn a_line_tells_how_it_went() {
        let expected =
            " OK    cl01 -> cl02  pod to pod              10.71.255.254  9/10  min 300 us, avg 600 us, max 1.0 ms";
        assert_eq!(finding(Outcome::Ok).line(), expected);
        let failed =
            Finding { reason: Some("why".to_owned()), next: Some("what".to_owned()), ..finding(Outcome::Failed) };
        assert!(failed.line().ends_with("\n         reason: why\n         next: what"), "{}", failed.line());
    }

    #[test]
    fn a_failed_check_is_exit_code_8_with_the_whole_report() {
        let mut report = Report::new(Form::Json, false, "cl01");
        report.found(finding(Outcome::Ok));
        assert!(report.end(Form::Json).unwrap().contains("\"failed\": 0"));
        report.found(finding(Outcome::Failed));
        let failure = report.end(Form::Json).unwrap_err();
        assert_eq!(failure.exit, Exit::Unhealthy);
        let shown: Value = serde_json::from_str(&failure.render(Form::Json)).unwrap();
        assert_eq!(shown["checks"].as_array().unwrap().len(), 2);
        assert_eq!(shown["error"]["message"], "1 of 2 checks failed");
        assert_eq!(shown["checks"][0]["latency"]["avg"], 600);
    }
}
