//! Which of several measurements is the figure?

/// The fastest of several runs: what the work costs when nobody disturbs it.
pub(crate) fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}
