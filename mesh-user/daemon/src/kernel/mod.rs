//! The smallest wrappers over the operating system; all unsafe code of this crate lives here.

pub mod bpf;
pub mod bpf_counters;
pub mod bpf_links;
pub mod bpf_log;
pub mod gso;
pub mod link_watch;
pub mod netlink;
pub mod netlink_address;
pub mod netlink_neighbour;
pub mod netlink_route;
pub mod netns;
pub mod privileges;
pub mod slot_map;
pub mod steering;
pub mod sysctl;
pub mod tun;
pub mod tun_device;
pub mod udp;
pub mod xdp_features;
