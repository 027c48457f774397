//! What `apply` does, or would do, with each object, and objects as the manifests that would make them.
//!
//! `GET /v1/objects/{kind}[/{name}]?org=&group=&namespace=&selector=` and `DELETE /v1/objects/{kind}/{name}?org=&group=
//! &namespace=` reply an [`ObjectList`]; org and group are for what is in network groups, the others for the inter-cluster
//! network.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Manifest;

/// Begins a file of `POST /v1/apply`, behind a line `---`; its path follows.
const FILE_MARK: &str = "# Manifest file: ";
/// What a text without [`FILE_MARK`] is called.
const NAMELESS: &str = "the manifests";

/// The body of `POST /v1/apply`: one text of YAML, in which every file begins with the lines `---` and
/// `# Manifest file: PATH`, so that a problem can be told with its file and its line there. JSON is YAML.
pub fn to_body(manifests: &[Manifest]) -> String {
    let file = |Manifest { file, text }: &Manifest| {
        let file: String = file.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        format!("---\n{FILE_MARK}{file}\n{text}{end}")
    };
    manifests.iter().map(file).collect()
}

/// The files of a body. A line `---` ends a document wherever it stands, so no text of a file can be taken for a mark by
/// accident. A body without marks is one file.
pub fn of_body(body: &str) -> Vec<Manifest> {
    let mut manifests = vec![Manifest { file: NAMELESS.to_owned(), text: String::new() }];
    let mut lines = body.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let mark = lines.peek().filter(|_| line.trim_end() == "---").and_then(|next| next.strip_prefix(FILE_MARK));
        if let Some(file) = mark.map(str::trim).filter(|file| !file.is_empty()) {
            manifests.push(Manifest { file: file.to_owned(), text: String::new() });
            lines.next();
        } else if let Some(manifest) = manifests.last_mut() {
            manifest.text.push_str(line);
        }
    }
    let is_one = manifests.len() == 1;
    manifests.retain(|manifest| is_one || manifest.file != NAMELESS || !manifest.text.trim().is_empty());
    manifests
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyReply {
    pub schema: u32,
    pub dry_run: bool,
    pub changes: Vec<Applied>,
    /// What comes (`+`) and goes (`-`) in what kernel and daemon hold, one line each; of network groups it is not told.
    #[serde(default)]
    pub plan: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub action: Action,
    pub kind: String,
    pub name: String,
    /// `field: old -> new`, one line for each field that changes.
    pub diff: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Created,
    Changed,
    Unchanged,
    /// A peer that nodes make themselves: left to its node.
    Skipped,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    pub schema: u32,
    /// `NetworkGroup`, `Member`, `Peer`, `AccessRule`, or one of [`crate::model::ObjectKind`].
    pub kind: String,
    /// What `apply` takes, with a `status` beside.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file: &str, text: &str) -> Manifest {
        Manifest { file: file.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn files_come_out_of_a_body_as_they_went_in() {
        let files = [
            manifest("a.yaml", "---\na: 1\n---\nb: |\n  # Manifest file: no\n  ---\n"),
            manifest("more/b.json", "{\"a\": 1}\n"),
            manifest("empty.yaml", ""),
        ];
        let mut found = of_body(&to_body(&files));
        assert_eq!(found.pop().map(|last| last.text.trim().to_owned()), Some(String::new()));
        assert_eq!(found, files[..2]);
        assert_eq!(of_body(&to_body(&[manifest("a\nb", "c")])), [manifest("a?b", "c\n")]);
    }

    #[test]
    fn a_text_without_marks_is_one_file() {
        for text in ["", "a: 1\n---\nb: 2", "---\n# a comment\na: 1\n", "# Manifest file: a.yaml\na: 1\n"] {
            assert_eq!(of_body(text), [manifest(NAMELESS, text)]);
        }
        let mixed = of_body("a: 1\n---\n# Manifest file: b.yaml\nb: 1\n");
        assert_eq!(mixed, [manifest(NAMELESS, "a: 1\n"), manifest("b.yaml", "b: 1\n")]);
    }
}
