//! The Python index as resolvo's solver sees it.

use std::any::Any;
use std::cmp::Reverse;
use std::fmt::{self, Display};

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerEnvironment, PackageName, Requirement, VersionOrUrl};
use resolvo::utils::{Pool, VersionSet};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    Interner, KnownDependencies, NameId, SolvableId, SolverCache, StringId, VersionSetId,
    VersionSetUnionId,
};

use super::index::Index;
use super::metadata;
use crate::fetch::FetchError;
use crate::lock::Wheel;

/// A project, or one extra of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Package {
    project: PackageName,
    extra: Option<ExtraName>,
}

impl Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.extra {
            None => write!(f, "{}", self.project),
            Some(extra) => write!(f, "{}[{extra}]", self.project),
        }
    }
}

/// Versions that will do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Versions {
    Specified(VersionSpecifiers),
    Exactly(Version),
}

impl VersionSet for Versions {
    type V = Version;
}

impl Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Specified(specifiers) if specifiers.is_empty() => f.write_str("(any version)"),
            Self::Specified(specifiers) => write!(f, "{specifiers}"),
            Self::Exactly(version) => write!(f, "=={version}"),
        }
    }
}

impl Versions {
    /// `only_pre`: the package has nothing but pre-releases.
    fn contains(&self, version: &Version, only_pre: bool) -> bool {
        match self {
            Self::Exactly(exact) => exact == version,
            Self::Specified(specifiers) => {
                let asked = specifiers.iter().any(|specifier| specifier.any_prerelease());
                let stable = !version.any_prerelease() || asked || only_pre;
                stable && specifiers.contains(version)
            }
        }
    }
}

/// Answers the solver's questions.
pub(super) struct Provider<'a> {
    pool: Pool<Versions, Package>,
    index: Index<'a>,
    environment: MarkerEnvironment,
}

impl<'a> Provider<'a> {
    pub(super) fn new(index: Index<'a>) -> Self {
        Self { pool: Pool::new(), index, environment: metadata::environment() }
    }

    pub(super) fn index(&self) -> &Index<'a> {
        &self.index
    }

    fn package(&self, solvable: SolvableId) -> (&Package, &Version) {
        let solvable = self.pool.resolve_solvable(solvable);
        (self.pool.resolve_package_name(solvable.name), &solvable.record)
    }

    /// Adds a requirement, if it holds here: on the project and on each of its extras. `for_extra`:
    /// the extra whose own requirements are being listed.
    pub(super) fn needs(
        &self,
        requirement: &Requirement,
        for_extra: Option<&ExtraName>,
        to: &mut Vec<ConditionalRequirement>,
    ) -> Result<(), String> {
        if !metadata::applies(requirement, &self.environment, for_extra) {
            return Ok(());
        }
        let specifiers = match &requirement.version_or_url {
            None => VersionSpecifiers::empty(),
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.clone(),
            Some(VersionOrUrl::Url(_)) => {
                return Err(format!("it needs an address: {requirement}"));
            }
        };
        let extras = requirement.extras.iter().cloned().map(Some);
        for extra in std::iter::once(None).chain(extras) {
            let versions = Versions::Specified(specifiers.clone());
            self.need(Package { project: requirement.name.clone(), extra }, versions, to);
        }
        Ok(())
    }

    fn need(&self, package: Package, versions: Versions, to: &mut Vec<ConditionalRequirement>) {
        let name = self.pool.intern_package_name(package);
        to.push(self.pool.intern_version_set(name, versions).into());
    }

    /// The requirements of one version; `Err`: why it cannot be used.
    fn dependencies(&self, solvable: SolvableId) -> Result<Vec<ConditionalRequirement>, String> {
        let (package, version) = self.package(solvable);
        let project = package.project.to_string();
        let releases = self.index.releases(&project);
        let release = releases.iter().find(|release| release.version == *version);
        let metadata = self.index.metadata(&project, release.ok_or("it is gone")?)?;
        let mut needs = Vec::new();
        if let Some(extra) = &package.extra {
            if !metadata.extras.contains(&extra.to_string()) {
                return Err(format!("{project} {version} has no extra '{extra}'"));
            }
            let base = Package { project: package.project.clone(), extra: None };
            self.need(base, Versions::Exactly(version.clone()), &mut needs);
        }
        for requirement in &metadata.requires {
            self.needs(requirement, package.extra.as_ref(), &mut needs)?;
        }
        Ok(needs)
    }

    /// The wheels of a solution of `roots`, by name.
    pub(super) fn wheels(
        &self,
        env: &str,
        roots: &[ConditionalRequirement],
        solution: &[SolvableId],
    ) -> Result<Vec<Wheel>, FetchError> {
        let mut asked = roots.to_vec();
        asked.extend(solution.iter().flat_map(|id| self.dependencies(*id)).flatten());
        let mut wheels = Vec::new();
        for (package, version) in solution.iter().map(|solvable| self.package(*solvable)) {
            let project = package.project.to_string();
            let releases = self.index.releases(&project);
            let release = releases.iter().find(|release| release.version == *version);
            if let (Some(release), None) = (release, &package.extra) {
                self.withheld(&project, version, &asked)?;
                wheels.push(self.index.wheel(env, &project, release)?);
            }
        }
        wheels.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(wheels)
    }
}

impl Provider<'_> {
    /// Fails if a version is older than the locked one, though nothing that is `asked` for rules that out: an index may
    /// forget on purpose.
    fn withheld(
        &self,
        project: &str,
        version: &Version,
        asked: &[ConditionalRequirement],
    ) -> Result<(), FetchError> {
        let Some(last) = self.index.locked(project).filter(|last| last > version) else {
            return Ok(());
        };
        if asked.iter().any(|requirement| self.rules_out(requirement, project, &last)) {
            return Ok(());
        }
        let releases = self.index.releases(project);
        let offered = releases.iter().any(|release| release.version == last);
        let (name, place) = (project.to_owned(), self.index.places());
        Err(FetchError::backwards(name, &last, place, version, offered))
    }

    /// Whether a requirement is of a project, and not of this version.
    fn rules_out(
        &self,
        requirement: &ConditionalRequirement,
        project: &str,
        version: &Version,
    ) -> bool {
        let resolvo::Requirement::Single(id) = requirement.requirement else { return false };
        let name = self.pool.resolve_version_set_package_name(id);
        let of_it = self.pool.resolve_package_name(name).project.to_string() == project;
        // That an extra is of the same version as its project says nothing of which that is.
        let versions = self.pool.resolve_version_set(id);
        of_it && matches!(versions, Versions::Specified(_)) && !versions.contains(version, false)
    }
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let (package, version) = self.package(solvable);
        format!("{package} {version}")
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let mut versions: Vec<_> = solvables.iter().map(|id| self.package(*id).1).collect();
        versions.sort();
        let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
        let name = solvables.first().map(|id| self.package(*id).0.to_string());
        let shown = match versions.as_slice() {
            [first, _, _, .., last] => format!("{first} ... {last}"),
            few => few.join(" | "),
        };
        format!("{} {shown}", name.unwrap_or_default())
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.pool.resolve_package_name(name)
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        self.pool.resolve_version_set(version_set)
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.pool.resolve_string(string_id)
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(version_set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let versions = self.pool.resolve_version_set(version_set);
        let only_pre = candidates.iter().all(|id| self.package(*id).1.any_prerelease());
        let fits = |id: &SolvableId| versions.contains(self.package(*id).1, only_pre) != inverse;
        candidates.iter().copied().filter(fits).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let project = self.pool.resolve_package_name(name).project.to_string();
        let releases = self.index.releases(&project);
        let preferred = self.index.preferred(&project);
        let mut all = Candidates::default();
        for release in releases.iter() {
            let solvable = self.pool.intern_solvable(name, release.version.clone());
            all.candidates.push(solvable);
            if preferred.as_ref() == Some(&release.version) {
                all.favored = Some(solvable);
            }
        }
        (!all.candidates.is_empty()).then_some(all)
    }

    async fn sort_candidates(&self, _solver: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables.sort_by_key(|id| Reverse(self.package(*id).1));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.dependencies(solvable) {
            Ok(requirements) => {
                Dependencies::Known(KnownDependencies { requirements, constrains: Vec::new() })
            }
            Err(why) => Dependencies::Unknown(self.pool.intern_string(why)),
        }
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        self.index.has_failed().then(|| Box::new(()) as Box<dyn Any>)
    }
}
