//! What must each figure hold, and where is it meant to go? `bench/budgets.toml`, which only tightens.

use std::{collections::BTreeMap, fmt, fs, path::Path, str::FromStr};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Budgets of one bench by the name of the figure.
pub(crate) type Budgets = BTreeMap<String, Budget>;

/// Applies to the ratio of a figure that has a rival, else to the figure itself.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) hold: Bound,
    pub(crate) goal: Option<Bound>,
}

/// `<= 2.2` or `>= 0.9`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(bound) => figure <= bound,
            Bound::AtLeast(bound) => figure >= bound,
        }
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bound = |number: &str| number.trim().parse().map_err(|error| format!("`{text}`: {error}"));
        if let Some(number) = text.strip_prefix("<=") {
            Ok(Bound::AtMost(bound(number)?))
        } else if let Some(number) = text.strip_prefix(">=") {
            Ok(Bound::AtLeast(bound(number)?))
        } else {
            Err(format!("`{text}` is no bound; write `<= 2.2` or `>= 0.9`"))
        }
    }
}

impl TryFrom<String> for Bound {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bound> for String {
    fn from(bound: Bound) -> Self {
        bound.to_string()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(bound) => f.pad(&format!("<= {bound}")),
            Bound::AtLeast(bound) => f.pad(&format!(">= {bound}")),
        }
    }
}

/// The section of this bench.
pub(crate) fn read(bench: &str) -> Result<Budgets> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut all: BTreeMap<String, Budgets> =
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    Ok(all.remove(bench).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_and_written_alike() {
        assert_eq!("<= 2.2".parse(), Ok(Bound::AtMost(2.2)));
        assert_eq!(Bound::AtLeast(0.9).to_string().parse(), Ok(Bound::AtLeast(0.9)));
        assert!("2.2".parse::<Bound>().is_err());
    }

    #[test]
    fn a_bound_holds_on_its_own_value() {
        assert!(Bound::AtMost(2.2).holds(2.2) && !Bound::AtMost(2.2).holds(2.3));
        assert!(Bound::AtLeast(0.9).holds(0.9) && !Bound::AtLeast(0.9).holds(0.8));
    }

    #[test]
    fn the_committed_budgets_can_be_read_and_no_goal_is_looser_than_its_hold() {
        for bench in ["aead", "budget", "dns", "lanes", "remap", "tunnel"] {
            for (name, budget) in read(bench).expect("bench/budgets.toml is well formed") {
                match (budget.hold, budget.goal) {
                    (_, None) => {}
                    (Bound::AtMost(hold), Some(Bound::AtMost(goal))) => assert!(goal <= hold, "{bench} {name}"),
                    (Bound::AtLeast(hold), Some(Bound::AtLeast(goal))) => assert!(goal >= hold, "{bench} {name}"),
                    (hold, Some(goal)) => panic!("{bench} {name}: hold {hold} and goal {goal} point apart"),
                }
            }
        }
    }
}
