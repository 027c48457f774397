//! Which words must not stand in this repository?

/// Left-overs, paths of somebody's machine, hosts that only its network may reach. Each is written in two parts, so that
/// this file does not find itself.
const BANNED: [(&str, &str); 14] = [
    (concat!("TO", "DO"), "do it, or write down why not"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("XX", "X"), "say what is meant"),
    (concat!("db", "g!"), "a left-over of debugging"),
    (concat!("to", "do!("), "a stub"),
    (concat!("unimplemen", "ted!("), "a stub"),
    (concat!("#[ig", "nore"), "a test that does not run"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("crates", ".io"), "a host name of a registry"),
    (concat!("deb.", "debian.org"), "a host name of a registry"),
    (concat!("static.", "rust-lang.org"), "a host name of a registry"),
    (concat!("proxy.", "golang.org"), "a host name of a registry"),
];

/// Endings that say nothing about what a type is.
const EMPTY_NAMES: [&str; 7] = ["Manager", "Handler", "Helper", "Util", "Context", "Data", "Info"];

/// Line and complaint for each banned word, as a word of its own.
pub(super) fn banned(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (word, why) in BANNED {
            if has_word(line, word) {
                found.push((at + 1, format!("`{word}`: {why}")));
            }
        }
    }
    found
}

/// Line and complaint for each type whose name is empty.
pub(super) fn names(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        if !matches!(words.next(), Some("struct" | "enum" | "trait" | "type")) {
            continue;
        }
        let name = words.next().unwrap_or_default();
        let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if EMPTY_NAMES.iter().any(|ending| name.ends_with(ending)) {
            found.push((at + 1, format!("`{name}`: a name that does not say what it is")));
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let glued = |neighbour: Option<char>, edge: Option<char>| {
        let of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        of_word(neighbour) && of_word(edge)
    };
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !glued(before, word.chars().next()) && !glued(after, word.chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_with_their_line() {
        let text = format!("fine\n// {}: later\n", BANNED[0].0);
        assert_eq!(banned(&text).into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_part_of_a_longer_word_is_not_the_word() {
        assert_eq!(banned(&format!("mktemp file.{}{}\n", BANNED[2].0, BANNED[2].0)), []);
        assert_eq!(banned(&format!("under{}\n", &BANNED[0].0.to_lowercase())), []);
    }

    #[test]
    fn empty_names_are_found_where_they_are_defined_only() {
        assert_eq!(names("pub(crate) struct PeerManager {\n").len(), 1);
        assert_eq!(names("use aya_ebpf::programs::XdpContext;\nstruct Peers(Vec<PeerData>);\n"), []);
    }
}
