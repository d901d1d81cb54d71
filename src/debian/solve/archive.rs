//! All packages of all suites, by name and by what they provide.

use std::collections::HashMap;

use super::SolveError;
use crate::debian::packages::{Package, Priority};
use crate::debian::relation::{ArchQualifier, Relation, RelationError, parse_field};
use crate::debian::version::Version;
use crate::lock::DebArchive;

/// A package's place in an `Archive`.
pub type PackageId = u32;

/// What can be chosen from.
pub struct Archive<'a> {
    packages: Vec<(DebArchive, Package<'a>)>,
    /// Newest first.
    by_name: HashMap<&'a str, Vec<PackageId>>,
    /// With the version that is provided.
    providers: HashMap<&'a str, Vec<(PackageId, Option<Version<'a>>)>>,
}

impl<'a> Archive<'a> {
    /// Merges suites, in the order that decides which of equal packages is taken.
    pub fn new(
        suites: impl IntoIterator<Item = (DebArchive, Vec<Package<'a>>)>,
    ) -> Result<Self, SolveError> {
        let all = suites
            .into_iter()
            .flat_map(|(archive, suite)| suite.into_iter().map(move |package| (archive, package)));
        let mut new =
            Self { packages: Vec::new(), by_name: HashMap::new(), providers: HashMap::new() };
        for (archive, package) in all {
            new.add(archive, package)?;
        }
        for ids in new.by_name.values_mut() {
            let version = |id: &PackageId| new.packages[*id as usize].1.version;
            ids.sort_by(|a, b| version(b).cmp(&version(a)));
        }
        Ok(new)
    }

    fn add(&mut self, archive: DebArchive, package: Package<'a>) -> Result<(), SolveError> {
        let same_name = self.by_name.entry(package.name).or_default();
        let equal = (same_name.iter().map(|&id| &self.packages[id as usize].1))
            .find(|other| other.version == package.version);
        if let Some(other) = equal {
            return match other.digest == package.digest {
                true => Ok(()),
                false => Err(SolveError::Ambiguous {
                    name: package.name.to_owned(),
                    version: package.version.to_string(),
                }),
            };
        }
        let id = self.packages.len() as PackageId;
        same_name.push(id);
        let provides = parse_field(package.provides)
            .map_err(|error| relation_error(&package, "Provides", error))?;
        for relation in provides.into_iter().flatten() {
            let version = relation.version.map(|(_, version)| version);
            self.providers.entry(relation.name).or_default().push((id, version));
        }
        self.packages.push((archive, package));
        Ok(())
    }

    /// The package with this id.
    pub fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id as usize].1
    }

    /// The archive it lies in.
    pub fn source(&self, id: PackageId) -> DebArchive {
        self.packages[id as usize].0
    }

    /// All versions of the package `name`, newest first.
    pub fn versions(&self, name: &str) -> &[PackageId] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// All package names.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.by_name.keys().copied()
    }

    /// Names of packages whose newest version is essential.
    pub fn essential_names(&self) -> impl Iterator<Item = &'a str> {
        let newest = self.by_name.values().filter_map(|ids| ids.first());
        newest.map(|&id| self.package(id)).filter(|p| p.essential).map(|p| p.name)
    }

    /// Versions of the package a relation names that satisfy it, newest first.
    pub(super) fn direct(&self, relation: &Relation<'_>) -> Vec<PackageId> {
        let accepted = |id: &PackageId| relation.accepts(&self.package(*id).version);
        self.versions(relation.name)
            .iter()
            .copied()
            .filter(|id| self.right_arch(*id, relation) && accepted(id))
            .collect()
    }

    /// Packages that satisfy a relation by providing its name: the most needed first, then by name,
    /// newest first.
    pub(super) fn indirect(&self, relation: &Relation<'_>) -> Vec<PackageId> {
        let accepted = |provided: &Option<Version<'_>>| match (provided, relation.version) {
            (_, None) => true,
            (Some(version), Some(_)) => relation.accepts(version),
            (None, Some(_)) => false,
        };
        let mut found: Vec<PackageId> = (self.providers.get(relation.name).into_iter().flatten())
            .filter(|(id, version)| self.right_arch(*id, relation) && accepted(version))
            .map(|&(id, _)| id)
            .collect();
        found.sort_by(|&a, &b| {
            self.rank(a)
                .cmp(&self.rank(b))
                .then_with(|| self.package(b).version.cmp(&self.package(a).version))
        });
        found.dedup();
        found
    }

    fn rank(&self, id: PackageId) -> (Priority, &'a str) {
        let package = self.package(id);
        // Optional and extra mean the same since Policy 4.0.1.
        (package.priority.min(Priority::Optional), package.name)
    }

    fn right_arch(&self, id: PackageId, relation: &Relation<'_>) -> bool {
        match relation.arch {
            ArchQualifier::Native => true,
            ArchQualifier::Any => self.package(id).allows_any_arch,
            ArchQualifier::Foreign => false,
        }
    }
}

pub(super) fn relation_error(
    package: &Package<'_>,
    field: &'static str,
    error: RelationError,
) -> SolveError {
    let (name, version) = (package.name.to_owned(), package.version.to_string());
    SolveError::Relation { name, version, field, error }
}
