//! Clusters with several gateway nodes, and what connections go through over time: real daemons in network namespaces, real
//! traffic between their pods. Needs root.

mod iperf;
mod site;
mod takeover;
