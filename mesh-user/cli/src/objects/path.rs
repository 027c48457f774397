//! `-o jsonpath=...` and `--template`: text with fields of objects in it.
//!
//! Of kubectl's JSONPath: text, `{.a.b}`, `{['a']}`, `{[0]}`, `{[-1]}`, `{[*]}`, `{[?(@.a=="b")]}` (also `!=`), quoted text
//! `{"\n"}`, and `{range ...}...{end}`. Of Go's templates: text and `{{.a.b}}`. What is not there is left out, in templates
//! it is `<no value>`.

use serde_json::Value;

/// One piece of the text.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field(Vec<Step>),
    /// The pieces, once for each value that the steps find.
    Range(Vec<Step>, Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    /// Counted from the end where it is negative.
    At(i64),
    All,
    /// Items whose field is, or is not, this text.
    Where {
        path: Vec<Step>,
        is: bool,
        text: String,
    },
}

/// What a text asks for, ready to be filled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pieces: Vec<Piece>,
}

impl Path {
    pub(crate) fn jsonpath(text: &str) -> Result<Path, String> {
        // kubectl takes a bare path too.
        let text = match text.contains('{') {
            true => text.to_owned(),
            false if text.starts_with('.') || text.starts_with('[') => format!("{{{text}}}"),
            false => format!("{{.{text}}}"),
        };
        let mut rest = text.as_str();
        let pieces = pieces(&mut rest, false)?;
        Ok(Path { pieces })
    }

    pub(crate) fn template(text: &str) -> Result<Path, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").ok_or("`{{` without `}}`")?;
            let inside = inside.trim_matches(|c: char| c == '-' || c.is_whitespace());
            if !inside.starts_with('.') || inside.contains([' ', '|', '(']) {
                return Err(format!("{{{{{inside}}}}} is not understood: a template names fields, as in {{{{.a.b}}}}"));
            }
            pieces.push(Piece::Text(before.to_owned()));
            let names = inside.split('.').filter(|name| !name.is_empty());
            pieces.push(Piece::Field(names.map(|name| Step::Name(name.to_owned())).collect()));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Path { pieces })
    }

    /// Strings as they are, everything else as JSON; several values with a space between.
    pub(crate) fn fill_json(&self, value: &Value) -> String {
        let mut out = String::new();
        fill(&self.pieces, value, &mut out, &|found| {
            found.iter().map(|value| json(value)).collect::<Vec<_>>().join(" ")
        });
        out
    }

    /// As Go prints values.
    pub(crate) fn fill_go(&self, value: &Value) -> String {
        let mut out = String::new();
        fill(&self.pieces, value, &mut out, &|found| {
            found.first().map_or_else(|| "<no value>".to_owned(), |value| go(value))
        });
        out
    }
}

fn pieces(rest: &mut &str, in_range: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let end = closing(after).ok_or_else(|| format!("{{ without }} before {after:?}"))?;
        let (inside, after) = (after[..end].trim(), &after[end + 1..]);
        *rest = after;
        if inside == "end" {
            return if in_range { Ok(pieces) } else { Err("{end} without {range}".to_owned()) };
        }
        pieces.push(match (inside.strip_prefix("range "), inside.chars().next()) {
            (Some(path), _) => Piece::Range(steps(path.trim())?, self::pieces(rest, true)?),
            (None, Some('"' | '\'')) => Piece::Text(quoted(inside)?),
            (None, _) => Piece::Field(steps(inside)?),
        });
    }
    if in_range {
        return Err("{range} without {end}".to_owned());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text((*rest).to_owned()));
    }
    *rest = "";
    Ok(pieces)
}

/// Where the brace that is open is closed: not inside quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), char) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

fn quoted(text: &str) -> Result<String, String> {
    let quote = text.chars().next().unwrap_or('"');
    let inside = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    let inside = inside.filter(|_| text.len() >= 2).ok_or_else(|| format!("{text} is not closed"))?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        match (char, char == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            (char, false) => out.push(char),
        }
    }
    Ok(out)
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("{text:?} is no path: .a.b, [0], [*], ['a'] or [?(@.a==\"b\")]");
    let mut rest = text.trim().trim_start_matches(['$', '@']);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = bracket(after).ok_or_else(wrong)?;
            steps.push(index(after[..end].trim()).ok_or_else(wrong)?);
            rest = &after[end + 1..];
            continue;
        }
        let after = rest.strip_prefix('.').ok_or_else(wrong)?;
        let end = after.find(['.', '[']).unwrap_or(after.len());
        match &after[..end] {
            "*" => steps.push(Step::All),
            // `{.}` is the value itself.
            "" if after.is_empty() && steps.is_empty() => {}
            "" => return Err(wrong()),
            name => steps.push(Step::Name(name.replace("\\.", "."))),
        }
        rest = &after[end..];
    }
    Ok(steps)
}

fn bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(open), char) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn index(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if text.starts_with(['"', '\'']) {
        return quoted(text).ok().map(Step::Name);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (is, (path, wanted)) = match filter.split_once("!=") {
            Some(sides) => (false, sides),
            None => (true, filter.split_once("==")?),
        };
        let wanted = wanted.trim();
        let text = if wanted.starts_with(['"', '\'']) { quoted(wanted).ok()? } else { wanted.to_owned() };
        return Some(Step::Where { path: steps(path.trim()).ok()?, is, text });
    }
    text.parse().ok().map(Step::At)
}

fn fill(pieces: &[Piece], value: &Value, out: &mut String, show: &impl Fn(&[&Value]) -> String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field(steps) => out.push_str(&show(&find(steps, value))),
            Piece::Range(steps, inside) => {
                find(steps, value).into_iter().for_each(|item| fill(inside, item, out, show));
            }
        }
    }
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| take(step, value)).collect();
    }
    found
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Name(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
        (Step::At(at), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *at < 0 { length.saturating_add(*at) } else { *at };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(fields)) => fields.values().collect(),
        (Step::Where { path, is, text }, Value::Array(items)) => {
            let holds = |item: &&Value| find(path, item).iter().any(|found| json(found) == *text) == *is;
            items.iter().filter(holds).collect()
        }
        _ => Vec::new(),
    }
}

fn json(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// `map[a:1 b:[x y]]`: as `fmt.Print` of Go shows maps (sorted) and lists.
pub(crate) fn go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", go(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway() -> Value {
        json!({
            "metadata": { "name": "server", "labels": { "liqo.io/remote-cluster-id": "cl01" } },
            "status": {
                "endpoint": { "protocol": "UDP", "port": 32_701, "addresses": ["172.19.0.9"] },
                "conditions": [{ "type": "Ready", "status": "True" }, { "type": "MTU", "status": "False" }],
            },
        })
    }

    #[test]
    fn templates_print_as_go_does() {
        let fill = |text: &str| Path::template(text).unwrap().fill_go(&gateway());
        assert_eq!(fill("{{.status.endpoint}}"), "map[addresses:[172.19.0.9] port:32701 protocol:UDP]");
        assert_eq!(fill("{{ .metadata.name }}: {{.status.endpoint.port}}\n"), "server: 32701\n");
        assert_eq!(fill("{{.spec.none}}"), "<no value>");
        for wrong in ["{{.a", "{{range .a}}", "{{ len .a }}", "{{.a | b}}"] {
            assert!(Path::template(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_find_fields_items_and_what_holds() {
        let fill = |text: &str| Path::jsonpath(text).unwrap().fill_json(&gateway());
        let cases = [
            ("{.metadata.name}", "server"),
            ("metadata.name", "server"),
            (".status.endpoint.addresses[0]", "172.19.0.9"),
            ("{.status.endpoint.addresses[-1]}", "172.19.0.9"),
            ("{.status.endpoint.addresses[1]}", ""),
            ("{.status.endpoint}", r#"{"addresses":["172.19.0.9"],"port":32701,"protocol":"UDP"}"#),
            ("{.metadata.labels['liqo.io/remote-cluster-id']}", "cl01"),
            (r#"{.status.conditions[?(@.type=="MTU")].status}"#, "False"),
            (r#"{.status.conditions[?(@.type!="MTU")].status}"#, "True"),
            ("{.status.conditions[*].type}", "Ready MTU"),
            (r#"{range .status.conditions[*]}{.type}={.status}{"\n"}{end}!"#, "Ready=True\nMTU=False\n!"),
            ("is {.none}", "is "),
        ];
        for (text, expected) in cases {
            assert_eq!(fill(text), expected, "{text}");
        }
        assert_eq!(Path::jsonpath("{$.metadata.name}"), Path::jsonpath("{.metadata.name}"));
        for wrong in ["{.a", "{end}", "{range .a}{.b}", "{.a[}", "{.a[x]}", "{..a}", "{'a}"] {
            assert!(Path::jsonpath(wrong).is_err(), "{wrong}");
        }
    }
}
