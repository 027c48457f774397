//! The smallest wrappers over the operating system; all unsafe code of this crate lives here.

pub mod netlink;
pub mod netlink_address;
pub mod netlink_neighbour;
pub mod netlink_route;
pub mod privileges;
pub mod sysctl;
pub mod tun;
pub mod udp;
