//! Network groups as a whole: real daemons in network namespaces, one of them the hub, real traffic between their members.
//! Needs root.

mod access;
mod churn;
mod instances;
mod joins;
mod leases;
mod reach;
mod restarts;
mod site;
mod told;
