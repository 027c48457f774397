//! `meshctl ng` before a real daemon: what each verb does to the groups, prints and ends with. Needs root.

mod contexts;
mod from_clever;
mod hub;
mod manifests;
mod node;
mod session;
mod verbs;
mod watch;
