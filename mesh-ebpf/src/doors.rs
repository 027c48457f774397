//! The doors of the programs as types: a program compiles the rules of its own only.

use mesh_common::{
    datapath::{Ingress, forward::Door},
    ids::IfIndex,
};

#[derive(Clone, Copy)]
pub(crate) struct Workload;

#[derive(Clone, Copy)]
pub(crate) struct Underlay(pub(crate) IfIndex);

impl Door for Workload {
    #[inline(always)]
    fn ingress(self) -> Ingress {
        Ingress::Workload
    }
}

impl Door for Underlay {
    #[inline(always)]
    fn ingress(self) -> Ingress {
        Ingress::Underlay(self.0)
    }
}
