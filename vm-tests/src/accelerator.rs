//! KVM or emulation: `VM_ACCEL=auto|kvm|tcg`.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

/// What the choice depends on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) wanted: Option<String>,
    pub(crate) kvm_opens: bool,
    pub(crate) cpuinfo: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let kvm = rustix::fs::open("/dev/kvm", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
        Machine {
            wanted: std::env::var("VM_ACCEL").ok(),
            kvm_opens: kvm.is_ok(),
            cpuinfo: std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        }
    }
}

/// `auto` takes KVM only where the CPU shows `vmx` or `svm`: some guests have a `/dev/kvm` that stock kernels die under.
pub(crate) fn choose(machine: &Machine) -> Accelerator {
    let has_flag = |flag| machine.cpuinfo.split_whitespace().any(|word| word == flag);
    match machine.wanted.as_deref() {
        Some("kvm") => Accelerator::Kvm,
        Some("tcg") => Accelerator::Tcg,
        _ if machine.kvm_opens && (has_flag("vmx") || has_flag("svm")) => Accelerator::Kvm,
        _ => Accelerator::Tcg,
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(wanted: Option<&str>, kvm_opens: bool, cpuinfo: &str) -> Machine {
        Machine { wanted: wanted.map(str::to_owned), kvm_opens, cpuinfo: cpuinfo.to_owned() }
    }

    #[test]
    fn auto_wants_a_device_that_opens_and_a_cpu_that_virtualises() {
        assert_eq!(choose(&machine(None, true, "flags : fpu svm")), Accelerator::Kvm);
        assert_eq!(choose(&machine(None, true, "flags : fpu")), Accelerator::Tcg);
        assert_eq!(choose(&machine(Some("auto"), false, "flags : vmx")), Accelerator::Tcg);
    }

    #[test]
    fn what_is_asked_for_is_taken() {
        assert_eq!(choose(&machine(Some("kvm"), false, "")), Accelerator::Kvm);
        assert_eq!(choose(&machine(Some("tcg"), true, "flags : vmx")), Accelerator::Tcg);
    }
}
