//! From a request to a whole lock: all kinds of input, by the net.

use std::collections::{BTreeMap, BTreeSet};

use super::deb::{self, DebLock, DebLockError, UpdateSet};
use super::online::Online;
use super::{
    Lock, NpmError, NpmTarball, PypiError, Request, resolve_npm, resolve_python, resolve_urls,
};
use crate::debian::index::{IndexSource, SourceError};
use crate::diagnostic::nearest;
use crate::digest::Digest;
use crate::fetch::{self, Answer, Archive, FetchError, Place};
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
    #[error("--update {name}: nothing of that name is locked{hint}")]
    Unlocked {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: String,
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
    let update = &known(previous, update)?;
    let source = Net(*online);
    let DebLock { indexes, debs } =
        deb::resolve(online.keyring, &request.debian, previous, update, &source, now)?;
    let epoch = indexes.iter().map(|index| index.date).max().unwrap_or(now);
    let mut lock = Lock { epoch, request: request.clone(), indexes, debs, ..Lock::default() };
    let Online { store, http, .. } = *online;
    let sources =
        fetch::ask_pip(store, http, online.sources.clone(), &lock).map_err(ResolveError::Pip)?;
    let online = &Online { sources: &sources, ..*online };
    let previous = previous.cloned().unwrap_or_default();
    // Nothing goes back to an older version but what is named to be updated.
    let keep = *update != UpdateSet::All;
    for (env, requirements) in &request.python {
        let locked =
            previous.wheels.iter().filter(|wheel| wheel.env == *env && !update.names(&wheel.name));
        let locked = locked.map(|wheel| (wheel.name.clone(), wheel.clone())).collect();
        lock.wheels.extend(resolve_python(online, env, requirements, &locked, keep)?);
    }
    let mut locked: BTreeMap<String, BTreeMap<String, NpmTarball>> = BTreeMap::new();
    for tarball in previous.npm.iter().filter(|tarball| !update.names(&tarball.name)) {
        let versions = locked.entry(tarball.name.clone()).or_default();
        versions.insert(tarball.version.clone(), tarball.clone());
    }
    lock.npm = resolve_npm(online, &request.npm, &locked, keep)?;
    let prefer = kept_urls(&previous, request, update);
    lock.urls = resolve_urls(online, &request.url, &prefer).map_err(ResolveError::Url)?;
    Ok(lock)
}

/// The digests of URL inputs that stay: those whose address is still the same.
fn kept_urls(previous: &Lock, request: &Request, update: &UpdateSet) -> BTreeMap<String, Digest> {
    let address = |request: &Request, name: &str| request.url.get(name).map(|url| url.url.clone());
    let stays = |name: &str| {
        update.holds(name) && address(&previous.request, name) == address(request, name)
    };
    let kept = previous.urls.iter().filter(|url| stays(&url.name));
    kept.map(|url| (url.name.clone(), url.digest)).collect()
}

/// Every name to be updated must be in the lock: as it is, or as Python's index writes it (PEP 503).
fn known(previous: Option<&Lock>, update: &UpdateSet) -> Result<UpdateSet, ResolveError> {
    let UpdateSet::Names(names) = update else { return Ok(update.clone()) };
    let lock = previous.cloned().unwrap_or_default();
    let mut locked: BTreeSet<&str> = lock.debs.iter().map(|deb| deb.name.as_str()).collect();
    locked.extend(lock.wheels.iter().map(|wheel| wheel.name.as_str()));
    locked.extend(lock.npm.iter().map(|tarball| tarball.name.as_str()));
    locked.extend(lock.urls.iter().map(|url| url.name.as_str()));
    let find = |name: &String| {
        let normal = name.to_lowercase().replace(['_', '.'], "-");
        let found = [name.as_str(), &normal].into_iter().find(|name| locked.contains(name));
        found.map(str::to_owned).ok_or_else(|| {
            let near = nearest(&normal, &locked.iter().copied().collect::<Vec<_>>());
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            ResolveError::Unlocked { name: name.clone(), hint }
        })
    };
    names.iter().map(find).collect::<Result<_, _>>().map(UpdateSet::Names)
}

/// Index files from the places of an archive.
struct Net<'a>(Online<'a>);

impl Net<'_> {
    fn all(&self, archive: DebArchive) -> Result<&[Place], SourceError> {
        let archive = match archive {
            DebArchive::Debian => Archive::Debian,
            DebArchive::DebianSecurity => Archive::DebianSecurity,
        };
        self.0.places(archive).map_err(|error| SourceError::Other(error.to_string()))
    }
}

impl IndexSource for Net<'_> {
    fn places(&self, archive: DebArchive) -> Result<Vec<String>, SourceError> {
        let name = |place: &Place| format!("{} ({})", place.base, place.found);
        Ok(self.all(archive)?.iter().map(name).collect())
    }

    fn get(
        &self,
        archive: DebArchive,
        place: usize,
        path: &str,
        max_size: u64,
    ) -> Result<Vec<u8>, SourceError> {
        let url = format!("{}{path}", self.all(archive)?[place].base);
        (self.0.note)(&url);
        self.0.http.get_bytes(&url, max_size).map_err(|error| match error {
            FetchError::Get {
                answer: answer @ (Answer::Absent(_) | Answer::Status(404 | 410)),
                ..
            } => SourceError::NotFound(answer.to_string()),
            error => SourceError::Other(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{UrlBlob, UrlRequest};

    fn request(url: &str) -> Request {
        let url = UrlRequest { url: url.to_owned(), digest: None };
        Request { url: [("file".to_owned(), url)].into(), ..Request::default() }
    }

    fn lock() -> Lock {
        let url = UrlBlob { name: "file".to_owned(), size: 1, digest: Digest::of(b"1") };
        Lock { request: request("https://a.example/1"), urls: vec![url], ..Lock::default() }
    }

    #[test]
    fn a_url_input_stays_only_as_long_as_its_address_does() {
        let kept = |url, update| kept_urls(&lock(), &request(url), &update).len();
        assert_eq!(kept("https://a.example/1", UpdateSet::None), 1);
        assert_eq!(kept("https://a.example/2", UpdateSet::None), 0);
        assert_eq!(kept("https://a.example/1", UpdateSet::All), 0);
    }

    #[test]
    fn names_to_update_are_found_as_python_writes_them_and_guessed_at() {
        let names = |name: &str| UpdateSet::Names([name.to_owned()].into());
        let found = known(Some(&lock()), &names("File")).expect("is locked");
        assert_eq!(found, names("file"));
        let unknown = known(Some(&lock()), &names("fil")).expect_err("is not");
        assert!(unknown.to_string().ends_with("did you mean file?"), "{unknown}");
    }
}
