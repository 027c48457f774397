//! Is every dependency under a licence that `deny.toml` allows?

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{place::Place, process};

/// The part of `deny.toml` that is judged here; `cargo deny` knows the rest.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licences,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

pub(crate) fn check(place: &Place) -> Result<()> {
    let text = fs::read_to_string(place.workspace.join("deny.toml")).context("read deny.toml")?;
    let allowed = toml::from_str::<Rules>(&text).context("parse deny.toml")?.licenses.allow;
    let mut cargo = place.cargo();
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let metadata: Metadata = serde_json::from_str(&process::output(&mut cargo)?).context("parse cargo metadata")?;

    let mut refused = Vec::new();
    for Package { name, version, license } in metadata.packages {
        let license = license.unwrap_or_else(|| "none".into());
        if !allows(&allowed, &license) {
            refused.push(format!("{name} {version}: {license}"));
        }
    }
    if !refused.is_empty() {
        bail!("deny.toml does not allow the licence of:\n  {}", refused.join("\n  "));
    }
    Ok(())
}

/// Judges an SPDX expression; `/` is an old way to write `OR`.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { allowed, words: &words };
    reader.any_of() && reader.words.is_empty()
}

/// Reads from the front of `words`; `AND` binds stronger than `OR`.
struct Reader<'a> {
    allowed: &'a BTreeSet<String>,
    words: &'a [&'a str],
}

impl Reader<'_> {
    fn any_of(&mut self) -> bool {
        let mut allowed = self.all_of();
        while self.next_is("OR") {
            allowed |= self.all_of();
        }
        allowed
    }

    fn all_of(&mut self) -> bool {
        let mut allowed = self.one();
        while self.next_is("AND") {
            allowed &= self.one();
        }
        allowed
    }

    fn one(&mut self) -> bool {
        if self.next_is("(") {
            let allowed = self.any_of();
            return self.next_is(")") && allowed;
        }
        let Some((licence, rest)) = self.words.split_first() else { return false };
        self.words = rest;
        if !self.next_is("WITH") {
            return self.allowed.contains(*licence);
        }
        let Some((exception, rest)) = self.words.split_first() else { return false };
        self.words = rest;
        self.allowed.contains(&format!("{licence} WITH {exception}"))
    }

    fn next_is(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough_and_every_condition_counts() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(GPL-3.0 OR MIT) AND ISC", true),
            ("GPL-3.0 OR MIT AND Zlib", false),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("(MIT", false),
            ("MIT ISC", false),
            ("", false),
            ("none", false),
        ] {
            assert_eq!(allows(&allowed, expression), expected, "{expression}");
        }
    }
}
