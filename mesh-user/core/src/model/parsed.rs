//! What manifests said when they were read last: of hundreds one changes, and the others are not parsed again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::{document, intent::Manifest, problem::Problems};

/// Shared by an intent and those that follow it. Says nothing that the texts do not say.
#[derive(Clone, Debug, Default)]
pub struct Parsed(Arc<Mutex<BTreeMap<String, Text>>>);

/// A text without problems of form, and its documents.
#[derive(Debug)]
struct Text {
    text: String,
    documents: Arc<Vec<Value>>,
}

impl Parsed {
    /// The documents of all manifests, with the names of the files. What is not among them is forgotten.
    pub(crate) fn documents(&self, manifests: &[Manifest], problems: &mut Problems) -> Vec<(String, Arc<Vec<Value>>)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        let mut all = Vec::with_capacity(manifests.len());
        for Manifest { file, text } in manifests {
            let documents = match before.remove(file).filter(|known| known.text == *text) {
                Some(same) => {
                    let documents = Arc::clone(&same.documents);
                    known.insert(file.clone(), same);
                    documents
                }
                None => parse(file, text, problems, &mut known),
            };
            all.push((file.clone(), documents));
        }
        all
    }
}

/// A text with problems is read again, so that they are told again.
fn parse(file: &str, text: &str, problems: &mut Problems, known: &mut BTreeMap<String, Text>) -> Arc<Vec<Value>> {
    let before = problems.0.len();
    let documents = Arc::new(document::values(file, text, problems));
    if problems.0.len() == before {
        known.insert(file.to_owned(), Text { text: text.to_owned(), documents: Arc::clone(&documents) });
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_change_is_not_parsed_again_and_problems_are_told_again() {
        let manifest = |file: &str, text: &str| Manifest { file: file.to_owned(), text: text.to_owned() };
        let parsed = Parsed::default();
        let read = |manifests: &[Manifest]| {
            let mut problems = Problems::default();
            let documents = parsed.documents(manifests, &mut problems);
            (documents, problems.0.len())
        };
        let (first, _) = read(&[manifest("a.yaml", "a: 1"), manifest("b.yaml", "b: 1\n---\nb: 2")]);
        assert_eq!(first.iter().map(|(_, documents)| documents.len()).collect::<Vec<_>>(), [1, 2]);
        let changed = [manifest("a.yaml", "a: 1"), manifest("b.yaml", "b: 3"), manifest("c.yaml", "c: [")];
        let (second, problems) = read(&changed);
        assert!(Arc::ptr_eq(&first[0].1, &second[0].1) && second[1].1[0]["b"] == 3);
        assert_eq!((problems, read(&changed).1), (1, 1));
    }
}
