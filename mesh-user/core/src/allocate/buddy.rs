//! Which block of a pool is given out next.
//!
//! A buddy tree that is never stored: a block is *split* exactly when something used lies strictly inside it. The exact
//! wish is granted if it is free; else the first free block of the same size, pools in order, depth-first, left half
//! first unless only the right half is already split; a preferred half that is full falls to the other.

use ipnet::IpNet;

/// A block as long as `wish` in one of the `pools`, free of everything in `used`.
pub(super) fn find(pools: &[IpNet], used: &[IpNet], wish: &IpNet) -> Option<IpNet> {
    let in_pool = pools.iter().any(|pool| pool.contains(wish));
    if in_pool && is_free(used, wish) {
        return Some(*wish);
    }
    let same_family = pools.iter().filter(|pool| pool.max_prefix_len() == wish.max_prefix_len());
    same_family.into_iter().find_map(|pool| descend(pool, used, wish.prefix_len()))
}

/// Nothing used lies in it or around it.
pub(super) fn is_free(used: &[IpNet], net: &IpNet) -> bool {
    !used.iter().any(|other| other.contains(net) || net.contains(other))
}

fn descend(block: &IpNet, used: &[IpNet], len: u8) -> Option<IpNet> {
    if block.prefix_len() > len || used.iter().any(|other| other.contains(block)) {
        return None;
    }
    let inside: Vec<IpNet> = used.iter().filter(|other| block.contains(*other)).copied().collect();
    if inside.is_empty() {
        return IpNet::new(block.network(), len).ok();
    }
    let halves = block.subnets(block.prefix_len() + 1).ok()?;
    let mut halves: Vec<IpNet> = halves.collect();
    let is_split = |half: &IpNet| inside.iter().any(|other| half.contains(other) && half != other);
    if let [left, right] = halves.as_slice()
        && !is_split(left)
        && is_split(right)
    {
        halves.reverse();
    }
    halves.iter().find_map(|half| descend(half, &inside, len))
}
