//! What commands do to a registry, noun by noun.

mod access;
mod finding;
mod groups;
mod members;
mod peers;
