//! What a remote cluster says of its prefixes, and optionally what the mesh calls them.

use ipnet::IpNet;

use super::{
    cluster_id::ClusterId,
    document::{Document, Place},
    prefix,
    problem::Problems,
    tree::Fields,
};

/// A `Configuration` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub place: Place,
    pub remote: ClusterId,
    /// Real prefixes of the remote cluster.
    pub real: Prefixes,
    /// Mesh-wide presented prefixes, index-aligned with the real ones; `None`: this cluster chooses its own names.
    pub presented: Option<MeshWide>,
    /// Our own prefixes as the author believes them to be.
    pub local: Option<Prefixes>,
}

/// Prefixes of one cluster, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    pub pod: Vec<IpNet>,
    pub external: Vec<IpNet>,
}

/// What the whole mesh calls both clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshWide {
    /// `None`: what the settings say.
    pub local: Option<Prefixes>,
    pub remote: Prefixes,
}

impl Prefixes {
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.pod.iter().chain(&self.external)
    }

    pub fn has_v6(&self) -> bool {
        self.iter().any(|net| matches!(net, IpNet::V6(_)))
    }

    /// Pairs with the prefix at the same place of `other`.
    pub fn zip<'a>(&'a self, other: &'a Prefixes) -> impl Iterator<Item = (&'a IpNet, &'a IpNet)> {
        self.pod.iter().zip(&other.pod).chain(self.external.iter().zip(&other.external))
    }

    /// Pod and external prefixes that lie in each other.
    fn overlaps(&self) -> impl Iterator<Item = (&IpNet, &IpNet)> {
        let pairs = self.pod.iter().flat_map(|pod| self.external.iter().map(move |external| (pod, external)));
        pairs.filter(|(pod, external)| prefix::overlap(pod, external))
    }

    /// Why these cannot be other names of `real`, index by index: the field and what is wrong with it.
    pub(crate) fn misaligned(&self, real: &Prefixes) -> Option<(&'static str, String)> {
        [("pod", &self.pod, &real.pod), ("external", &self.external, &real.external)].into_iter().find_map(
            |(field, ours, theirs)| {
                if ours.len() != theirs.len() {
                    return Some((field, format!("{} prefixes for {} real ones", ours.len(), theirs.len())));
                }
                let (ours, theirs) = ours.iter().zip(theirs).find(|(a, b)| !same_size(a, b))?;
                Some((field, format!("{ours} and the real prefix {theirs} differ in length")))
            },
        )
    }
}

impl Configuration {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<Configuration> {
        document.spec(problems, |spec| {
            let mut remote = spec.required_section("remote")?;
            let real = remote.required_section("cidr").map(prefixes)?;
            if real.pod.is_empty() {
                remote.report("cidr.pod", "no pod CIDR", "give the pod CIDR of the remote cluster");
            }
            for (pod, external) in real.overlaps() {
                let message = format!("{external} overlaps the pod CIDR {pod}");
                remote.report("cidr.external", message, "give each cluster prefixes that are its own");
            }
            let remote_presented = remote.section("presented").map(prefixes);
            remote.finish();
            let mut local = spec.section("local");
            let local_real = local.as_mut().and_then(|local| local.section("cidr")).map(prefixes);
            let local_presented = local.as_mut().and_then(|local| local.section("presented")).map(prefixes);
            if let Some(local) = local {
                local.finish();
            }
            if let Some((field, message)) = remote_presented.as_ref().and_then(|p| p.misaligned(&real)) {
                spec.report(&format!("remote.presented.{field}"), message, "give one of the same length for each");
            }
            let presented = match (local_presented, remote_presented) {
                (local, Some(remote)) => Some(MeshWide { local, remote }),
                (None, None) => None,
                (Some(_), None) => {
                    spec.report("remote.presented", "missing beside local.presented", "give both or none");
                    None
                }
            };
            let (place, remote) = (document.place.clone(), document.remote.clone()?);
            Some(Configuration { place, remote, real, presented, local: local_real })
        })
    }
}

fn prefixes(mut fields: Fields<'_>) -> Prefixes {
    let prefixes = Prefixes { pod: fields.cidrs("pod"), external: fields.cidrs("external") };
    fields.finish();
    prefixes
}

fn same_size(a: &IpNet, b: &IpNet) -> bool {
    a.prefix_len() == b.prefix_len() && a.max_prefix_len() == b.max_prefix_len()
}
