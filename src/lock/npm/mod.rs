//! Resolving npm packages with all their dependencies to tarballs of the registry.
//!
//! Several versions of one package may be locked: each (name, range) takes a version that is
//! already chosen if one fits, else the one of the previous lock, else the registry's `latest`,
//! else the newest that is not deprecated. Optional dependencies are included like any others if
//! they are for Linux on x86_64 (or for any machine); peer dependencies are not: what needs them
//! names them itself. Sources other than the registry (git, addresses, folders, aliases) are
//! refused.

pub(crate) mod document;
pub(crate) mod range;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};
use url::Url;

use super::online::Online;
use super::{Lock, NpmTarball};
use crate::fetch::wanted::web_url;
use crate::fetch::{Archive, FetchError};
use document::{Dist, Manifest, Packument};
use range::{Range, Version};

/// No document of a registry is larger.
const MAX_DOCUMENT: u64 = 64 << 20;
/// Bytes of all of them, which stay in memory.
const MAX_DOCUMENTS: usize = 512 << 20;
/// No sane closure is larger.
const MAX_PACKAGES: usize = 2000;
/// Nor are so many dependencies open at once.
const MAX_NEEDS: usize = 20_000;
/// No sane chain of dependencies is longer.
const MAX_DEPTH: usize = 100;
/// Locked tarballs, by package and version.
type Locked = BTreeMap<String, BTreeMap<String, NpmTarball>>;
/// The registry's short form, or its long one.
const ACCEPT: &str = "application/vnd.npm.install-v1+json, application/json;q=0.8";

/// npm packages that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// The range is none.
    #[error(
        "resolving npm package {name}{}: '{range}' is not a range of versions of the registry, and nothing \
         else can be locked",
        chain(by)
    )]
    Range {
        /// The package.
        name: String,
        /// What is asked for.
        range: String,
        /// Who asks, outermost first.
        by: Vec<String>,
    },
    /// No version fits.
    #[error(
        "resolving npm package {name}{}: no version fits '{range}'; there is {known}",
        chain(by)
    )]
    NoVersion {
        /// The package.
        name: String,
        /// What is asked for.
        range: String,
        /// Who asks, outermost first.
        by: Vec<String>,
        /// The newest versions that there are.
        known: String,
    },
    /// What the registry says makes no sense.
    #[error("resolving npm package {name}{}: {why}", chain(by))]
    Registry {
        /// The package.
        name: String,
        /// Who asks, outermost first.
        by: Vec<String>,
        /// What is wrong.
        why: String,
    },
    /// The registry or a tarball does not come.
    #[error("resolving npm package {name}{}: {source}", chain(by))]
    Fetch {
        /// The package.
        name: String,
        /// Who asks, outermost first.
        by: Vec<String>,
        /// Why.
        source: Box<FetchError>,
    },
}

fn chain(by: &[String]) -> String {
    if by.is_empty() { String::new() } else { format!(" (needed by {})", by.join(" → ")) }
}

/// A dependency to be resolved.
#[derive(Clone)]
struct Need {
    name: String,
    range: String,
    by: Option<Rc<Asker>>,
    optional: bool,
}

/// A package that asks for others, and who asks for it.
struct Asker {
    name: String,
    by: Option<Rc<Self>>,
    /// How many there are, it included.
    depth: usize,
}

impl Need {
    /// Who asks, outermost first.
    fn by(&self) -> Vec<String> {
        let mut by = Vec::new();
        let mut asker = self.by.as_ref();
        while let Some(Asker { name, by: above, .. }) = asker.map(Rc::as_ref) {
            by.push(name.clone());
            asker = above.as_ref();
        }
        by.reverse();
        by
    }

    fn registry(&self, why: impl Into<String>) -> NpmError {
        NpmError::Registry { name: self.name.clone(), by: self.by(), why: why.into() }
    }

    fn fetch(&self, source: FetchError) -> NpmError {
        NpmError::Fetch { name: self.name.clone(), by: self.by(), source: Box::new(source) }
    }
}

/// One after the other: a long chain would fill the stack.
impl Drop for Asker {
    fn drop(&mut self) {
        let mut above = self.by.take();
        while let Some(mut asker) = above.and_then(Rc::into_inner) {
            above = asker.by.take();
        }
    }
}

/// Resolves packages with all that they need; all tarballs are in the store then. `requests`:
/// ranges by package name. `locked`: tarballs of the previous lock by package and version; no package goes back
/// to an older version than these, and no version gets other bytes. `keep`: they stay where they fit.
///
/// # Errors
/// See [`NpmError`].
pub fn resolve_npm(
    online: &Online<'_>,
    requests: &BTreeMap<String, String>,
    locked: &BTreeMap<String, BTreeMap<String, NpmTarball>>,
    keep: bool,
) -> Result<Vec<NpmTarball>, NpmError> {
    let (packuments, weight, chosen) = (HashMap::new(), 0, BTreeMap::new());
    let nothing = BTreeMap::new();
    let prefer = if keep { locked } else { &nothing };
    let mut resolver = Resolver { online, locked, prefer, packuments, weight, chosen };
    let root = |(name, range): (&String, &String)| Need {
        name: name.clone(),
        range: range.clone(),
        by: None,
        optional: false,
    };
    let mut needs: VecDeque<_> = requests.iter().map(root).collect();
    while let Some(need) = needs.pop_front() {
        if need.by.as_ref().is_some_and(|by| by.depth > MAX_DEPTH) {
            return Err(need.registry(format!("more than {MAX_DEPTH} packages need each other")));
        }
        needs.extend(resolver.resolve(&need)?);
        if needs.len() > MAX_NEEDS {
            return Err(need.registry(format!("more than {MAX_NEEDS} dependencies are open")));
        }
    }
    let mut tarballs: Vec<_> = resolver.chosen.into_values().flatten().map(|(_, t)| t).collect();
    tarballs.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(tarballs)
}

struct Resolver<'a> {
    online: &'a Online<'a>,
    locked: &'a Locked,
    /// Those that are to stay.
    prefer: &'a Locked,
    packuments: HashMap<String, Packument>,
    /// Bytes of all these.
    weight: usize,
    chosen: BTreeMap<String, Vec<(Version, NpmTarball)>>,
}

impl Resolver<'_> {
    /// Chooses and fetches a version; gives back what that needs in turn.
    fn resolve(&mut self, need: &Need) -> Result<Vec<Need>, NpmError> {
        if !self.packuments.contains_key(&need.name) {
            let (packument, weight) = self.packument(need)?;
            self.weight += weight;
            if self.weight > MAX_DOCUMENTS {
                let why = format!("with it, the registry says over {MAX_DOCUMENTS} bytes");
                return Err(need.registry(why));
            }
            self.packuments.insert(need.name.clone(), packument);
        }
        let packument = &self.packuments[&need.name];
        let range = range(need, packument, self.prefer.get(&need.name))?;
        let chosen = self.chosen.get(&need.name);
        if chosen.into_iter().flatten().any(|(version, _)| range.contains(version)) {
            return Ok(Vec::new());
        }
        let version = choose(need, packument, &range, self.prefer.get(&need.name))?;
        // Whatever the registry calls its latest.
        let version = self
            .newest_locked(need, |it| range.contains(it) && packument.has(it))
            .max(Some(version));
        let version = version.expect("one was chosen");
        self.withheld(need, packument, &range, &version)?;
        let manifest = manifest(need, packument, &version)?;
        if !manifest.fits() {
            let why = format!("version {version} is not for Linux on x86_64");
            return if need.optional { Ok(Vec::new()) } else { Err(need.registry(why)) };
        }
        let locked = self.locked.get(&need.name).and_then(|all| all.get(&version.to_string()));
        let tarball = tarball(self.online, need, &version, &manifest, locked)?;
        self.chosen.entry(need.name.clone()).or_default().push((version, tarball));
        if self.chosen.values().map(Vec::len).sum::<usize>() > MAX_PACKAGES {
            return Err(need.registry(format!("more than {MAX_PACKAGES} packages")));
        }
        Ok(dependencies(need, manifest))
    }

    /// Fails if a version is older than the newest locked one, and that is gone: a registry may forget on purpose.
    fn withheld(
        &self,
        need: &Need,
        packument: &Packument,
        range: &Range,
        version: &Version,
    ) -> Result<(), NpmError> {
        let last = self.newest_locked(need, |last| last > version);
        let Some(last) = last else { return Ok(()) };
        let tag = need.range.trim();
        let offered = packument.has(&last);
        // Other tags than `latest` may stand for older versions.
        let asked = packument.tags.contains_key(tag) && (!offered || tag == "latest");
        if !asked && !range.contains(&last) {
            return Ok(());
        }
        let places = self.online.places(Archive::Npm).map_err(|error| need.fetch(error))?;
        let places: Vec<_> = places.iter().map(|place| place.base.as_str()).collect();
        let (name, place) = (need.name.clone(), places.join(", "));
        Err(need.fetch(FetchError::backwards(name, &last, place, version, offered)))
    }

    /// The newest version of the lock for which `is` holds.
    fn newest_locked(&self, need: &Need, is: impl Fn(&Version) -> bool) -> Option<Version> {
        let locked = self.locked.get(&need.name).into_iter().flat_map(BTreeMap::keys);
        locked.filter_map(|text| Version::parse(text)).filter(is).max()
    }

    /// What the first registry that knows the package says of it, and how many bytes that has.
    fn packument(&self, need: &Need) -> Result<(Packument, usize), NpmError> {
        let mut missing = FetchError::Cancelled;
        for place in self.online.places(Archive::Npm).map_err(|error| need.fetch(error))? {
            let url = document(&place.base, &need.name)
                .ok_or_else(|| need.registry("that is not a package name"))?;
            (self.online.note)(url.as_str());
            match self.online.http.get_page(url.as_str(), ACCEPT, MAX_DOCUMENT) {
                Ok(page) => {
                    let packument = serde_json::from_slice(&page.body).map_err(|error| {
                        need.registry(format!("{url} is not a package's: {error}"))
                    })?;
                    return Ok((packument, page.body.len()));
                }
                Err(error) if error.is_missing() => missing = error,
                // Whoever knows why it fails may want the next one's package of the same name.
                Err(error) => return Err(need.fetch(error)),
            }
        }
        Err(need.fetch(missing))
    }
}

/// `BASE/@scope%2fname`
fn document(base: &str, name: &str) -> Option<Url> {
    let bare = name.strip_prefix('@').unwrap_or(name);
    let known = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(known);
    let parts = if name.starts_with('@') { 2 } else { 1 };
    if bare.split('/').count() != parts || !bare.split('/').all(plain) {
        return None;
    }
    let mut url = Url::parse(base).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().push(name);
    Some(url)
}

/// The locked tarball that answers an overlay's own request for the package `name`; others of that name may be there for
/// packages that depend on it.
pub fn npm_root<'a>(lock: &'a Lock, name: &str) -> Option<&'a NpmTarball> {
    npm_locked(lock, name, lock.request.npm.get(name)?)
}

/// The newest locked tarball of the package `name` that a range allows: what a package that depends on it gets.
pub fn npm_locked<'a>(lock: &'a Lock, name: &str, range: &str) -> Option<&'a NpmTarball> {
    let range = Range::parse(range);
    let versions = lock.npm.iter().filter(|tarball| tarball.name == name);
    let versions =
        versions.filter_map(|tarball| Some((Version::parse(&tarball.version)?, tarball)));
    // What is no range is a tag, which the newest locked version stands for.
    let fits = |version: &Version| range.as_ref().is_none_or(|range| range.contains(version));
    let fitting = versions.filter(|(version, _)| fits(version));
    fitting.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, tarball)| tarball)
}

/// Whether `text` is a range of versions, or looks like the tag of one (`latest`).
pub fn check_npm_range(text: &str) -> bool {
    let tag = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    Range::parse(text).is_some() || tag(text)
}

/// The range that is asked for; a tag such as `latest` is the version it stands for, or the locked one.
fn range(
    need: &Need,
    packument: &Packument,
    prefer: Option<&BTreeMap<String, NpmTarball>>,
) -> Result<Range, NpmError> {
    let tag = packument.tags.get(need.range.trim());
    let locked = prefer.into_iter().flat_map(BTreeMap::keys);
    let locked = locked.filter(|text| packument.versions.contains_key(*text));
    let locked = locked.max_by_key(|text| Version::parse(text));
    let text = tag.map(|version| locked.unwrap_or(version)).unwrap_or(&need.range);
    Range::parse(text).ok_or_else(|| NpmError::Range {
        name: need.name.clone(),
        range: need.range.clone(),
        by: need.by(),
    })
}

fn choose(
    need: &Need,
    packument: &Packument,
    range: &Range,
    prefer: Option<&BTreeMap<String, NpmTarball>>,
) -> Result<Version, NpmError> {
    let has = |text: &&String| packument.versions.contains_key(*text);
    let fits = |version: &Version| range.contains(version);
    let kept = prefer.into_iter().flat_map(BTreeMap::keys).filter(has);
    let kept = kept.filter_map(|text| Version::parse(text));
    if let Some(version) = kept.filter(fits).max() {
        return Ok(version);
    }
    let latest = packument.tags.get("latest").filter(has).and_then(|text| Version::parse(text));
    if let Some(version) = latest.filter(fits) {
        return Ok(version);
    }
    let all =
        || packument.versions.iter().filter_map(|(text, raw)| Some((Version::parse(text)?, raw)));
    let fitting = all().filter(|(version, _)| fits(version));
    let best = fitting.map(|(version, raw)| (!document::is_deprecated(raw), version)).max();
    best.map(|(_, version)| version).ok_or_else(|| {
        let mut known: Vec<_> = all().map(|(version, _)| version).collect();
        known.sort_by(|a, b| b.cmp(a));
        let known: Vec<_> = known.iter().take(5).map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let (name, range, by) = (need.name.clone(), need.range.clone(), need.by());
        NpmError::NoVersion { name, range, by, known }
    })
}

fn manifest(need: &Need, packument: &Packument, version: &Version) -> Result<Manifest, NpmError> {
    let same =
        |(text, _): &(&String, &document::Raw)| Version::parse(text).as_ref() == Some(version);
    let (_, raw) = packument.versions.iter().find(same).expect("it was chosen from these");
    Manifest::parse(raw).map_err(|why| need.registry(format!("version {version}: {why}")))
}

fn dependencies(need: &Need, manifest: Manifest) -> Vec<Need> {
    let Manifest { mut dependencies, optional_dependencies, .. } = manifest;
    // npm's documents list optional dependencies among the others too.
    dependencies.retain(|name, _| !optional_dependencies.contains_key(name));
    let depth = need.by.as_ref().map_or(0, |by| by.depth) + 1;
    let by = Rc::new(Asker { name: need.name.clone(), by: need.by.clone(), depth });
    let need = |optional| {
        let by = Some(Rc::clone(&by));
        move |(name, range)| Need { name, range, by: by.clone(), optional }
    };
    let optional = optional_dependencies.into_iter().map(need(true));
    dependencies.into_iter().map(need(false)).chain(optional).collect()
}

/// Fetches a tarball and holds it to the registry's SHA-512, to what the registry says of it, and to the previous lock.
fn tarball(
    online: &Online<'_>,
    need: &Need,
    version: &Version,
    manifest: &Manifest,
    locked: Option<&NpmTarball>,
) -> Result<NpmTarball, NpmError> {
    let Dist { tarball, integrity } = &manifest.dist;
    let url = web_url(tarball)
        .ok_or_else(|| need.registry(format!("'{tarball}' is no address of a tarball")))?;
    let integrity = integrity.as_deref().unwrap_or_default();
    let expected = integrity.split_whitespace().find(|text| text.starts_with("sha512-"));
    let expected = expected.ok_or_else(|| {
        need.registry(format!("version {version} has no SHA-512, so it cannot be checked"))
    })?;
    let expected = expected.split('?').next().unwrap_or_default();
    if let Some(locked) = locked.filter(|locked| locked.integrity != expected) {
        return Err(need.fetch(FetchError::Replaced {
            name: need.name.clone(),
            address: url.to_string(),
            expected: locked.integrity.clone(),
            actual: expected.to_owned(),
            remedy: format!("run `chatimg lock --update {}`", need.name),
        }));
    }
    let locked = locked.map(|locked| locked.digest);
    let taken = online.take(&url, locked, |file| {
        let actual = sum(file).map_err(|error| error.to_string())?;
        if actual != expected {
            let why = "it is not what the registry announces";
            return Err(format!("{why}: {expected}, got {actual}"));
        }
        document::check_tarball(file, &need.name, version, manifest)
    });
    let taken = taken.map_err(|error| need.fetch(error.of_locked(&need.name, &url, locked)))?;
    Ok(NpmTarball {
        name: need.name.clone(),
        version: version.to_string(),
        integrity: expected.to_owned(),
        size: taken.size,
        digest: taken.digest,
    })
}

/// The SHA-512 of a file, as registries write it; the file is at its beginning, and is so again then.
fn sum(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut piece) = (Sha512::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hasher.update(&piece[..count]),
        }
    }
    file.rewind()?;
    Ok(format!("sha512-{}", STANDARD.encode(hasher.finalize())))
}

#[cfg(test)]
mod tests;
