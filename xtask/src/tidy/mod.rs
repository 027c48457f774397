//! `cargo xtask tidy`: which files break the rules of this repository that no lint of the compiler knows?

mod functions;
mod words;

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{place::Place, process};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;
/// The verifier walks every line of it on every kernel; what can live in `mesh-common` does.
const BPF_LINES: usize = 500;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

pub(crate) fn check(place: &Place) -> Result<()> {
    let findings = findings(&place.workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("tidy: 1 finding"),
        many => bail!("tidy: {many} findings"),
    }
}

/// Looks at the files that git knows or would add.
fn findings(workspace: &Path) -> Result<Vec<Finding>> {
    let mut git = Command::new("git");
    git.current_dir(workspace).args(["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let mut findings = Vec::new();
    let mut bpf_lines = 0;
    for name in process::output(&mut git)?.lines() {
        let path = workspace.join(name);
        if !path.is_file() || name == "Cargo.lock" {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("read {name}"))?;
        // What is not text has no lines to judge.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if name.starts_with("mesh-ebpf/src/") {
            bpf_lines += text.lines().count();
        }
        findings.extend(judge(name, &text));
    }
    if bpf_lines >= BPF_LINES {
        let what = format!("{bpf_lines} lines in all, must be less than {BPF_LINES}");
        findings.push(Finding { file: "mesh-ebpf/src".into(), line: 1, what });
    }
    Ok(findings)
}

fn judge(name: &str, text: &str) -> Vec<Finding> {
    let mut found: Vec<(usize, String)> = words::banned(text);
    if name.ends_with(".rs") {
        if !text.starts_with("//!") {
            found.push((1, "does not begin with a `//!` that says which question the file answers".into()));
        }
        let lines = text.lines().count();
        if !is_test_file(name) && lines > FILE_LINES {
            found.push((1, format!("{lines} lines, at most {FILE_LINES}")));
        }
        for function in functions::functions(text) {
            if function.lines > FUNCTION_LINES {
                let what = format!("`{}` has {} lines, at most {FUNCTION_LINES}", function.name, function.lines);
                found.push((function.line, what));
            }
        }
        found.extend(words::names(text));
    }
    found.into_iter().map(|(line, what)| Finding { file: name.into(), line, what }).collect()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.split('/').any(|folder| folder == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let what = |name: &str, text: &str| judge(name, text).into_iter().map(|f| (f.line, f.what)).collect::<Vec<_>>();
        assert!(what("a.rs", "fn main() {}\n")[0].1.contains("//!"));
        assert!(what("a.rs", &"//! Q?\n".repeat(401))[0].1.contains("401 lines"));
        assert_eq!(what("a/tests.rs", &"//! Q?\n".repeat(401)), []);
        let long = format!("//! Q?\nfn long() {{\n{}}}\n", "    step();\n".repeat(59));
        assert_eq!(what("a.rs", &long), [(2, "`long` has 61 lines, at most 60".to_owned())]);
    }
}
