//! How are numbers written for Prometheus? Its text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// Of the whole text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// Metrics of one name. Their lines stand together, so a family is written before the next one begins.
#[derive(Debug)]
pub struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Exposition {
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.0.extend(["# HELP ", name, " ", &help, "\n# TYPE ", name, " ", kind, "\n"]);
        Family { name, text: &mut self.0 }
    }
}

impl Family<'_> {
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Of a histogram: how many were no greater than each bound, how many there were, and their sum.
    pub fn classes(
        &mut self,
        labels: &[(&str, &str)],
        cumulative: impl IntoIterator<Item = (u64, u64)>,
        count: u64,
        sum: u64,
    ) {
        for (bound, up_to) in cumulative {
            self.line("_bucket", labels, Some(&bound.to_string()), up_to);
        }
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        self.text.extend([self.name, suffix]);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let all: Vec<String> = all.map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        if !all.is_empty() {
            self.text.extend(["{", &all.join(","), "}"]);
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
