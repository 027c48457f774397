//! Which links are in this thread's network namespace?

use std::ffi::CStr;

/// Names and numbers, sorted by name; none where the kernel cannot say.
pub fn names() -> Vec<(String, u32)> {
    let mut names = Vec::new();
    // SAFETY: the call takes nothing; what it returns is null or an array that ends with an entry of number 0, whose names are
    // NUL-terminated, and it is freed once, here.
    unsafe {
        let list = libc::if_nameindex();
        let mut entry = list;
        while !entry.is_null() && (*entry).if_index != 0 {
            names.push((CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned(), (*entry).if_index));
            entry = entry.add(1);
        }
        if !list.is_null() {
            libc::if_freenameindex(list);
        }
    }
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_link_is_the_first_that_a_namespace_gets() {
        assert!(super::names().contains(&("lo".to_owned(), 1)));
    }
}
