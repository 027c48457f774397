//! What was measured so far: per figure, per program, one sample a round.

use crate::report::{Report, Sampled};

#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    /// In the order in which they were met first.
    programs: Vec<(&'static str, Vec<f64>)>,
}

impl Samples {
    pub(super) fn add(&mut self, figure: &str, unit: &'static str, program: &'static str, sample: f64) {
        let at = self.0.iter().position(|known| known.name == figure).unwrap_or_else(|| {
            self.0.push(Figure { name: figure.to_owned(), unit, programs: Vec::new() });
            self.0.len() - 1
        });
        let programs = &mut self.0[at].programs;
        match programs.iter_mut().find(|(name, _)| *name == program) {
            Some((_, samples)) => samples.push(sample),
            None => programs.push((program, vec![sample])),
        }
    }

    /// A comparison for each figure; what is named first in `judged` stands first.
    pub(super) fn report(self, judged: &[&str], report: &mut Report) {
        for mut figure in self.0 {
            figure.programs.sort_by_key(|(name, _)| !judged.contains(name));
            let programs = figure.programs.into_iter().map(|(name, samples)| Sampled::new(name, samples)).collect();
            report.compare(figure.name, figure.unit, programs);
        }
    }
}
