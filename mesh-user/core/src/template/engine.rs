//! What becomes of one value of a template: its variables are replaced, its optional fields kept or dropped.
//!
//! A variable is `{{ .A.B }}`; nothing else may stand between the braces. A text that is one variable becomes what the
//! variable holds, of any type; where more stands in the text, the variable must be a text, a number or a truth value.

use serde_json::{Map, Value};

/// What a variable must look like, for the next step of messages.
const SYNTAX: &str = "write {{ .Spec.MTU }}: a dot before each name, and nothing else between the braces";

/// One thing of a template that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Within the template, such as `spec.ports[0]`.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What a text that looks like a number becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numerals {
    /// The number.
    Numbers,
    /// It stays text, as in labels.
    Text,
}

/// A rendering in progress: the variables, and everything that went wrong so far.
pub(crate) struct Rendering<'a> {
    variables: &'a Map<String, Value>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// A piece of a text.
enum Piece<'t> {
    Text(&'t str),
    /// `.A.B`
    Variable(&'t str),
}

impl<'a> Rendering<'a> {
    pub(crate) fn new(variables: &'a Map<String, Value>) -> Self {
        Rendering { variables, mistakes: Vec::new() }
    }

    /// The value with its variables replaced; what cannot be is `null`, and a mistake.
    pub(crate) fn value(&mut self, value: &Value, path: &str, numerals: Numerals) -> Value {
        match value {
            Value::Object(map) => Value::Object(self.map(map, path, numerals)),
            Value::Array(items) => {
                let item = |(index, item)| self.value(item, &format!("{path}[{index}]"), numerals);
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Value::String(text) => self.text(text, path, numerals),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, path: &str, numerals: Numerals) -> Map<String, Value> {
        let mut rendered = Map::new();
        for (key, value) in map {
            let (key, optional) = match key.strip_prefix('?') {
                Some(key) => (key, true),
                None => (key.as_str(), false),
            };
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            if optional && self.begins_empty(value) {
                continue;
            }
            let numerals = if matches!(key, "labels" | "annotations") { Numerals::Text } else { numerals };
            let value = self.value(value, &path, numerals);
            if optional && is_empty(&value) {
                continue;
            }
            if rendered.insert(key.to_owned(), value).is_some() {
                self.mistake(&path, "stands twice, with ? and without".to_owned(), "keep one of the two");
            }
        }
        rendered
    }

    /// A text whose first variable holds nothing.
    fn begins_empty(&self, value: &Value) -> bool {
        let Some(pieces) = value.as_str().and_then(|text| pieces(text).ok()) else { return false };
        let first = pieces.iter().find_map(|piece| match piece {
            Piece::Variable(name) => Some(*name),
            Piece::Text(_) => None,
        });
        // An unknown variable of the first level is a slip, also in an optional field.
        first.is_some_and(|name| match lookup(self.variables, name) {
            Ok(value) => is_empty(value),
            Err(missing) => missing.depth > 0,
        })
    }

    fn text(&mut self, text: &str, path: &str, numerals: Numerals) -> Value {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(message) => {
                self.mistake(path, message, SYNTAX);
                return Value::Null;
            }
        };
        let rendered = match pieces.as_slice() {
            [Piece::Variable(name)] => self.variable(name, path).cloned(),
            pieces => self.joined(pieces, path).map(Value::String),
        };
        match rendered.unwrap_or(Value::Null) {
            Value::String(text) if numerals == Numerals::Numbers => number(&text).unwrap_or(Value::String(text)),
            Value::Number(number) if numerals == Numerals::Text => Value::String(number.to_string()),
            Value::Bool(truth) if numerals == Numerals::Text => Value::String(truth.to_string()),
            value => value,
        }
    }

    fn joined(&mut self, pieces: &[Piece<'_>], path: &str) -> Option<String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable(name) => match self.variable(name, path)? {
                    Value::String(value) => text.push_str(value),
                    Value::Number(value) => text.push_str(&value.to_string()),
                    Value::Bool(value) => text.push_str(&value.to_string()),
                    Value::Null => {}
                    Value::Array(_) | Value::Object(_) => {
                        let message = format!("{name} is a list or a mapping, and stands within a text");
                        self.mistake(path, message, "let the variable be the whole value");
                        return None;
                    }
                },
            }
        }
        Some(text)
    }

    fn variable(&mut self, name: &str, path: &str) -> Option<&'a Value> {
        match lookup(self.variables, name) {
            Ok(value) => Some(value),
            Err(Missing { known, .. }) => {
                let hint = if known.is_empty() {
                    "take another variable".to_owned()
                } else {
                    format!("known there: {known}; a field that may be left out begins with ?")
                };
                self.mistakes.push(Mistake {
                    path: path.to_owned(),
                    message: format!("there is no variable {name}"),
                    hint,
                });
                None
            }
        }
    }

    fn mistake(&mut self, path: &str, message: String, hint: &str) {
        self.mistakes.push(Mistake { path: path.to_owned(), message, hint: hint.to_owned() });
    }
}

/// The names of the first level under `.Spec` that a template speaks of, in lower case.
pub(crate) fn spec_fields(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => map.values().for_each(|value| spec_fields(value, found)),
        Value::Array(items) => items.iter().for_each(|value| spec_fields(value, found)),
        Value::String(text) => {
            for piece in pieces(text).into_iter().flatten() {
                let Piece::Variable(name) = piece else { continue };
                let mut names = name.split('.').skip(1);
                if names.next() == Some("Spec") {
                    found.extend(names.next().map(str::to_ascii_lowercase));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where a path ends that leads nowhere.
struct Missing {
    /// Names that were found before.
    depth: usize,
    known: String,
}

/// Names are written as in Go (`.Spec.MTU`) or as in the manifest (`.Spec.mtu`).
fn lookup<'a>(variables: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Missing> {
    let mut map = variables;
    let mut names = name.split('.').skip(1).enumerate().peekable();
    while let Some((depth, name)) = names.next() {
        let same = |key: &&String| if depth == 0 { *key == name } else { key.eq_ignore_ascii_case(name) };
        let value = map.get(name).or_else(|| map.keys().find(same).and_then(|key| map.get(key)));
        let missing = |map: &Map<String, Value>| Missing {
            depth,
            known: map.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        match (value, names.peek()) {
            (Some(value), None) => return Ok(value),
            (Some(Value::Object(inner)), Some(_)) => map = inner,
            (Some(_), Some(_)) => return Err(Missing { depth: depth + 1, known: String::new() }),
            (None, _) => return Err(missing(map)),
        }
    }
    Err(Missing { depth: 0, known: String::new() })
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            return Err(format!("{{{{ without }}}} in {text:?}"));
        };
        let name = inside.trim();
        let is_word = |word: &str| {
            !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        };
        if !name.strip_prefix('.').is_some_and(|names| names.split('.').all(is_word)) {
            return Err(format!("{{{{{inside}}}}} is no variable"));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Variable(name));
        rest = behind;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Of digits alone; `007` is a name.
fn number(text: &str) -> Option<Value> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then(|| number.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Map<String, Value> {
        let spec = json!({
            "mtu": 1340, "endpoint": { "port": 51840, "ports": [1, 2], "serviceType": "NodePort", "loadBalancerIP": "" },
            "extra": { "a": "7" }, "note": "007",
        });
        let all = json!({ "Spec": spec, "Name": "gw", "ClusterID": "cl02", "SecretName": "" });
        all.as_object().unwrap().clone()
    }

    fn rendered(template: Value) -> Value {
        let variables = variables();
        let mut rendering = Rendering::new(&variables);
        let value = rendering.value(&template, "", Numerals::Numbers);
        assert_eq!(rendering.mistakes, []);
        value
    }

    fn mistake(template: Value) -> String {
        let variables = variables();
        let mut rendering = Rendering::new(&variables);
        rendering.value(&template, "spec", Numerals::Numbers);
        let [mistake] = rendering.mistakes.as_slice() else { panic!("{:?}", rendering.mistakes) };
        format!("{}: {}; {}", mistake.path, mistake.message, mistake.hint)
    }

    #[test]
    fn variables_in_every_place() {
        let template = json!({
            "name": "{{ .Name }}-{{.ClusterID}}", "ports": "{{ .Spec.Endpoint.Ports }}", "mtu": "{{ .Spec.MTU }}",
            "list": ["--mtu={{ .Spec.MTU }}", { "deep": "{{ .Spec.extra }}" }], "plain": true,
        });
        let expected = json!({
            "name": "gw-cl02", "ports": [1, 2], "mtu": 1340, "list": ["--mtu=1340", { "deep": { "a": "7" } }],
            "plain": true,
        });
        assert_eq!(rendered(template), expected);
    }

    #[test]
    fn what_looks_like_a_number_is_one_but_in_labels() {
        let template = json!({
            "a": "{{ .Spec.Extra.A }}", "b": "12", "c": "{{ .Spec.Note }}", "d": "+5", "e": "-5", "f": "1{{ .Name }}",
            "labels": { "a": "{{ .Spec.Extra.A }}", "mtu": "{{ .Spec.MTU }}" }, "annotations": { "b": "12" },
        });
        let expected = json!({
            "a": 7, "b": 12, "c": "007", "d": "+5", "e": -5, "f": "1gw",
            "labels": { "a": "7", "mtu": "1340" }, "annotations": { "b": "12" },
        });
        assert_eq!(rendered(template), expected);
    }

    #[test]
    fn optional_fields_are_dropped_where_they_are_empty() {
        let template = json!({
            "?absent": "{{ .Spec.Endpoint.NodePort }}", "?empty": "{{ .SecretName }}",
            "?first": "{{ .SecretName }}{{ .Name }}", "?kept": "{{ .Name }}{{ .SecretName }}", "?literal": "x",
            "?map": { "?a": "{{ .SecretName }}" }, "?list": [], "?full": { "a": "{{ .Name }}" }, "?none": null,
            "?below": "{{ .Spec.MTU.Deep }}",
        });
        let expected = json!({ "kept": "gw", "literal": "x", "full": { "a": "gw" } });
        assert_eq!(rendered(template), expected);
    }

    #[test]
    fn mistakes_name_path_and_variable() {
        assert_eq!(
            mistake(json!({ "list": ["{{ .Spec.Endpoint.Prot }}"] })),
            "spec.list[0]: there is no variable .Spec.Endpoint.Prot; known there: loadBalancerIP, port, ports, \
             serviceType; a field that may be left out begins with ?"
        );
        // What cannot exist is a slip even where it is optional.
        assert!(mistake(json!({ "?a": "{{ .Sepc.MTU }}" })).starts_with("spec.a: there is no variable .Sepc.MTU"));
        assert!(mistake(json!({ "a": "{{ .name }}" })).contains("there is no variable .name; known there: ClusterID"));
        assert!(mistake(json!({ "a": "x {{ .Spec.Endpoint }}" })).contains("stands within a text"));
        assert!(mistake(json!({ "a": "{{ .Name" })).starts_with("spec.a: {{ without }} in \"{{ .Name\""));
        for wrong in ["{{ Name }}", "{{ }}", "{{ . }}", "{{ .Name | upper }}", "{{ .Spec..MTU }}", "{{ .Na me }}"] {
            assert!(mistake(json!({ "a": wrong })).contains("is no variable"), "{wrong}");
        }
        assert!(mistake(json!({ "a": 1, "?a": 2 })).contains("stands twice"));
    }
}
