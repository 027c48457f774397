//! Connections as two admins make them: `meshctl` before real daemons in network namespaces, with traffic. Needs root.

mod exchange;
mod from_liqo;
mod objects;
mod pair;
mod sequences;
