//! A stream of server-sent events (WHATWG HTML, section 9.2.6), read one by one.

use std::{collections::VecDeque, fmt, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::{Error, place::Place};

/// Larger than any group's.
const EVENT_LIMIT: usize = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Of this event, or of the last one before that had an id.
    pub id: Option<String>,
    /// `message` where the server names none.
    pub event: String,
    pub data: String,
}

impl Event {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

/// An open stream. Dropped, it is closed.
pub struct Events {
    place: Place,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl Events {
    /// A daemon sends a comment every 15 s: a stream that is silent for three of them is dead.
    pub const SILENCE: Duration = Duration::from_secs(45);

    pub(crate) fn new(place: Place, body: Incoming) -> Events {
        Events { place, body, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// `None`: the server ended the stream. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let late = |_| Error::Timeout { place: self.place.to_string(), after: Events::SILENCE };
            let frame = tokio::time::timeout(Events::SILENCE, self.body.frame()).await.map_err(late)?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Error::broken(&self.place, &error))?;
            if let Some(bytes) = frame.data_ref() {
                self.ready.extend(self.parser.feed(bytes));
            }
            if self.parser.held() > EVENT_LIMIT {
                let reason = format!("an event of more than {EVENT_LIMIT} bytes");
                return Err(Error::Broken { place: self.place.to_string(), reason });
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("place", &self.place).field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Bytes in, events out; pieces may be cut anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    id: Option<String>,
    event: String,
    data: Option<String>,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends_a_pair = std::mem::replace(&mut self.after_return, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if ends_a_pair => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.take(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
        }
        events
    }

    /// Bytes of an event that is not whole yet.
    fn held(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = self.data.take()?;
            let event = if event.is_empty() { "message".to_owned() } else { event };
            return Some(Event { id: self.id.clone(), event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment has an empty field; `retry` is the caller's to decide; others mean nothing.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\n\nid: 7\nevent: group\ndata: {\"a\":\ndata: 1}\n\nretry: 3\r\ndata:x\r\n\r\n:\n\
        id\nevent: deleted\rdata\r\rdata: cut";

    fn expected() -> Vec<Event> {
        let event = |id: &str, event: &str, data: &str| Event {
            id: Some(id.to_owned()),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        vec![event("7", "group", "{\"a\":\n1}"), event("7", "message", "x"), event("", "deleted", "")]
    }

    #[test]
    fn events_of_a_stream() {
        assert_eq!(Parser::default().feed(STREAM), expected());
    }

    #[test]
    fn it_does_not_matter_where_a_stream_is_cut() {
        for cut in 0..STREAM.len() {
            let mut parser = Parser::default();
            let mut events = parser.feed(&STREAM[..cut]);
            events.extend(parser.feed(&STREAM[cut..]));
            assert_eq!(events, expected(), "cut at {cut}");
        }
        let mut parser = Parser::default();
        let events: Vec<Event> = STREAM.iter().flat_map(|byte| parser.feed(&[*byte])).collect();
        assert_eq!(events, expected());
    }
}
