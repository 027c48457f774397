//! Which kernels corrupt UDP batches whose datagrams are all of one length, and what is sent with such a batch.
//!
//! Linux 7.0 and 7.1 do, with some drivers. A datagram of one byte at the end makes the last one shorter, which avoids it;
//! the other end drops that byte, since it is no message.

use std::sync::LazyLock;

use super::udp::MAX_BATCH;

const TAIL: &[u8] = &[0];

static IS_AFFECTED: LazyLock<bool> =
    LazyLock::new(|| rustix::system::uname().release().to_str().is_ok_and(is_affected));

/// What has to follow `len` bytes of datagrams of `segment` bytes, on this kernel: nothing, or one byte.
#[inline]
pub fn tail(len: usize, segment: Option<u16>) -> &'static [u8] {
    match segment {
        Some(segment) if *IS_AFFECTED => tail_where_affected(len, segment.into()),
        _ => &[],
    }
}

fn tail_where_affected(len: usize, segment: usize) -> &'static [u8] {
    if len.is_multiple_of(segment.max(1)) && len < MAX_BATCH { TAIL } else { &[] }
}

/// `release` is what uname(2) says. A fix may be in it; that cannot be seen, and costs little.
fn is_affected(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(7)), Some(Ok(0 | 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_says_whether() {
        for release in ["7.0.0", "7.0.12-arch1-1", "7.1", "7.1.0-rc3", "7.1.4-generic"] {
            assert!(is_affected(release), "{release}");
        }
        for release in ["6.18.44", "6.1.0-9-amd64", "7.2.0", "7.10.1", "17.0.1", "8.0", "5.7.1", "7", "", "strange"] {
            assert!(!is_affected(release), "{release}");
        }
    }

    #[test]
    fn only_equal_datagrams_get_a_tail() {
        assert_eq!(tail_where_affected(4_200, 1_400), TAIL);
        assert!(tail_where_affected(4_201, 1_400).is_empty());
        assert!(tail_where_affected(MAX_BATCH, MAX_BATCH).is_empty(), "there is no room");
        assert!(tail(4_200, None).is_empty());
    }
}
