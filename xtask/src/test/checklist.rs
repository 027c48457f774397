//! Which tests hold the rows of a checklist: a table in `docs/` whose rows begin with an id such as `NG-01` and end with the
//! tests, in backticks, as `cargo test` names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, bail};

use crate::place::Place;

/// What `cargo xtask test NAME` takes for a checklist, and where it is.
const CHECKLISTS: [(&str, &str); 2] = [("ng", "docs/network-groups.md"), ("clusters", "docs/clusters.md")];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checklist {
    rows: BTreeMap<String, Vec<String>>,
}

impl Checklist {
    /// `None`: `name` is a filter like any other.
    pub(super) fn find(place: &Place, name: &str) -> Result<Option<Checklist>> {
        let Some((_, file)) = CHECKLISTS.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        let path = place.workspace.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Checklist::parse(&text).with_context(|| format!("{file} is no checklist")).map(Some)
    }

    fn parse(text: &str) -> Result<Checklist> {
        let mut rows = BTreeMap::new();
        for line in text.lines() {
            let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
            let [id, .., tests] = cells.as_slice() else { continue };
            if !is_id(id) {
                continue;
            }
            let tests: Vec<String> = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            if tests.is_empty() {
                bail!("{id}: no test in the last column");
            }
            if rows.insert((*id).to_owned(), tests).is_some() {
                bail!("{id} stands twice");
            }
        }
        if rows.is_empty() {
            bail!("it has no row that begins with an id");
        }
        Ok(Checklist { rows })
    }

    pub(super) fn tests(&self) -> BTreeSet<&str> {
        self.rows.values().flatten().map(String::as_str).collect()
    }

    /// A line a row; how many rows do not hold. `passed`: the tests that did.
    pub(super) fn report(&self, passed: &BTreeSet<String>) -> (String, usize) {
        let mut text = String::new();
        let mut open = 0;
        for (id, tests) in &self.rows {
            let missing: Vec<&str> = tests.iter().filter(|test| !passed.contains(*test)).map(String::as_str).collect();
            if missing.is_empty() {
                text += &format!("{id} holds\n");
            } else {
                open += 1;
                text += &format!("{id} does not hold: {} failed or is not there\n", missing.join(", "));
            }
        }
        (text, open)
    }
}

/// Two letters, a hyphen and a number.
fn is_id(cell: &str) -> bool {
    let Some((letters, number)) = cell.split_once('-') else { return false };
    letters.len() == 2
        && letters.bytes().all(|byte| byte.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Rows\n\n| id | feature | command | tests |\n|---|---|---|---|\n\
        | NG-01 | create | `ng create` | `a::one`, `b::two` |\n| NG-02 | delete | `ng delete` | `a::one` |\n";

    #[test]
    fn rows_are_read_and_reported() {
        let list = Checklist::parse(TABLE).unwrap();
        assert_eq!(list.tests(), BTreeSet::from(["a::one", "b::two"]));
        let (text, open) = list.report(&BTreeSet::from(["a::one".to_owned()]));
        assert_eq!((text.as_str(), open), ("NG-01 does not hold: b::two failed or is not there\nNG-02 holds\n", 1));
    }

    #[test]
    fn a_row_without_a_test_is_an_error() {
        let refused = Checklist::parse("| NG-07 | list | `ng` | later |").unwrap_err().to_string();
        assert!(refused.contains("NG-07"), "{refused}");
        assert!(Checklist::parse("nothing").is_err());
        assert!(Checklist::parse(&format!("{TABLE}| NG-01 | again | x | `c` |")).is_err());
    }
}
