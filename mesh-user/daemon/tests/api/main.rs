//! The API of a daemon that runs: requests, refusals, roles, streams, and its description. Needs root.

mod description;
mod kills;
mod refusals;
mod requests;
mod roles;
mod schemathesis;
mod site;
mod streams;
