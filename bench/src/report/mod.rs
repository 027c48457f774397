//! What does a bench print, write and hold?
//!
//! A row per figure. A figure is judged by its ratio to the first rival, or alone where it has none, against the line of
//! `bench/budgets.toml` that bears its name. What several programs did in turn is a comparison: a line of its own for all,
//! and a row for each rival that a budget speaks of.

mod comparison;
mod plot;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    budgets::{self, Bound, Budget, Budgets},
    machine::Machine,
};
use comparison::Comparison;
pub(crate) use comparison::Sampled;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    machine: Machine,
    comparisons: Vec<Comparison>,
    rows: Vec<Row>,
    #[serde(skip)]
    budgets: Budgets,
    /// Whether a budget that no figure answered is missed.
    #[serde(skip)]
    whole: bool,
}

/// Where the report goes, besides the terminal.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
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
        let budgets = budgets::read(bench)?;
        let report =
            Self { bench, machine: Machine::this(), comparisons: Vec::new(), rows: Vec::new(), budgets, whole: true };
        println!("bench {bench}\n{}\n", report.machine);
        Ok(report)
    }

    /// Only a part is measured: budgets of the rest are not asked for.
    pub(crate) fn is_partial(&mut self) {
        self.whole = false;
    }

    /// This machine cannot answer a budget, and the bench has said so.
    pub(crate) fn excuse(&mut self, name: &str) {
        self.budgets.remove(name);
    }

    /// What several programs did in turn, ours first. The budget of a rival is that of the name, a comma and the rival's name.
    pub(crate) fn compare(&mut self, name: impl Into<String>, unit: &'static str, programs: Vec<Sampled>) {
        let comparison = Comparison::new(name.into(), unit, programs);
        for (ours, rival, ratio) in comparison.against() {
            let name = format!("{}, {}", comparison.name, rival.name);
            if let Some(&budget) = self.budgets.get(&name) {
                let rivals = vec![Rival::new(&rival.name, rival.spread.median)];
                self.rows.push(Row::judged(name, unit, ours.spread.median, rivals, Some(ratio.median), Some(budget)));
            }
        }
        self.comparisons.push(comparison);
    }

    /// A figure that has no rival.
    pub(crate) fn figure(&mut self, name: impl Into<String>, unit: &'static str, ours: f64) {
        self.versus(name, unit, ours, Vec::new());
    }

    /// A figure beside those of its rivals, the first of which it is judged against.
    pub(crate) fn versus(&mut self, name: impl Into<String>, unit: &'static str, ours: f64, rivals: Vec<Rival>) {
        let name = name.into();
        let ratio = rivals.first().map(|rival| ours / rival.figure);
        let budget = self.budgets.get(&name).copied();
        self.rows.push(Row::judged(name, unit, ours, rivals, ratio, budget));
    }

    /// Prints the table and writes the files. With `check`, a figure that misses its budget fails, and so does a budget that
    /// no figure answered.
    pub(crate) fn finish(self, check: bool, files: &Files) -> Result<ExitCode> {
        if !self.comparisons.is_empty() {
            println!("median (minimum-maximum), x the median of the rounds' ratios of the first program's to it\n");
            for table in comparison::tables(&self.comparisons) {
                println!("{}", columns(&table));
            }
        }
        print!("{}", self.table());
        if let Some(path) = &files.json {
            let text = serde_json::to_string_pretty(&self).context("a report as JSON")?;
            write(path, &(text + "\n"))?;
        }
        if let Some(path) = &files.svg {
            let heading = format!("bench {}: {}", self.bench, self.machine.name());
            write(path, &plot::svg(&heading, &self.comparisons))?;
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
        if !self.whole {
            return missed;
        }
        let answered = |name: &str| self.rows.iter().any(|row| row.name == name);
        missed.extend(self.budgets.keys().filter(|name| !answered(name)).map(|name| format!("{name}: not measured")));
        missed
    }

    fn table(&self) -> String {
        let head = ["figure", "unit", "ours", "rivals", "ratio", "hold", "goal", "ok"].map(str::to_owned).to_vec();
        columns(&[head].into_iter().chain(self.rows.iter().map(Row::cells)).collect::<Vec<_>>())
    }
}

/// Lines whose cells stand below each other.
fn columns(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let mut table = String::new();
    for line in lines {
        let padded =
            line.iter().enumerate().map(|(at, cell)| format!("{cell:<width$}", width = width(at).unwrap_or(0)));
        table.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

impl Row {
    fn judged(
        name: String,
        unit: &'static str,
        ours: f64,
        rivals: Vec<Rival>,
        ratio: Option<f64>,
        budget: Option<Budget>,
    ) -> Row {
        let ok = budget.map(|budget| budget.hold.holds(ratio.unwrap_or(ours)));
        let (hold, goal) = (budget.map(|budget| budget.hold), budget.and_then(|budget| budget.goal));
        Row { name, unit, ours, rivals, ratio, hold, goal, ok }
    }

    fn cells(&self) -> Vec<String> {
        let bound = |bound: Option<Bound>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        let rivals: Vec<_> =
            self.rivals.iter().map(|rival| format!("{} {}", rival.name, short(rival.figure))).collect();
        let ok = match self.ok {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        vec![
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

    fn report() -> Report {
        let bound = |bound: Bound| Budget { hold: bound, goal: None };
        let budgets = [("time", Bound::AtMost(2.2)), ("speed", Bound::AtLeast(1.2)), ("never", Bound::AtMost(1.0))];
        let budgets = budgets.into_iter().map(|(name, hold)| (name.to_owned(), bound(hold))).collect();
        Report {
            bench: "test",
            machine: Machine::this(),
            comparisons: Vec::new(),
            rows: Vec::new(),
            budgets,
            whole: true,
        }
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
    fn a_rival_that_a_budget_speaks_of_is_judged_by_the_ratio_of_the_rounds() {
        let mut report = report();
        report.budgets.insert("rate, b".into(), Budget { hold: Bound::AtLeast(2.0), goal: None });
        let programs = [("ours", 4.0), ("a", 4.0), ("b", 1.0)];
        report.compare("rate", "1/s", programs.map(|(name, rate)| Sampled::new(name, vec![rate; 5])).to_vec());
        let row = &report.rows[0];
        assert_eq!((report.rows.len(), row.name.as_str(), row.ratio, row.ok), (1, "rate, b", Some(4.0), Some(true)));
    }

    #[test]
    fn a_part_answers_for_itself_alone() {
        let mut report = report();
        report.is_partial();
        report.figure("speed", "Gbit/s", 1.1);
        assert_eq!(report.missed(), ["speed"]);
    }

    #[test]
    fn an_excused_budget_is_not_missed_and_the_others_are() {
        let mut report = report();
        report.budgets.insert("scaling".into(), Budget { hold: Bound::AtLeast(0.8), goal: None });
        report.excuse("scaling");
        assert!(report.missed().iter().all(|miss| !miss.contains("scaling")));
        assert!(report.missed().iter().any(|miss| miss.contains("speed")));
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
