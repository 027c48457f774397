//! What does a bench print, write and hold?
//!
//! A row per figure. A figure is judged by its ratio to the first rival, or alone where it has none, against the line of
//! `bench/budgets.toml` that bears its name.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    budgets::{self, Bound, Budgets},
    machine::Machine,
};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    machine: Machine,
    rows: Vec<Row>,
    #[serde(skip)]
    budgets: Budgets,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    rivals: Vec<Rival>,
    /// Ours divided by the first rival's.
    ratio: Option<f64>,
    hold: Option<Bound>,
    goal: Option<Bound>,
    /// Whether it holds; nothing where nothing is asked.
    ok: Option<bool>,
}

/// The same, done by something else in the same run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rival {
    name: String,
    figure: f64,
}

impl Rival {
    pub(crate) fn new(name: impl Into<String>, figure: f64) -> Self {
        Self { name: name.into(), figure }
    }
}

impl Report {
    pub(crate) fn begin(bench: &'static str) -> Result<Self> {
        let report = Self { bench, machine: Machine::this(), rows: Vec::new(), budgets: budgets::read(bench)? };
        println!("bench {bench}\n{}\n", report.machine);
        Ok(report)
    }

    /// A figure that has no rival.
    pub(crate) fn figure(&mut self, name: impl Into<String>, unit: &'static str, ours: f64) {
        self.versus(name, unit, ours, Vec::new());
    }

    /// A figure beside those of its rivals, the first of which it is judged against.
    pub(crate) fn versus(&mut self, name: impl Into<String>, unit: &'static str, ours: f64, rivals: Vec<Rival>) {
        let name = name.into();
        let ratio = rivals.first().map(|rival| ours / rival.figure);
        let budget = self.budgets.get(&name);
        let row = Row {
            unit,
            ours,
            rivals,
            ratio,
            hold: budget.map(|budget| budget.hold),
            goal: budget.and_then(|budget| budget.goal),
            ok: budget.map(|budget| budget.hold.holds(ratio.unwrap_or(ours))),
            name,
        };
        self.rows.push(row);
    }

    /// Prints the table and writes the file. With `check`, a figure that misses its budget fails, and so does a budget that
    /// no figure answered.
    pub(crate) fn finish(self, check: bool, json: Option<&Path>) -> Result<ExitCode> {
        print!("{}", self.table());
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&self).context("a report as JSON")?;
            fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        }
        let missed = self.missed();
        for miss in &missed {
            println!("missed: {miss}");
        }
        Ok(if check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Names of the figures that miss their budget.
    pub(crate) fn exceeded(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.ok == Some(false)).map(|row| row.name.clone()).collect()
    }

    fn missed(&self) -> Vec<String> {
        let mut missed = self.exceeded();
        let answered = |name: &str| self.rows.iter().any(|row| row.name == name);
        missed.extend(self.budgets.keys().filter(|name| !answered(name)).map(|name| format!("{name}: not measured")));
        missed
    }

    fn table(&self) -> String {
        let head = ["figure", "unit", "ours", "rivals", "ratio", "hold", "goal", "ok"].map(str::to_owned);
        let cells: Vec<_> = [head].into_iter().chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 8] = std::array::from_fn(width);
        let mut table = String::new();
        for row in cells {
            let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            table.push_str(padded.join("  ").trim_end());
            table.push('\n');
        }
        table
    }
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let bound = |bound: Option<Bound>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        let rivals: Vec<_> =
            self.rivals.iter().map(|rival| format!("{} {}", rival.name, short(rival.figure))).collect();
        let ok = match self.ok {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        [
            self.name.clone(),
            self.unit.into(),
            short(self.ours),
            rivals.join(", "),
            self.ratio.map(short).unwrap_or_default(),
            bound(self.hold),
            bound(self.goal),
            ok.into(),
        ]
    }
}

/// Three digits that matter; whole numbers whole.
fn short(figure: f64) -> String {
    if figure.fract() == 0.0 || figure.abs() >= 100.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Budget;

    fn report() -> Report {
        let bound = |bound: Bound| Budget { hold: bound, goal: None };
        let budgets = [("time", Bound::AtMost(2.2)), ("speed", Bound::AtLeast(1.2)), ("never", Bound::AtMost(1.0))];
        let budgets = budgets.into_iter().map(|(name, hold)| (name.to_owned(), bound(hold))).collect();
        Report { bench: "test", machine: Machine::this(), rows: Vec::new(), budgets }
    }

    #[test]
    fn a_figure_with_rivals_is_judged_by_its_ratio_to_the_first() {
        let mut report = report();
        report.versus("time", "ns", 50.0, vec![Rival::new("empty", 25.0), Rival::new("other", 1.0)]);
        assert_eq!((report.rows[0].ratio, report.rows[0].ok), (Some(2.0), Some(true)));
    }

    #[test]
    fn what_misses_and_what_was_not_measured_is_named() {
        let mut report = report();
        report.figure("speed", "Gbit/s", 1.1);
        report.figure("free", "B", 7.0);
        assert_eq!(report.missed(), ["speed", "never: not measured", "time: not measured"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut report = report();
        report.versus("time", "ns", 26.04, vec![Rival::new("empty", 21.0)]);
        let expected = "\
figure  unit  ours  rivals    ratio  hold    goal  ok
time    ns    26.0  empty 21  1.24   <= 2.2        yes
";
        assert_eq!(report.table(), expected);
    }
}
