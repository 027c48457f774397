//! Which kernel objects are pinned under a directory? A map or link that was made anew has another id.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};

/// `BPF_OBJ_GET` of bpf(2).
const OBJECT_GET: libc::c_int = 7;

/// One line a pin: its path, and the ids that the kernel tells of it (`map_id`, `link_id`, `prog_id`). Sorted.
pub fn identities(directory: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            lines.extend(identities(&path)?);
        } else {
            let ids = ids(&path).with_context(|| format!("cannot open the pin {}", path.display()))?;
            lines.push(format!("{} {}", path.display(), ids.join(" ")));
        }
    }
    lines.sort();
    Ok(lines)
}

fn ids(pin: &Path) -> Result<Vec<String>> {
    let object = open(pin)?;
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let ids = facts.lines().filter_map(|line| line.split_once(":")).filter(|(name, _)| name.ends_with("_id"));
    Ok(ids.map(|(name, id)| format!("{name}={}", id.trim())).collect())
}

fn open(pin: &Path) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = std::ffi::CString::new(pin.as_os_str().as_encoded_bytes())?;
    let attributes = Attributes { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the attributes are the prefix of `union bpf_attr` that this command reads, and they and the path outlive it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_GET, &raw const attributes, size_of::<Attributes>()) };
    let fd = i32::try_from(fd)?;
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: `fd` was just opened and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
