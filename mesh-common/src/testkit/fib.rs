//! A routing table with one answer.

use crate::datapath::route::{Fib, Flow, Onward, Route};

/// Sends everything the same way, which takes packets of up to `mtu` bytes.
#[derive(Clone, Copy, Debug)]
pub struct FixedFib {
    pub mtu: u16,
    pub route: Route,
    pub onward: Onward,
}

impl FixedFib {
    fn answer(&self, len: usize) -> Route {
        match self.route {
            Route::Redirect { .. } | Route::NeedsKernel if len > usize::from(self.mtu) => {
                Route::TooBig { mtu: self.mtu }
            }
            route => route,
        }
    }
}

impl Fib for FixedFib {
    fn route(&self, flow: &Flow) -> Route {
        self.answer(flow.len)
    }

    fn onward(&self) -> Onward {
        self.onward
    }
}
