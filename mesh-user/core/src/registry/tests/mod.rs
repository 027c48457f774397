//! What commands do to a registry, noun by noun.

mod access;
mod declaring;
mod finding;
mod groups;
mod leases;
mod members;
mod objects;
mod peers;
mod random;
