//! What became of one object, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::{Action, Applied};

/// Fields that follow from others or from what was done before.
const SILENT: [&str; 3] = ["version", "lastAllocatedIp", "managedBy"];

/// `None`: it is not there.
pub(in crate::registry) fn applied(kind: &str, name: String, old: Option<Value>, new: Option<Value>) -> Applied {
    let mut diff = Vec::new();
    if new.is_some() {
        compare("", old.as_ref(), new.as_ref(), &mut diff);
    }
    let action = match (&old, &new) {
        (_, None) => Action::Deleted,
        (None, Some(_)) => Action::Created,
        (Some(_), Some(_)) if diff.is_empty() => Action::Unchanged,
        (Some(_), Some(_)) => Action::Changed,
    };
    Applied { action, kind: kind.to_owned(), name, diff }
}

/// One line for each field that differs.
fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    match (fields(old), fields(new)) {
        (None, None) => lines.push(format!("{path}: {} -> {}", shown(old), shown(new))),
        (old, new) => {
            let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names.into_iter().filter(|name| !SILENT.contains(&name.as_str())) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, old.get(name), new.get(name), lines);
            }
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Some(other) => other.to_string(),
    }
}
