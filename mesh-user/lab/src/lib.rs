//! Network namespaces, real programs in them, traffic between them and sniffers beside them: what the demo, the end-to-end
//! tests and the benches share.
//!
//! Everything made here carries the prefix `mesh-` and the process id of its maker, is removed when dropped, and is swept by
//! the next [`Lab`] if its maker was killed. Nothing here judges packets or knows how the daemon works inside.

pub mod demo;
pub mod interrupt;
mod lab;
pub mod link;
mod namespace;
pub mod node;
pub mod pass_xdp;
pub mod pins;
pub mod process;
pub mod snapshot;
pub mod sniff;
pub mod status;
pub mod traffic;
pub mod wireguard;

pub use lab::Lab;
pub use namespace::Namespace;
