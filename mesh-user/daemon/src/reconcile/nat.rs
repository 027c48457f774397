//! The nftables table: is it as we made it, and how is it made anew?
//!
//! What nft(8) lists is compared with what it listed right after the table was made: nobody else has changed it then.
//! Without the table nothing passes that should not, since the data path knows no source but ours; so what goes wrong here
//! is told, and stops nothing else.

use anyhow::{Context as _, Result, bail};
use mesh_core::plan::{NAT_TABLE, Nat, Plan};
use serde::{Deserialize, Serialize};

use super::World;
use crate::kernel::nft;

/// The table that we made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NatRecord {
    nat: Nat,
    /// As it was listed then; empty: nobody saw it yet.
    listed: String,
}

impl World {
    /// The table that is in force, if it is ours; one that somebody changed is none that we know.
    pub(super) fn observe_nat(&mut self, plan: &Plan) -> Option<Nat> {
        self.nat_trouble = None;
        if plan.nat.is_none() && self.record.nat.is_none() {
            return None;
        }
        match nft::listed(NAT_TABLE) {
            Ok(None) => None,
            Ok(Some(listed)) => match &self.record.nat {
                Some(ours) if ours.listed == listed => Some(ours.nat.clone()),
                Some(_) => {
                    tracing::info!("the nftables table {NAT_TABLE} is not as it was made");
                    Some(Nat::default())
                }
                None => None,
            },
            Err(error) => {
                self.nat_trouble = Some(error);
                // What was there may be there still: it is removed as soon as that is possible.
                self.record.nat.as_ref().map(|_| Nat::default())
            }
        }
    }

    /// From now on the table is ours, whatever happens.
    pub(super) fn note_nat(&mut self) {
        self.record.nat.get_or_insert_default();
    }

    pub(super) fn set_nat(&mut self, nat: &Nat) {
        self.nat_trouble = self.try_set_nat(nat).err();
    }

    pub(super) fn remove_nat(&mut self) {
        match nft::remove(NAT_TABLE) {
            Ok(()) => self.record.nat = None,
            Err(error) => self.nat_trouble = Some(error),
        }
    }

    /// Why the table is not in force.
    pub(super) fn nat_trouble(&mut self) -> Result<()> {
        match self.nat_trouble.take() {
            Some(error) => Err(error)
                .context("sources that are no workloads do not reach remotes, nor do masqueraded hosts answer"),
            None => Ok(()),
        }
    }

    fn try_set_nat(&mut self, nat: &Nat) -> Result<()> {
        nft::run(&nat.to_string())?;
        let Some(listed) = nft::listed(NAT_TABLE)? else {
            bail!("the table {NAT_TABLE} is gone right after it was made")
        };
        self.record.nat = Some(NatRecord { nat: nat.clone(), listed });
        Ok(())
    }
}
