//! From a request to a whole lock: all kinds of input, by the net.

use std::collections::{BTreeMap, BTreeSet};

use super::deb::{self, DebLock, DebLockError, UpdateSet};
use super::online::Online;
use super::{Lock, NpmError, PypiError, Request, resolve_npm, resolve_python, resolve_urls};
use crate::debian::index::{IndexSource, SourceError};
use crate::fetch::{self, Answer, Archive, FetchError};
use crate::lock::DebArchive;

/// There is no lock.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The Debian packages.
    #[error(transparent)]
    Debian(#[from] DebLockError),
    /// A Python environment.
    #[error(transparent)]
    Python(#[from] PypiError),
    /// npm packages.
    #[error(transparent)]
    Npm(#[from] NpmError),
    /// A file by its address.
    #[error("locking the URL inputs: {0}")]
    Url(#[source] FetchError),
    /// The pip that says where to ask does not come.
    #[error("asking Debian's pip for its package index: {0}")]
    Pip(#[source] FetchError),
    /// `--update` names something unknown.
    #[error("--update {name}: nothing of that name is locked; `{name}` may be misspelt")]
    Unlocked {
        /// The name.
        name: String,
    },
}

/// Resolves everything. What `previous` locked stays, where `update` does not say otherwise. `now`: seconds
/// since 1970.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve(
    online: &Online<'_>,
    request: &Request,
    previous: Option<&Lock>,
    update: &UpdateSet,
    now: i64,
) -> Result<Lock, ResolveError> {
    known(previous, update)?;
    let source = Net(*online);
    let DebLock { indexes, debs } = deb::resolve(&request.debian, previous, update, &source, now)?;
    let epoch = indexes.iter().map(|index| index.date).max().unwrap_or(now);
    let mut lock = Lock { epoch, request: request.clone(), indexes, debs, ..Lock::default() };
    let Online { store, http, .. } = *online;
    let sources =
        fetch::ask_pip(store, http, online.sources.clone(), &lock).map_err(ResolveError::Pip)?;
    let online = &Online { sources: &sources, ..*online };
    let previous = previous.cloned().unwrap_or_default();
    for (env, requirements) in &request.python {
        let locked =
            previous.wheels.iter().filter(|wheel| wheel.env == *env && update.holds(&wheel.name));
        let prefer = locked.map(|wheel| (wheel.name.clone(), wheel.version.clone())).collect();
        lock.wheels.extend(resolve_python(online, env, requirements, &prefer)?);
    }
    let mut prefer: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for tarball in previous.npm.iter().filter(|tarball| update.holds(&tarball.name)) {
        prefer.entry(tarball.name.clone()).or_default().insert(tarball.version.clone());
    }
    lock.npm = resolve_npm(online, &request.npm, &prefer)?;
    let locked = previous.urls.iter().filter(|url| update.holds(&url.name));
    let prefer = locked.map(|url| (url.name.clone(), url.digest)).collect();
    lock.urls = resolve_urls(online, &request.url, &prefer).map_err(ResolveError::Url)?;
    Ok(lock)
}

/// Every name to be updated must be in the lock.
fn known(previous: Option<&Lock>, update: &UpdateSet) -> Result<(), ResolveError> {
    let UpdateSet::Names(names) = update else { return Ok(()) };
    let lock = previous.cloned().unwrap_or_default();
    let mut locked: BTreeSet<&str> = lock.debs.iter().map(|deb| deb.name.as_str()).collect();
    locked.extend(lock.wheels.iter().map(|wheel| wheel.name.as_str()));
    locked.extend(lock.npm.iter().map(|tarball| tarball.name.as_str()));
    locked.extend(lock.urls.iter().map(|url| url.name.as_str()));
    match names.iter().find(|name| !locked.contains(name.as_str())) {
        Some(name) => Err(ResolveError::Unlocked { name: name.clone() }),
        None => Ok(()),
    }
}

/// Index files from the places of an archive, in their order.
struct Net<'a>(Online<'a>);

impl IndexSource for Net<'_> {
    fn get(&self, archive: DebArchive, path: &str, max_size: u64) -> Result<Vec<u8>, SourceError> {
        let archive = match archive {
            DebArchive::Debian => Archive::Debian,
            DebArchive::DebianSecurity => Archive::DebianSecurity,
        };
        let other = |error: &dyn std::fmt::Display| SourceError::Other(error.to_string());
        let mut answers = Vec::new();
        let mut absent = true;
        for place in self.0.places(archive).map_err(|error| other(&error))? {
            let url = format!("{}{path}", place.base);
            (self.0.note)(&url);
            let answer = match self.0.http.get_bytes(&url, max_size) {
                Ok(bytes) => return Ok(bytes),
                Err(FetchError::Get { answer, .. }) => answer,
                Err(error) => return Err(other(&error)),
            };
            absent &= matches!(answer, Answer::Absent(_) | Answer::Status(404 | 410));
            answers.push(format!("{url} ({}): {answer}", place.found));
        }
        let answers = answers.join("; ");
        Err(if absent { SourceError::NotFound(answers) } else { SourceError::Other(answers) })
    }
}
