//! What a user types and sees, as a golden file has it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::hub::Hub;

/// UUIDs are replaced by numbers in the order of their appearance.
pub(crate) struct Session<'a> {
    hub: &'a Hub,
    org: &'a str,
    pub(crate) text: String,
    seen: BTreeMap<String, String>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(hub: &'a Hub, org: &'a str) -> Session<'a> {
        Session { hub, org, text: String::new(), seen: BTreeMap::new() }
    }

    pub(crate) fn type_in(&mut self, lines: &[&str]) -> Result<()> {
        for line in lines {
            let finished = self.hub.shell(self.org, line)?;
            let shown = format!(
                "$ {line}\n{}{}exit {}\n\n",
                finished.stdout,
                finished.stderr,
                finished.status.code().unwrap_or(-1)
            );
            let shown = self.numbered(&shown);
            self.text += &shown;
        }
        Ok(())
    }

    /// As long as a UUID, so that columns stay where they are.
    fn numbered(&mut self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            match rest.get(..36).filter(|word| is_uuid(word)) {
                Some(uuid) => {
                    let number = self.seen.len() + 1;
                    let numbered = || format!("00000000-0000-4000-8000-{number:012}");
                    result += self.seen.entry(uuid.to_owned()).or_insert_with(numbered);
                    rest = &rest[36..];
                }
                None => {
                    result.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        result
    }
}

fn is_uuid(word: &str) -> bool {
    word.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    })
}
