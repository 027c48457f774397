//! The path and query of a request, put together from texts that may hold anything.

use std::fmt;

/// Begins with `/v1/`; what is added is percent-encoded (RFC 3986, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    has_query: bool,
}

impl Url {
    /// `path` stands as it is.
    pub fn new(path: &str) -> Url {
        Url { text: path.to_owned(), has_query: path.contains('?') }
    }

    /// `/segment`; to be called before [`Url::query`].
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Url {
        debug_assert!(!self.has_query, "{self} has its query already");
        self.text.push('/');
        self.push_escaped(segment);
        self
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Url {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        self.push_escaped(value);
        self
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn push_escaped(&mut self, text: &str) {
        // A segment that is `.` or `..` would be taken for a step in the tree.
        let is_step = text == "." || text == "..";
        for byte in text.bytes() {
            let is_plain = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !is_step);
            if is_plain {
                self.text.push(char::from(byte));
            } else {
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

impl From<&str> for Url {
    fn from(path: &str) -> Url {
        Url::new(path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_one_segment_or_one_value() {
        let url = Url::new("/v1/orgs").segment("a/b c").segment("..").segment("é.x").query("q", "a&b=c").query("t", "");
        assert_eq!(url.as_str(), "/v1/orgs/a%2Fb%20c/%2E%2E/%C3%A9.x?q=a%26b%3Dc&t=");
    }

    #[test]
    fn a_query_that_was_there_goes_on() {
        assert_eq!(Url::new("/v1/apply?dryRun=true").query("prune", "no").as_str(), "/v1/apply?dryRun=true&prune=no");
    }
}
