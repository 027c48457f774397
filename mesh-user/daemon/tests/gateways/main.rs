//! Gateway servers and clients as real daemons run them: where they listen, what they tell, whom they call. Needs root.

mod candidates;
mod examples;
mod life;
mod nat;
mod service_types;
mod site;
mod spoofing;
