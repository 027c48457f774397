//! A prefix that the operator reserves for itself: nothing that is given out overlaps it.

use ipnet::IpNet;

use super::{
    document::{Document, Place},
    object::ObjectId,
    problem::Problems,
    tree::Fields,
};

/// A `Network` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub place: Place,
    pub id: ObjectId,
    /// What is wished for; what is reserved may be another of the same length.
    pub cidr: IpNet,
}

impl Network {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<Network> {
        document.spec(problems, |spec| {
            spec.ignore(&["notMapped"]);
            let cidr = one_cidr(spec)?;
            Some(Network { place: document.place.clone(), id: document.id.clone(), cidr })
        })
    }
}

fn one_cidr(spec: &mut Fields<'_>) -> Option<IpNet> {
    if spec.is_absent("cidr") {
        spec.ignore(&["cidr"]);
        spec.report("cidr", "missing", "give the prefix that is wanted, such as 10.50.0.0/16");
        return None;
    }
    let cidrs = spec.cidrs("cidr");
    if cidrs.len() > 1 {
        spec.report("cidr", "more than one prefix", "make a Network of each");
    }
    cidrs.first().copied().filter(|_| cidrs.len() == 1)
}
