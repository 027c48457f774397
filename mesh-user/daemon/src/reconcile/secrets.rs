//! Which key pair a tunnel proves itself with: the node's own, or that of a secret that its gateway names.

use anyhow::Result;
use mesh_core::{
    plan::{Plan, PublicKey},
    tunnel::StaticSecret,
};
use std::collections::BTreeMap;

use super::World;
use crate::keys;

impl World {
    /// Makes the key pairs that gateways of the plan name, so that their public halves can be told before there is a tunnel.
    pub fn load_secrets(&mut self, plan: &Plan) -> Result<()> {
        for name in plan.gateways.values().filter_map(|gateway| gateway.secret.as_deref()) {
            self.secret_of(Some(name))?;
        }
        Ok(())
    }

    /// The public halves of all that were loaded, by the names of the secrets.
    pub fn public_keys(&self) -> BTreeMap<String, PublicKey> {
        self.secrets.iter().map(|(name, secret)| (name.clone(), secret.public_key())).collect()
    }

    pub(super) fn secret_of(&mut self, name: Option<&str>) -> Result<StaticSecret> {
        let Some(name) = name else { return Ok(self.secret.clone()) };
        if let Some(known) = self.secrets.get(name) {
            return Ok(known.clone());
        }
        let secret = StaticSecret::from_bytes(keys::load_or_create(&self.state.secret_file(name)?)?);
        self.secrets.insert(name.to_owned(), secret.clone());
        Ok(secret)
    }
}
