//! What the tables of the file hold, and how a transaction changes them.

use std::{collections::BTreeSet, time::Duration};

use mesh_core::registry::Revision;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};

use crate::store::{Committed, LeaseId, Listing, Outcome, StoreError, StoredEntry, Transaction};

/// Version of these tables. Another one is another meaning, and is not opened.
pub(super) const SCHEMA: u64 = 1;
/// Changes in one page of history, but for a revision that has more by itself.
const PAGE: usize = 1_000;

/// Numbers by name: see the constants below.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const VERSION: &str = "schema";
const REVISION: &str = "revision";
/// The history holds what is after this revision.
const COMPACTED: &str = "compacted";
const LAST_LEASE: &str = "lease";

/// Key: revision of the last put, lease (0: none), value.
const ENTRIES: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");
/// Revision and place in it: what changed.
const HISTORY: TableDefinition<'_, (u64, u32), Changed<'_>> = TableDefinition::new("history");
/// Lease: milliseconds that it lasts.
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");
/// What is put with a lease.
const LEASED: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("leased");

/// Key, and value or `None` if it was deleted.
type Changed<'a> = (&'a str, Option<&'a [u8]>);

/// Part of the history: everything below a prefix after one revision and up to `through`.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) commits: Vec<Committed>,
    pub(super) through: Revision,
}

/// The tables in a transaction that writes.
pub(super) struct Tables<'a> {
    numbers: Table<'a, &'static str, u64>,
    entries: Table<'a, &'static str, (u64, u64, &'static [u8])>,
    history: Table<'a, (u64, u32), Changed<'static>>,
    leases: Table<'a, u64, u64>,
    leased: Table<'a, (u64, &'static str), ()>,
    /// Changes that the history keeps.
    kept: u64,
}

/// What goes wrong in the file, as opposed to what is asked of it.
pub(super) type Failed = redb::Error;

/// The empty tables of a new file.
pub(super) fn make(database: &Database) -> Result<(), Failed> {
    let writing = database.begin_write()?;
    Tables::open(&writing, 0)?.numbers.insert(VERSION, SCHEMA)?;
    Ok(writing.commit()?)
}

/// The version of the tables, once all of them can be opened.
pub(super) fn version(database: &Database) -> Result<u64, Failed> {
    let reading = database.begin_read()?;
    let version = number(&reading, VERSION)?;
    if version == SCHEMA {
        reading.open_table(ENTRIES)?;
        reading.open_table(HISTORY)?;
        reading.open_table(LEASES)?;
        reading.open_table(LEASED)?;
    }
    Ok(version)
}

pub(super) fn revision(reading: &ReadTransaction) -> Result<Revision, Failed> {
    number(reading, REVISION).map(Revision)
}

pub(super) fn list(reading: &ReadTransaction, prefix: &str) -> Result<Listing, Failed> {
    let mut listing = Listing { revision: revision(reading)?, entries: Vec::new() };
    for entry in reading.open_table(ENTRIES)?.range(prefix..)? {
        let (key, value) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        let (modified, _, value) = value.value();
        let (key, value) = (key.value().to_owned(), value.to_vec());
        listing.entries.push(StoredEntry { key, value, modified: Revision(modified) });
    }
    Ok(listing)
}

pub(super) fn history(
    reading: &ReadTransaction,
    prefix: &str,
    after: Revision,
) -> Result<Result<Page, StoreError>, Failed> {
    let (last, compacted) = (revision(reading)?, Revision(number(reading, COMPACTED)?));
    if after < compacted || after > last {
        return Ok(Err(StoreError::Compacted(compacted)));
    }
    let mut page = Page { commits: Vec::new(), through: last };
    let mut seen = after;
    for (count, row) in reading.open_table(HISTORY)?.range((after.0 + 1, 0)..)?.enumerate() {
        let (at, change) = row?;
        let revision = Revision(at.value().0);
        if count >= PAGE && revision > seen {
            page.through = seen;
            break;
        }
        seen = revision;
        let (key, value) = change.value();
        if !key.starts_with(prefix) {
            continue;
        }
        let change = (key.to_owned(), value.map(<[u8]>::to_vec));
        match page.commits.last_mut().filter(|last| last.revision == revision) {
            Some(commit) => commit.changes.push(change),
            None => page.commits.push(Committed { revision, changes: vec![change] }),
        }
    }
    Ok(Ok(page))
}

pub(super) fn leases(reading: &ReadTransaction) -> Result<Vec<(LeaseId, Duration)>, Failed> {
    let mut leases = Vec::new();
    for lease in reading.open_table(LEASES)?.iter()? {
        let (id, ttl) = lease?;
        leases.push((LeaseId(id.value()), Duration::from_millis(ttl.value())));
    }
    Ok(leases)
}

fn number(reading: &ReadTransaction, name: &str) -> Result<u64, Failed> {
    Ok(reading.open_table(NUMBERS)?.get(name)?.map(|number| number.value()).unwrap_or_default())
}

impl<'a> Tables<'a> {
    pub(super) fn open(writing: &'a WriteTransaction, kept: u64) -> Result<Self, Failed> {
        Ok(Tables {
            numbers: writing.open_table(NUMBERS)?,
            entries: writing.open_table(ENTRIES)?,
            history: writing.open_table(HISTORY)?,
            leases: writing.open_table(LEASES)?,
            leased: writing.open_table(LEASED)?,
            kept,
        })
    }

    pub(super) fn revision(&self) -> Result<Revision, Failed> {
        self.number(REVISION).map(Revision)
    }

    /// The whole transaction, or nothing of it. Without effect it has no revision of its own.
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<Result<Outcome, StoreError>, Failed> {
        if let Some(key) = twice(transaction) {
            return Ok(Err(StoreError::Twice(key.to_owned())));
        }
        for lease in transaction.puts.iter().filter_map(|put| put.lease) {
            if self.leases.get(lease.0)?.is_none() {
                return Ok(Err(StoreError::NoLease(lease)));
            }
        }
        for condition in &transaction.conditions {
            let modified = self.entries.get(condition.key.as_str())?.map(|entry| Revision(entry.value().0));
            if modified != condition.modified {
                return Ok(Ok(Outcome::Changed));
            }
        }
        let revision = self.revision()?.0 + 1;
        let mut place = 0;
        for put in &transaction.puts {
            self.detach(&put.key)?;
            let lease = put.lease.map_or(0, |lease| lease.0);
            self.entries.insert(put.key.as_str(), (revision, lease, put.value.as_slice()))?;
            if lease != 0 {
                self.leased.insert((lease, put.key.as_str()), ())?;
            }
            self.note(revision, &mut place, &put.key, Some(&put.value))?;
        }
        for key in &transaction.deletes {
            self.delete(revision, &mut place, key)?;
        }
        Ok(Ok(Outcome::Committed(self.end(revision, place)?)))
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> Result<LeaseId, Failed> {
        let lease = self.number(LAST_LEASE)? + 1;
        self.numbers.insert(LAST_LEASE, lease)?;
        self.leases.insert(lease, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))?;
        Ok(LeaseId(lease))
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<Result<(), StoreError>, Failed> {
        if self.leases.remove(lease.0)?.is_none() {
            return Ok(Err(StoreError::NoLease(lease)));
        }
        let mut keys = Vec::new();
        for leased in self.leased.range((lease.0, "")..(lease.0 + 1, ""))? {
            keys.push(leased?.0.value().1.to_owned());
        }
        let revision = self.revision()?.0 + 1;
        let mut place = 0;
        for key in &keys {
            self.delete(revision, &mut place, key)?;
        }
        self.end(revision, place)?;
        Ok(Ok(()))
    }

    fn delete(&mut self, revision: u64, place: &mut u32, key: &str) -> Result<(), Failed> {
        self.detach(key)?;
        if self.entries.remove(key)?.is_some() {
            self.note(revision, place, key, None)?;
        }
        Ok(())
    }

    /// The key is no longer of the lease that it was put with.
    fn detach(&mut self, key: &str) -> Result<(), Failed> {
        let lease = self.entries.get(key)?.map_or(0, |entry| entry.value().1);
        if lease != 0 {
            self.leased.remove((lease, key))?;
        }
        Ok(())
    }

    fn note(&mut self, revision: u64, place: &mut u32, key: &str, value: Option<&[u8]>) -> Result<(), Failed> {
        self.history.insert((revision, *place), (key, value))?;
        *place += 1;
        Ok(())
    }

    /// `changes` were noted for `revision`: it is the newest now, unless there were none.
    fn end(&mut self, revision: u64, changes: u32) -> Result<Revision, Failed> {
        if changes == 0 {
            return self.revision();
        }
        self.numbers.insert(REVISION, revision)?;
        self.compact(revision)?;
        Ok(Revision(revision))
    }

    /// Drops the oldest revisions while there are more changes than are kept. The newest one stays.
    fn compact(&mut self, newest: u64) -> Result<(), Failed> {
        let mut compacted = None;
        while self.history.len()? > self.kept {
            let oldest = self.history.first()?.map(|(at, _)| at.value().0);
            let Some(oldest) = oldest.filter(|oldest| *oldest < newest) else { break };
            self.history.retain_in((oldest, 0)..(oldest + 1, 0), |_, _| false)?;
            compacted = Some(oldest);
        }
        if let Some(compacted) = compacted {
            self.numbers.insert(COMPACTED, compacted)?;
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<u64, Failed> {
        Ok(self.numbers.get(name)?.map(|number| number.value()).unwrap_or_default())
    }
}

/// A key that the transaction changes more than once.
fn twice(transaction: &Transaction) -> Option<&str> {
    let mut keys = BTreeSet::new();
    let mut changed = transaction.puts.iter().map(|put| &put.key).chain(&transaction.deletes);
    changed.find(|key| !keys.insert(key.as_str())).map(String::as_str)
}
