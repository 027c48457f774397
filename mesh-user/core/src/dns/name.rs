//! How names are compared: label by label, without regard to the case of ASCII letters (RFC 4343).

use hickory_proto::rr::Name;

use crate::model::group::DomainName;

/// Bytes of the longest name (RFC 1035, section 3.1).
const LONGEST: usize = 255;
/// Labels of the longest name.
const MOST: usize = 127;

/// A name in lower case: each label with its length before it. Ordered, so that it can be a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Box<[u8]>);

impl Key {
    pub(super) fn new(name: &DomainName) -> Key {
        let labels = name.as_str().split('.').map(str::as_bytes);
        Key(labels.flat_map(|label| std::iter::once(label.len() as u8).chain(label.iter().copied())).collect())
    }

    /// One of [`Key::up_to`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Key {
        Key(bytes.into())
    }

    /// This name and those above it that lie below `top`, from below; `top` must be one of them.
    pub(super) fn up_to(&self, top: &Key) -> impl Iterator<Item = &[u8]> {
        let below = self.0.len().saturating_sub(top.0.len());
        std::iter::successors(Some(0), |at| Some(at + 1 + usize::from(*self.0.get(*at)?)))
            .take_while(move |at| *at < below)
            .map(|at| &self.0[at..])
    }

    pub(super) fn is_below(&self, top: &Key) -> bool {
        Labels::of_key(self).is_some_and(|labels| labels.below(top).is_some_and(|count| count > 0))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A name that was asked for, in lower case, on the stack: this is done for each query.
#[derive(Debug)]
pub(super) struct Labels {
    bytes: [u8; LONGEST],
    len: usize,
    starts: [u8; MOST],
    count: usize,
}

impl Labels {
    /// Nothing for a name that is longer than names can be.
    pub(super) fn of_name(name: &Name) -> Option<Labels> {
        Labels::collect(name.iter())
    }

    fn of_key(key: &Key) -> Option<Labels> {
        let mut rest = key.as_bytes();
        let labels = std::iter::from_fn(|| {
            let (&len, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            Some(label)
        });
        Labels::collect(labels)
    }

    fn collect<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Labels> {
        let mut all = Labels { bytes: [0; LONGEST], len: 0, starts: [0; MOST], count: 0 };
        for label in labels {
            let end = all.len + 1 + label.len();
            let place = all.bytes.get_mut(all.len..end)?;
            let (length, letters) = place.split_first_mut()?;
            *length = u8::try_from(label.len()).ok()?;
            letters.copy_from_slice(label);
            letters.make_ascii_lowercase();
            *all.starts.get_mut(all.count)? = u8::try_from(all.len).ok()?;
            (all.len, all.count) = (end, all.count + 1);
        }
        Some(all)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many labels this name has below `top`; nothing if it does not lie there.
    pub(super) fn below(&self, top: &Key) -> Option<usize> {
        let start = self.len.checked_sub(top.0.len())?;
        if self.bytes[start..self.len] != *top.0 {
            return None;
        }
        if start == self.len {
            return Some(self.count);
        }
        // Else bytes of a label look like the length of one.
        self.starts[..self.count].iter().position(|at| usize::from(*at) == start)
    }

    /// The label at `index`, counted from below, without its length.
    pub(super) fn label(&self, index: usize) -> &[u8] {
        let start = usize::from(self.starts[index]);
        let len = usize::from(self.bytes[start]);
        &self.bytes[start + 1..start + 1 + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(&text.parse().unwrap())
    }

    fn labels(text: &str) -> Labels {
        Labels::of_name(&Name::from_ascii(text).unwrap()).unwrap()
    }

    #[test]
    fn a_name_lies_below_a_suffix_by_whole_labels_and_in_any_case() {
        assert_eq!(labels("a.B.Example.Org").below(&key("example.org")), Some(2));
        assert_eq!(labels("EXAMPLE.org").below(&key("example.org")), Some(0));
        assert_eq!(labels("notexample.org").below(&key("example.org")), None);
        assert_eq!(labels("org").below(&key("example.org")), None);
        assert_eq!(labels("a.B.Example.Org").label(1), b"b");
    }

    #[test]
    fn bytes_of_a_label_are_no_length_of_one() {
        // `\007example\003org` within one label.
        let name = Name::from_labels([&b"x\x07example"[..], b"org"]).unwrap();
        assert_eq!(Labels::of_name(&name).unwrap().below(&key("example.org")), None);
    }

    #[test]
    fn a_name_has_those_above_it_up_to_its_suffix() {
        let name = key("a.b.example.org");
        let above: Vec<_> = name.up_to(&key("example.org")).collect();
        assert_eq!(above, [key("a.b.example.org").as_bytes(), key("b.example.org").as_bytes()]);
        assert!(name.is_below(&key("example.org")) && !key("example.org").is_below(&key("example.org")));
    }

    #[test]
    fn the_longest_name_fits() {
        let label = "a".repeat(61);
        let longest = format!("{label}.{label}.{label}.{label}.abcd");
        assert_eq!(labels(&longest).as_bytes().len(), 253);
        let most = "a.".repeat(127);
        assert_eq!(labels(&most).below(&key("a")), Some(126));
    }
}
