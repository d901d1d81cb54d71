//! The Debian part of a lock: from package names to exact packages, over verified indexes.
//!
//! Groups are solved one after the other, the image first, each in its own right, but no package
//! gets two versions. Invariants: nothing here trusts an unsigned byte, and no index is older than
//! the one locked before.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deb, Group, Index, Lock};
use crate::debian::index::{self, IndexError, IndexSource, SuiteIndex, TRIXIE};
use crate::debian::keyring::Keyring;
use crate::debian::packages::{self, PackagesError};
use crate::debian::solve::{self, Archive, PackageId, SolveError, Wanted};

/// The Debian part of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebLock {
    /// The indexes it was made from, sorted by suite.
    pub indexes: Vec<Index>,
    /// The packages, sorted by name.
    pub debs: Vec<Deb>,
}

/// Which packages may leave the version they are locked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UpdateSet {
    /// None, as far as their versions are still to be had and fit.
    #[default]
    None,
    /// All.
    All,
    /// These.
    Names(BTreeSet<String>),
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum DebLockError {
    /// No trustworthy index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A signed index that cannot be read.
    #[error("reading the package index of '{suite}'")]
    Packages {
        /// Codename.
        suite: String,
        /// Why.
        #[source]
        error: PackagesError,
    },
    /// Suites that cannot be used together.
    #[error("merging the package indexes")]
    Merging(#[source] SolveError),
    /// No packages for a group.
    #[error("solving the Debian packages of the group '{}'", show(*.group))]
    Solve {
        /// Whose packages.
        group: Group,
        /// Why.
        #[source]
        error: SolveError,
    },
}

const fn show(group: Group) -> &'static str {
    match group {
        Group::Image => "image",
        Group::Build => "build",
        Group::Vm => "vm",
    }
}

impl UpdateSet {
    /// Whether an input is to be updated by its name.
    pub(super) fn names(&self, name: &str) -> bool {
        matches!(self, Self::Names(names) if names.contains(name))
    }

    /// Whether an input stays as it is locked.
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::None => true,
            Self::All => false,
            Self::Names(names) => !names.contains(name),
        }
    }
}

/// Resolves `request` over the indexes of trixie, signed by keys of `keyring`, at the time `now`
/// (seconds since 1970). What `previous` locked stays as it is, where `update` does not say
/// otherwise.
pub fn resolve(
    keyring: &Keyring,
    request: &BTreeMap<Group, BTreeSet<String>>,
    previous: Option<&Lock>,
    update: &UpdateSet,
    source: &dyn IndexSource,
    now: i64,
) -> Result<DebLock, DebLockError> {
    let suites = fetch_suites(keyring, previous, source, now)?;
    let mut parsed = Vec::new();
    for suite in &suites {
        let packages = packages::parse(&suite.packages).map_err(|error| {
            DebLockError::Packages { suite: suite.suite.name.to_owned(), error }
        })?;
        parsed.push((suite.suite.archive, packages));
    }
    let archive = Archive::new(parsed).map_err(DebLockError::Merging)?;
    let debs = solve_groups(&archive, request, previous, update)?;
    let mut indexes: Vec<Index> = suites.iter().map(record).collect();
    indexes.sort_by(|a, b| a.suite.cmp(&b.suite));
    Ok(DebLock { indexes, debs })
}

/// Debian makes a point release every two months or so, and its main index has no end of validity: an archive can show an old
/// one for ever.
const QUIET: i64 = 100 * 86_400;

/// Words about each index that is so old that somebody may be holding newer ones back. `now`: seconds since 1970.
pub fn aged(lock: &Lock, now: i64) -> Vec<String> {
    let old = |index: &&Index| now.saturating_sub(index.date) > QUIET;
    let words = |index: &Index| {
        let days = now.saturating_sub(index.date) / 86_400;
        format!(
            "the index of '{}' was made {days} days ago; Debian makes new ones more often, so this archive may be stale or \
             withhold updates: compare with another one",
            index.suite
        )
    };
    lock.indexes.iter().filter(old).map(words).collect()
}

fn record(index: &SuiteIndex) -> Index {
    Index { suite: index.suite.name.to_owned(), date: index.date, digest: index.digest }
}

fn fetch_suites(
    keyring: &Keyring,
    previous: Option<&Lock>,
    source: &dyn IndexSource,
    now: i64,
) -> Result<Vec<SuiteIndex>, DebLockError> {
    let locked = |name: &str| {
        previous?.indexes.iter().find(|index| index.suite == name).map(|index| index.date)
    };
    let fetch = |suite: index::Suite| index::fetch(suite, source, keyring, now, locked(suite.name));
    TRIXIE.into_iter().map(fetch).collect::<Result<_, _>>().map_err(DebLockError::from)
}

fn solve_groups(
    archive: &Archive<'_>,
    request: &BTreeMap<Group, BTreeSet<String>>,
    previous: Option<&Lock>,
    update: &UpdateSet,
) -> Result<Vec<Deb>, DebLockError> {
    // What is to be updated takes along what is tied to it by exact versions, although that is to stay. If the newest
    // version fits in no way, the newest that does is as good as it gets.
    if let UpdateSet::Names(names) = update
        && let Ok(debs) = solve_all(archive, request, previous, update, names)
    {
        return Ok(debs);
    }
    solve_all(archive, request, previous, update, &BTreeSet::new())
}

fn solve_all(
    archive: &Archive<'_>,
    request: &BTreeMap<Group, BTreeSet<String>>,
    previous: Option<&Lock>,
    update: &UpdateSet,
    newest: &BTreeSet<String>,
) -> Result<Vec<Deb>, DebLockError> {
    let keep: BTreeMap<String, String> = previous
        .into_iter()
        .flat_map(|lock| &lock.debs)
        .filter(|deb| update.holds(&deb.name))
        .map(|deb| (deb.name.clone(), deb.version.clone()))
        .collect();
    let mut fixed = BTreeMap::new();
    let mut debs: BTreeMap<String, Deb> = BTreeMap::new();
    for (&group, names) in request {
        let essential = group == Group::Image;
        let wanted = Wanted { names, essential, keep: &keep, fixed: &fixed, newest };
        let chosen =
            solve::solve(archive, wanted).map_err(|error| DebLockError::Solve { group, error })?;
        for id in chosen {
            let new = || deb(archive, id);
            let entry = debs.entry(archive.package(id).name.to_owned()).or_insert_with(new);
            entry.groups.insert(group);
        }
        fixed.extend(debs.values().map(|deb| (deb.name.clone(), deb.version.clone())));
    }
    Ok(debs.into_values().collect())
}

fn deb(archive: &Archive<'_>, id: PackageId) -> Deb {
    let package = archive.package(id);
    Deb {
        name: package.name.to_owned(),
        version: package.version.to_string(),
        arch: package.arch.to_owned(),
        archive: archive.source(id),
        path: package.path.to_owned(),
        size: package.size,
        digest: package.digest,
        groups: BTreeSet::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
