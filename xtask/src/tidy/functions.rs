//! Which functions does a file have, and how long is each?
//!
//! Reads layout, not syntax: the formatter puts the closing brace of a function at the indent of its first line, and
//! `cargo xtask check` holds the formatting.

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// Of its first line, from 1.
    pub(super) line: usize,
    /// From the first line to the closing brace, both included.
    pub(super) lines: usize,
}

pub(super) fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines.iter().enumerate().filter_map(|(at, line)| Some((at, name_of_function(line)?)));
    starts.filter_map(|(at, name)| Some(Function { name, line: at + 1, lines: length(&lines[at..])? })).collect()
}

/// Lines until the closing brace; nothing for a declaration without a body.
fn length(lines: &[&str]) -> Option<usize> {
    let indent = indent(lines[0]);
    if lines[0].ends_with('}') {
        return Some(1);
    }
    for (at, line) in lines.iter().enumerate() {
        let ends_here = self::indent(line) == indent && !line.trim().is_empty();
        if ends_here && line.ends_with(';') {
            return None;
        }
        if at > 0 && ends_here && line.trim() == "}" {
            return Some(at + 1);
        }
    }
    None
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name, if the line begins a function: any qualifiers, then `fn`.
fn name_of_function(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            return Some(&name[..end]);
        }
        let (word, after) = rest.split_once(' ')?;
        let qualifier = ["const", "async", "unsafe", "extern"].contains(&word)
            || word.starts_with("pub")
            || (word.starts_with('"') && word.ends_with('"'));
        if !qualifier {
            return None;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_declarations_and_one_liners_are_told_apart() {
        let text = "\
trait Tables {
    fn lookup(&self) -> u32;
    fn long(
        &self,
    ) -> u32;
}

pub(crate) const unsafe extern \"C\" fn outer(a: u32) -> u32
where
    u32: Copy,
{
    fn inner() {}
    a
}
";
        let found = functions(text);
        assert_eq!(
            found,
            [Function { name: "outer", line: 8, lines: 7 }, Function { name: "inner", line: 12, lines: 1 }]
        );
    }

    #[test]
    fn a_word_that_only_looks_like_one_is_none() {
        assert_eq!(functions("let f: fn (u32) = g;\n// a fn x() {\n"), []);
    }
}
