//! Everything reachable from the names asked for, as sets of concrete packages: what a SAT solver
//! understands.
//!
//! A virtual package is replaced by its providers, a version relation by the versions that satisfy
//! it, a conflict by the set of versions it leaves. Invariant: every package in a set is one of
//! `names[..].candidates`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::archive::relation_error;
use super::{Archive, PackageId, SolveError, Wanted};
use crate::debian::relation::{ArchQualifier, OrGroup, Relation, parse_field};

/// Packages of one name, and how the set came to be.
pub(super) struct Set {
    pub name: usize,
    pub members: Vec<PackageId>,
    pub label: String,
}

pub(super) struct Name<'a> {
    pub text: &'a str,
    /// The one to prefer first.
    pub candidates: Vec<PackageId>,
}

/// What one package asks of others.
#[derive(Default)]
pub(super) struct Demands {
    /// Each: sets of which one must have a chosen member, preferred first.
    pub needs: Vec<Vec<usize>>,
    /// Sets outside of which nothing of their name may be chosen.
    pub limits: Vec<usize>,
}

pub(super) struct Universe<'s, 'a> {
    pub archive: &'s Archive<'a>,
    pub names: Vec<Name<'s>>,
    pub sets: Vec<Set>,
    /// What the request itself needs.
    pub roots: Vec<Vec<usize>>,
    pub demands: HashMap<PackageId, Demands>,
    wanted: Wanted<'s>,
    name_ids: HashMap<&'s str, usize>,
    set_ids: HashMap<(usize, Vec<PackageId>, String), usize>,
    /// Packages found whose own needs are not yet read.
    open: Vec<PackageId>,
}

impl<'s, 'a> Universe<'s, 'a> {
    /// Follows all needs from `roots`, in all alternatives.
    pub fn reach(
        archive: &'s Archive<'a>,
        wanted: Wanted<'s>,
        roots: &BTreeSet<&'s str>,
    ) -> Result<Self, SolveError> {
        let mut new = Self {
            archive,
            names: Vec::new(),
            sets: Vec::new(),
            roots: Vec::new(),
            demands: HashMap::new(),
            wanted,
            name_ids: HashMap::new(),
            set_ids: HashMap::new(),
            open: Vec::new(),
        };
        for &name in roots {
            let members = new.permitted(archive.versions(name).to_vec());
            let set = new.set(name, members, "(asked for)".to_owned());
            new.roots.push(vec![set]);
        }
        while let Some(id) = new.open.pop() {
            if !new.demands.contains_key(&id) {
                let needs = new.needs(id)?;
                new.demands.insert(id, Demands { needs, limits: Vec::new() });
            }
        }
        new.limit()?;
        Ok(new)
    }

    fn needs(&mut self, id: PackageId) -> Result<Vec<Vec<usize>>, SolveError> {
        let mut needs = Vec::new();
        let package = self.archive.package(id);
        for (field, text) in [("Pre-Depends", package.pre_depends), ("Depends", package.depends)] {
            let groups =
                parse_field(text).map_err(|error| relation_error(package, field, error))?;
            needs.extend(groups.iter().map(|group| self.alternatives(group)));
        }
        Ok(needs)
    }

    fn alternatives(&mut self, group: &OrGroup<'s>) -> Vec<usize> {
        let mut sets = Vec::new();
        for relation in group {
            let direct = self.permitted(self.archive.direct(relation));
            let indirect = self.permitted(self.archive.indirect(relation));
            if !direct.is_empty() || indirect.is_empty() {
                sets.push(self.set(relation.name, direct, requirement(relation)));
            }
            let mut by_name: Vec<(&'s str, Vec<PackageId>)> = Vec::new();
            for id in indirect {
                let name = self.archive.package(id).name;
                match by_name.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, ids)) => ids.push(id),
                    None => by_name.push((name, vec![id])),
                }
            }
            for (name, ids) in by_name {
                sets.push(self.set(name, ids, format!("(as {relation})")));
            }
        }
        sets
    }

    /// Without versions that another choice has ruled out already.
    fn permitted(&self, mut ids: Vec<PackageId>) -> Vec<PackageId> {
        ids.retain(|&id| {
            let package = self.archive.package(id);
            match self.wanted.fixed.get(package.name) {
                Some(version) => version == package.version.as_str(),
                None if self.wanted.newest.contains(package.name) => {
                    self.archive.versions(package.name).first() == Some(&id)
                }
                None => true,
            }
        });
        ids
    }

    fn name(&mut self, text: &'s str) -> usize {
        let (archive, wanted, next) = (self.archive, self.wanted, self.names.len());
        if let Some(&known) = self.name_ids.get(text) {
            return known;
        }
        let mut candidates = self.permitted(archive.versions(text).to_vec());
        let kept = wanted.keep.get(text);
        // Stable: newest first, but for the one to stay at.
        candidates.sort_by_key(|&id| {
            kept.is_none_or(|version| version != archive.package(id).version.as_str())
        });
        self.names.push(Name { text, candidates });
        self.name_ids.insert(text, next);
        next
    }

    fn set(&mut self, name: &'s str, members: Vec<PackageId>, label: String) -> usize {
        let name = self.name(name);
        let key = (name, members, label);
        if let Some(&known) = self.set_ids.get(&key) {
            return known;
        }
        self.open.extend(&self.names[name].candidates);
        let set = Set { name, members: key.1.clone(), label: key.2.clone() };
        self.sets.push(set);
        self.set_ids.insert(key, self.sets.len() - 1);
        self.sets.len() - 1
    }

    /// The index in `names` of a package that was reached.
    pub fn name_id(&self, name: &str) -> usize {
        self.name_ids[name]
    }

    /// Adds what conflicts leave, among what was reached.
    fn limit(&mut self) -> Result<(), SolveError> {
        let mut reached: Vec<PackageId> = self.demands.keys().copied().collect();
        reached.sort_unstable();
        for id in reached {
            let package = self.archive.package(id);
            let mut limits = Vec::new();
            for (field, text) in [("Conflicts", package.conflicts), ("Breaks", package.breaks)] {
                let groups =
                    parse_field(text).map_err(|error| relation_error(package, field, error))?;
                for relation in groups.iter().flatten() {
                    limits.extend(self.remains(package.name, field, relation));
                }
            }
            self.demands.entry(id).or_default().limits = limits;
        }
        Ok(())
    }

    /// For each reached name that `relation` of package `owner` hits: the set of those it spares.
    fn remains(&mut self, owner: &str, field: &str, relation: &Relation<'s>) -> Vec<usize> {
        if relation.arch == ArchQualifier::Foreign {
            return Vec::new();
        }
        let hit = [self.archive.direct(relation), self.archive.indirect(relation)].concat();
        let mut by_name: BTreeMap<&'s str, Vec<PackageId>> = BTreeMap::new();
        for id in hit.into_iter().filter(|id| self.demands.contains_key(id)) {
            by_name.entry(self.archive.package(id).name).or_default().push(id);
        }
        // A package may conflict with a name it provides itself: that means "any other".
        by_name.remove(owner);
        let verb = if field == "Breaks" { "broken" } else { "conflicting" };
        let mut sets = Vec::new();
        for (name, hit) in by_name {
            let known = self.name(name);
            let mut spared = self.names[known].candidates.clone();
            spared.retain(|id| !hit.contains(id));
            sets.push(self.set(name, spared, format!("not {verb}: {relation}")));
        }
        sets
    }
}

/// A relation's version as a label of the set it makes.
fn requirement(relation: &Relation<'_>) -> String {
    relation.to_string()[relation.name.len()..].trim_start().to_owned()
}
