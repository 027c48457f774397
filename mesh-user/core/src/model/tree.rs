//! Reading the fields of a manifest one by one, so that everything that is wrong with it is collected, not only the first.

use std::cell::RefCell;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    document::Place,
    prefix,
    problem::{Problem, Problems},
};

/// Where the problems of one object go.
pub(crate) struct Sink {
    place: Place,
    problems: RefCell<Vec<Problem>>,
}

/// The fields of one mapping. Each known field is taken once; [`Fields::finish`] reports the others.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    known: Vec<&'a str>,
    sink: &'a Sink,
}

impl Sink {
    pub(crate) fn new(place: Place) -> Self {
        Sink { place, problems: RefCell::default() }
    }

    pub(crate) fn report(&self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.borrow_mut().push(self.place.problem(path, message, hint));
    }

    pub(crate) fn into_problems(self) -> Problems {
        Problems(self.problems.into_inner())
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>, path: &str, sink: &'a Sink) -> Self {
        Fields { map, path: path.to_owned(), known: Vec::new(), sink }
    }

    pub(crate) fn path(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub(crate) fn report(&self, field: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.report(&self.path(field), message, hint);
    }

    /// Reports at a path that [`Fields::items`] gave.
    pub(crate) fn report_at(&self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.report(path, message, hint);
    }

    /// The fields of a mapping that [`Fields::items`] gave.
    pub(crate) fn within(&self, map: &'a Map<String, Value>, path: &str) -> Fields<'a> {
        Fields::new(map, path, self.sink)
    }

    /// A field that may be there and says nothing to us.
    pub(crate) fn ignore(&mut self, fields: &[&'a str]) {
        self.known.extend(fields);
    }

    pub(crate) fn ignore_all(&mut self) {
        self.known.extend(self.map.keys().map(String::as_str));
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => {
                self.report(field, format!("{} where text is wanted", kind_of(other)), "put it in quotes");
                None
            }
        }
    }

    pub(crate) fn section(&mut self, field: &'static str) -> Option<Fields<'a>> {
        match self.take(field)? {
            Value::Object(map) => Some(Fields::new(map, &self.path(field), self.sink)),
            other => {
                self.report(
                    field,
                    format!("{} where a mapping is wanted", kind_of(other)),
                    "indent its fields below it",
                );
                None
            }
        }
    }

    pub(crate) fn required_section(&mut self, field: &'static str) -> Option<Fields<'a>> {
        if self.is_absent(field) {
            self.known.push(field);
            self.report(field, "missing", "add it");
            return None;
        }
        self.section(field)
    }

    /// A whole number within `range`.
    pub(crate) fn number(&mut self, field: &'static str, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
        let value = self.take(field)?;
        let number = number_of(value).filter(|number| range.contains(number));
        if number.is_none() {
            self.report(
                field,
                format!("{value} is not from {} to {}", range.start(), range.end()),
                "give a whole number",
            );
        }
        number
    }

    pub(crate) fn truth(&mut self, field: &'static str) -> Option<bool> {
        let value = self.take(field)?;
        if !value.is_boolean() {
            self.report(field, format!("{value} where a truth value is wanted"), "write true or false");
        }
        value.as_bool()
    }

    /// Text; a number or truth value stands for its text.
    pub(crate) fn scalar(&mut self, field: &'static str) -> Option<String> {
        let value = self.take(field)?;
        let text = scalar_of(value);
        if text.is_none() {
            self.report(field, format!("{} where text is wanted", kind_of(value)), "put it in quotes");
        }
        text
    }

    /// As [`Fields::scalar`], one or a list.
    pub(crate) fn scalars(&mut self, field: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, value) in self.items(field) {
            match scalar_of(value) {
                Some(text) => texts.push(text),
                None => {
                    let message = format!("{} where text is wanted", kind_of(value));
                    self.sink.report(&path, message, "put it in quotes");
                }
            }
        }
        texts
    }

    /// A mapping of which the keys are not ours to know.
    pub(crate) fn mapping(&mut self, field: &'static str) -> Option<&'a Map<String, Value>> {
        match self.take(field)? {
            Value::Object(map) => Some(map),
            other => {
                let message = format!("{} where a mapping is wanted", kind_of(other));
                self.report(field, message, "indent its fields below it");
                None
            }
        }
    }

    pub(crate) fn all(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// The names of fields that nobody asked for yet.
    pub(crate) fn unknown(&self) -> Vec<&'a str> {
        self.map.keys().map(String::as_str).filter(|field| !self.known.contains(field)).collect()
    }

    /// Whole numbers from 1 to 65,535.
    pub(crate) fn ports(&mut self, field: &'static str) -> Vec<u16> {
        let mut ports = Vec::new();
        for (path, value) in self.items(field) {
            match number_of(value).filter(|port| *port > 0) {
                Some(port) => ports.push(port),
                None => self.sink.report(&path, format!("{value} is no port"), "give a whole number from 1 to 65535"),
            }
        }
        ports
    }

    /// Text, one or a list.
    pub(crate) fn texts(&mut self, field: &'static str) -> Vec<&'a str> {
        let mut texts = Vec::new();
        for (path, value) in self.items(field) {
            match value {
                Value::String(text) => texts.push(text.as_str()),
                other => {
                    self.sink.report(&path, format!("{} where text is wanted", kind_of(other)), "put it in quotes");
                }
            }
        }
        texts
    }

    /// Prefixes, one or a list.
    pub(crate) fn cidrs(&mut self, field: &'static str) -> Vec<IpNet> {
        let mut nets: Vec<IpNet> = Vec::new();
        for (path, value) in self.items(field) {
            let parsed = match value {
                Value::String(text) => prefix::parse_cidr(text),
                other => Err((format!("{} where a CIDR is wanted", kind_of(other)), "write 10.243.0.0/16".to_owned())),
            };
            match parsed {
                Ok(net) => match nets.iter().find(|other| prefix::overlap(&net, other)) {
                    Some(other) => {
                        self.sink.report(&path, format!("{net} overlaps {other} of the same list"), "remove one");
                    }
                    None => nets.push(net),
                },
                Err((message, hint)) => self.sink.report(&path, message, hint),
            }
        }
        nets
    }

    /// Reports every field that nobody asked for.
    pub(crate) fn finish(self) {
        for field in self.unknown() {
            let hint = format!("remove it; known here: {}", self.known.join(", "));
            self.sink.report(&self.path(field), "unknown field", hint);
        }
    }

    pub(crate) fn is_absent(&self, field: &str) -> bool {
        self.map.get(field).is_none_or(Value::is_null)
    }

    pub(crate) fn is_empty_list(&self, field: &str) -> bool {
        self.map.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// `null` counts as absent, as in Kubernetes.
    fn take(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// The entries of a list, or the only one, each with its path.
    pub(crate) fn items(&mut self, field: &'static str) -> Vec<(String, &'a Value)> {
        match self.take(field) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let path = self.path(field);
                items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
            }
            Some(one) => vec![(self.path(field), one)],
        }
    }
}

fn number_of(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// A value that a command line or the environment can hold.
pub(super) fn scalar_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
