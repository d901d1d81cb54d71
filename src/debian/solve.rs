//! Which packages a system needs: names asked for and everything they depend on, free of conflicts.
//!
//! `Archive` holds all packages of all suites by name and by what they provide; `universe` turns
//! what can be reached from the names asked for into plain sets; `resolvo` (a SAT solver) chooses.
//! Recommends and Suggests are ignored. As with apt, the newest version and the first alternative
//! win where both are possible. Invariant: the same archive and request give the same answer.

mod archive;
mod provider;
mod suggest;
mod universe;

use std::collections::{BTreeMap, BTreeSet};

use super::relation::RelationError;

pub use archive::{Archive, PackageId};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Package names.
    pub names: &'a BTreeSet<String>,
    /// All `Essential: yes` packages too, as every system has them.
    pub essential: bool,
    /// Versions to stay at where possible, by name.
    pub keep: &'a BTreeMap<String, String>,
    /// Versions that are settled, by name: no other is considered.
    pub fixed: &'a BTreeMap<String, String>,
    /// Names of which only the newest version is considered, unless another is settled.
    pub newest: &'a BTreeSet<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// Names that no package has.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unknown(Vec<UnknownName>),
    /// The same version of a package with different contents.
    #[error(
        "{name} {version} is in the archive twice, with different contents; use another archive"
    )]
    Ambiguous {
        /// Package.
        name: String,
        /// Version.
        version: String,
    },
    /// A relation that cannot be read.
    #[error("reading the {field} of {name} {version}")]
    Relation {
        /// Package.
        name: String,
        /// Version.
        version: String,
        /// Which field.
        field: &'static str,
        /// Why.
        #[source]
        error: RelationError,
    },
    /// No choice of versions fits all.
    #[error("these packages do not fit together:\n{0}")]
    Unsatisfiable(String),
}

/// A name that no package has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// As it was asked for.
    pub name: String,
    /// Packages that provide it, else names like it.
    pub instead: Vec<String>,
    /// `instead` are packages that provide it.
    pub is_virtual: bool,
}

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, instead) = (self.name.escape_debug(), self.instead.join(", "));
        match (self.instead.is_empty(), self.is_virtual) {
            (true, _) => write!(f, "there is no package '{name}'"),
            (_, true) => {
                write!(f, "'{name}' is a virtual package; name one that provides it: {instead}")
            }
            _ => write!(f, "there is no package '{name}'; did you mean {instead}?"),
        }
    }
}

/// Chooses the packages for `wanted`, sorted by name.
pub fn solve(archive: &Archive<'_>, wanted: Wanted<'_>) -> Result<Vec<PackageId>, SolveError> {
    let unknown: Vec<_> = (wanted.names.iter())
        .filter(|name| archive.versions(name).is_empty())
        .map(|name| suggest::unknown(archive, name))
        .collect();
    if !unknown.is_empty() {
        return Err(SolveError::Unknown(unknown));
    }
    let essential = archive.essential_names().filter(|_| wanted.essential);
    let roots: BTreeSet<&str> = wanted.names.iter().map(String::as_str).chain(essential).collect();
    let universe = universe::Universe::reach(archive, wanted, &roots)?;
    let mut chosen = provider::choose(universe).map_err(SolveError::Unsatisfiable)?;
    chosen.sort_unstable_by_key(|&id| archive.package(id).name);
    Ok(chosen)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
