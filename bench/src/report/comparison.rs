//! The same thing done by several programs in turn: what did each reach, and what is ours beside each of them?

use serde::Serialize;

use super::short;
use crate::statistics;

/// One thing that was measured of each program, as often as there were rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Ours first.
    pub(crate) programs: Vec<Sampled>,
    /// Ours to each of the others, in their order.
    ratios: Vec<Spread>,
}

/// What one program reached, one sample a round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sampled {
    pub(crate) name: String,
    samples: Vec<f64>,
    pub(crate) spread: Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) minimum: f64,
    pub(crate) median: f64,
    pub(crate) maximum: f64,
}

impl Spread {
    fn of(samples: &[f64]) -> Self {
        let [minimum, median, maximum] =
            [statistics::minimum, statistics::median, statistics::maximum].map(|take| take(samples));
        Self { minimum, median, maximum }
    }

    fn cell(self) -> String {
        format!("{} ({}-{})", short(self.median), short(self.minimum), short(self.maximum))
    }
}

impl Sampled {
    pub(crate) fn new(name: impl Into<String>, samples: Vec<f64>) -> Self {
        Self { name: name.into(), spread: Spread::of(&samples), samples }
    }
}

impl Comparison {
    pub(super) fn new(name: String, unit: &'static str, programs: Vec<Sampled>) -> Self {
        let ratios = match programs.split_first() {
            Some((ours, rivals)) => rivals.iter().map(|rival| of_pairs(ours, rival)).collect(),
            None => Vec::new(),
        };
        Self { name, unit, programs, ratios }
    }

    /// Ours, then every rival's name, figure and ratio.
    pub(super) fn against(&self) -> impl Iterator<Item = (&Sampled, &Sampled, Spread)> {
        let ours = self.programs.first();
        let rivals = self.programs.iter().skip(1).zip(&self.ratios);
        rivals.filter_map(move |(rival, ratio)| Some((ours?, rival, *ratio)))
    }

    fn judged(&self) -> Option<&str> {
        self.programs.first().map(|program| program.name.as_str())
    }

    /// One line: name, unit, then a cell for each of these programs.
    fn cells(&self, programs: &[&str]) -> Vec<String> {
        let cell = |name: &&str| {
            if let Some((_, rival, ratio)) = self.against().find(|(_, rival, _)| rival.name == **name) {
                return format!("{} x {}", rival.spread.cell(), short(ratio.median));
            }
            let ours = self.programs.iter().find(|program| program.name == **name);
            ours.map(|ours| ours.spread.cell()).unwrap_or_default()
        };
        let mut cells = vec![self.name.clone(), self.unit.to_owned()];
        cells.extend(programs.iter().map(cell));
        cells
    }
}

/// A table for those that are judged by the same program: a line of cells for each comparison, below one with the names of
/// the programs.
pub(super) fn tables(comparisons: &[Comparison]) -> Vec<Vec<Vec<String>>> {
    let tables = comparisons.chunk_by(|a, b| a.judged() == b.judged());
    tables.map(table).collect()
}

fn table(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for program in comparisons.iter().flat_map(|comparison| &comparison.programs) {
        if !names.contains(&program.name.as_str()) {
            names.push(&program.name);
        }
    }
    let mut head = vec!["figure".to_owned(), "unit".to_owned()];
    head.extend(names.iter().map(|name| (*name).to_owned()));
    [head].into_iter().chain(comparisons.iter().map(|comparison| comparison.cells(&names))).collect()
}

/// Ours divided by theirs, round by round: the machine is another one every minute.
fn of_pairs(ours: &Sampled, rival: &Sampled) -> Spread {
    let ratios: Vec<_> = ours.samples.iter().zip(&rival.samples).map(|(ours, theirs)| ours / theirs).collect();
    Spread::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_rounds() {
        let ours = Sampled::new("ours", vec![2.0, 6.0, 8.0]);
        let theirs = Sampled::new("theirs", vec![1.0, 2.0, 2.0]);
        let comparison = Comparison::new("speed".into(), "Gbit/s", vec![ours, theirs]);
        let expected = Spread { minimum: 2.0, median: 3.0, maximum: 4.0 };
        assert_eq!(comparison.against().map(|(.., ratio)| ratio).collect::<Vec<_>>(), [expected]);
        let tables = tables(&[comparison]);
        assert_eq!(tables, [[["figure", "unit", "ours", "theirs"], ["speed", "Gbit/s", "6 (2-8)", "2 (1-2) x 3"]]]);
    }
}
