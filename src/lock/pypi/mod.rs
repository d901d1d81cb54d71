//! Resolving Python requirements to wheels for the target, from a PEP 503 index: newest first,
//! wheels only.
//!
//! The solver is resolvo's. An extra is a package of its own, `name[extra]`, that needs `name` in
//! its own version and what the extra adds. A project's pages, and the metadata of a version it
//! tries, are got when the solver first asks for them: by PEP 658 where the index has it, else from
//! the wheel itself, which lies in the store then, as it must in the end.

mod index;
pub(crate) mod metadata;
mod solve;
pub(crate) mod wheel;

use std::collections::{BTreeMap, BTreeSet};

use pep508_rs::{Requirement, VersionOrUrl};
use resolvo::{ConditionalRequirement, Problem, Solver, UnsolvableOrCancelled};

use super::Wheel;
use super::online::Online;
use crate::fetch::FetchError;
use index::Index;
use solve::Provider;

/// Requirements that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum PypiError {
    /// A requirement is not one, or asks for what is not supported.
    #[error("resolving the Python environment {env}: requirement '{text}': {why}")]
    Requirement {
        /// The environment.
        env: String,
        /// The requirement.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No set of versions satisfies all.
    #[error("resolving the Python environment {env}: no versions fit together\n{why}")]
    Conflict {
        /// The environment.
        env: String,
        /// The solver's explanation.
        why: String,
    },
    /// The index or a wheel does not come.
    #[error("resolving the Python environment {env}: {source}")]
    Fetch {
        /// The environment.
        env: String,
        /// Why.
        source: Box<FetchError>,
    },
}

/// Resolves one environment; all wheels are in the store then. `locked`: wheels of the
/// previous lock by normalised project name; no project goes back to an older version than these, and no wheel gets
/// other bytes. `keep`: they stay where they fit.
///
/// # Errors
/// See [`PypiError`].
pub fn resolve_python(
    online: &Online<'_>,
    env: &str,
    requirements: &BTreeSet<String>,
    locked: &BTreeMap<String, Wheel>,
    keep: bool,
) -> Result<Vec<Wheel>, PypiError> {
    let fetch = |source| PypiError::Fetch { env: env.to_owned(), source: Box::new(source) };
    let nothing = BTreeMap::new();
    let index = Index::new(*online, locked, if keep { locked } else { &nothing }).map_err(fetch)?;
    let provider = Provider::new(index);
    let roots = roots(&provider, env, requirements)?;
    let mut solver = Solver::new(provider);
    let solution = match solver.solve(Problem::new().requirements(roots.clone())) {
        Ok(solution) => solution,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let mut why = conflict.display_user_friendly(&solver).to_string();
            for nobody in solver.provider().index().unknown() {
                why.push_str(&format!("\n{nobody}"));
            }
            return Err(PypiError::Conflict { env: env.to_owned(), why });
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            let error = solver.provider().index().take_failure();
            return Err(fetch(error.unwrap_or(FetchError::Cancelled)));
        }
    };
    solver.provider().wheels(env, &roots, &solution).map_err(fetch)
}

/// The requirements of the environment, as the solver wants them.
fn roots(
    provider: &Provider<'_>,
    env: &str,
    requirements: &BTreeSet<String>,
) -> Result<Vec<ConditionalRequirement>, PypiError> {
    let mut roots = Vec::new();
    for text in requirements {
        let wrong = |why| PypiError::Requirement { env: env.to_owned(), text: text.clone(), why };
        let requirement = lockable(text).map_err(wrong)?;
        provider.needs(&requirement, None, &mut roots).map_err(wrong)?;
    }
    Ok(roots)
}

/// Whether `text` is a PEP 508 requirement that can be locked; the error says why not.
///
/// # Errors
/// It is none, or names an address.
pub fn check_requirement(text: &str) -> Result<(), String> {
    lockable(text).map(|_| ())
}

/// Whether the METADATA of a wheel is of this project and version; the error says why not.
pub(crate) fn check_wheel_metadata(text: &str, project: &str, version: &str) -> Result<(), String> {
    let version = version.parse().map_err(|error| format!("version '{version}': {error}"))?;
    metadata::check(text, project, &version)
}

fn lockable(text: &str) -> Result<Requirement, String> {
    let requirement = metadata::requirement(text)?;
    if matches!(requirement.version_or_url, Some(VersionOrUrl::Url(_))) {
        let why = "an address instead of a version; only wheels of the index can be locked";
        return Err(why.to_owned());
    }
    Ok(requirement)
}

#[cfg(test)]
mod tests;
