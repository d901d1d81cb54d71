//! Puts a `Universe` to resolvo, and its refusal into words.

use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use super::PackageId;
use super::universe::{Demands, Universe};

/// A solvable is a package, a name a `Name`, a version set a `Set`, by their indexes.
struct Provider<'s, 'a> {
    universe: Universe<'s, 'a>,
    unions: Vec<Vec<usize>>,
    roots: Vec<ConditionalRequirement>,
    dependencies: std::collections::HashMap<PackageId, KnownDependencies>,
}

/// The packages to take, or why none will do.
pub(super) fn choose(universe: Universe<'_, '_>) -> Result<Vec<PackageId>, String> {
    let provider = Provider::new(universe);
    let roots = provider.roots.clone();
    let mut solver = Solver::new(provider);
    match solver.solve(Problem::new().requirements(roots)) {
        Ok(chosen) => Ok(chosen.into_iter().map(SolvableId::into_raw).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let text = conflict.display_user_friendly(&solver).to_string();
            // Our own first line says the same.
            let text = text.trim_start_matches("The following packages are incompatible\n");
            Err(text.trim_end().to_owned())
        }
        // Nothing here cancels; resolvo's type allows for it.
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err("solving was cancelled".to_owned()),
    }
}

impl<'s, 'a> Provider<'s, 'a> {
    fn new(mut universe: Universe<'s, 'a>) -> Self {
        let (roots, demands) =
            (std::mem::take(&mut universe.roots), std::mem::take(&mut universe.demands));
        let mut new = Self {
            universe,
            unions: Vec::new(),
            roots: Vec::new(),
            dependencies: std::collections::HashMap::with_capacity(demands.len()),
        };
        new.roots = roots.into_iter().map(|sets| new.requirement(sets)).collect();
        let mut demands: Vec<(PackageId, Demands)> = demands.into_iter().collect();
        demands.sort_unstable_by_key(|&(id, _)| id);
        for (id, Demands { needs, limits }) in demands {
            let requirements = needs.into_iter().map(|sets| new.requirement(sets)).collect();
            let constrains = limits.into_iter().map(|set| VersionSetId(set as u32)).collect();
            new.dependencies.insert(id, KnownDependencies { requirements, constrains });
        }
        new
    }

    fn requirement(&mut self, sets: Vec<usize>) -> ConditionalRequirement {
        match sets[..] {
            [one] => VersionSetId(one as u32).into(),
            _ => {
                self.unions.push(sets);
                VersionSetUnionId(self.unions.len() as u32 - 1).into()
            }
        }
    }
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let package = self.universe.archive.package(solvable.into_raw());
        format!("{} {}", package.name, package.version)
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let shown = solvables.iter().map(|&id| self.display_solvable(id).to_string());
        shown.collect::<Vec<_>>().join(" | ")
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.universe.names[name.into_raw() as usize].text
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        self.universe.sets[set.0 as usize].label.as_str()
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        ""
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_raw(self.universe.sets[set.0 as usize].name as u32)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        let name = self.universe.archive.package(solvable.into_raw()).name;
        NameId::from_raw(self.universe.name_id(name) as u32)
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.unions[union.0 as usize].iter().map(|&set| VersionSetId(set as u32))
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("no requirement of ours has a condition")
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let members = &self.universe.sets[set.0 as usize].members;
        let chosen = candidates.iter().filter(|id| members.contains(&id.into_raw()) != inverse);
        chosen.copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let ids = &self.universe.names[name.into_raw() as usize].candidates;
        (!ids.is_empty()).then(|| Candidates {
            candidates: ids.iter().copied().map(SolvableId::from_raw).collect(),
            hint_dependencies_available: HintDependenciesAvailable::All,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let Some(&first) = solvables.first() else { return };
        let name = self.solvable_name(first).into_raw() as usize;
        let order = &self.universe.names[name].candidates;
        solvables.sort_by_key(|id| order.iter().position(|&other| other == id.into_raw()));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let known = self.dependencies.get(&solvable.into_raw());
        Dependencies::Known(known.cloned().unwrap_or_default())
    }
}
