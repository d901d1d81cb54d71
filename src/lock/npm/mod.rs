//! Resolving npm packages with all their dependencies to tarballs of the registry.
//!
//! Several versions of one package may be locked: each (name, range) takes a version that is
//! already chosen if one fits, else the one of the previous lock, else the registry's `latest`,
//! else the newest that is not deprecated. Optional dependencies are included like any others if
//! they are for Linux on x86_64 (or for any machine); peer dependencies are not: what needs them
//! names them itself. Sources other than the registry (git, addresses, folders, aliases) are
//! refused.

mod range;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest as _, Sha512};
use url::Url;

use super::online::Online;
use super::{Lock, NpmTarball};
use crate::fetch::wanted::web_url;
use crate::fetch::{Answer, Archive, FetchError};
use range::{Range, Version};

/// No document of a registry is larger.
const MAX_DOCUMENT: u64 = 256 << 20;
/// No sane closure is larger.
const MAX_PACKAGES: usize = 5000;
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

#[derive(Deserialize)]
struct Packument {
    #[serde(default, rename = "dist-tags")]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    versions: BTreeMap<String, serde_json::Value>,
}

/// What matters of one version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    os: Vec<String>,
    #[serde(default)]
    cpu: Vec<String>,
    dist: Dist,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    integrity: Option<String>,
}

impl Manifest {
    /// Whether it is for the target's kind of machine.
    fn fits(&self) -> bool {
        let allows = |list: &[String], own: &str| {
            let refused = list.iter().any(|item| item.strip_prefix('!') == Some(own));
            let mut named = list.iter().filter(|item| !item.starts_with('!')).peekable();
            !refused && (named.peek().is_none() || named.any(|item| item == own || item == "any"))
        };
        allows(&self.os, "linux") && allows(&self.cpu, "x64")
    }
}

/// A dependency to be resolved.
#[derive(Clone)]
struct Need {
    name: String,
    range: String,
    by: Vec<String>,
    optional: bool,
}

impl Need {
    fn registry(&self, why: impl Into<String>) -> NpmError {
        NpmError::Registry { name: self.name.clone(), by: self.by.clone(), why: why.into() }
    }

    fn fetch(&self, source: FetchError) -> NpmError {
        NpmError::Fetch { name: self.name.clone(), by: self.by.clone(), source: Box::new(source) }
    }
}

/// Resolves packages with all that they need; all tarballs are in the store then. `requests`:
/// ranges by package name. `prefer`: versions to keep by package name (of the previous lock).
///
/// # Errors
/// See [`NpmError`].
pub fn resolve_npm(
    online: &Online<'_>,
    requests: &BTreeMap<String, String>,
    prefer: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<NpmTarball>, NpmError> {
    let mut resolver =
        Resolver { online, prefer, packuments: HashMap::new(), chosen: BTreeMap::new() };
    let root = |(name, range): (&String, &String)| Need {
        name: name.clone(),
        range: range.clone(),
        by: Vec::new(),
        optional: false,
    };
    let mut needs: VecDeque<_> = requests.iter().map(root).collect();
    while let Some(need) = needs.pop_front() {
        needs.extend(resolver.resolve(&need)?);
    }
    let mut tarballs: Vec<_> = resolver.chosen.into_values().flatten().map(|(_, t)| t).collect();
    tarballs.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(tarballs)
}

struct Resolver<'a> {
    online: &'a Online<'a>,
    prefer: &'a BTreeMap<String, BTreeSet<String>>,
    packuments: HashMap<String, Packument>,
    chosen: BTreeMap<String, Vec<(Version, NpmTarball)>>,
}

impl Resolver<'_> {
    /// Chooses and fetches a version; gives back what that needs in turn.
    fn resolve(&mut self, need: &Need) -> Result<Vec<Need>, NpmError> {
        if !self.packuments.contains_key(&need.name) {
            let packument = self.packument(need)?;
            self.packuments.insert(need.name.clone(), packument);
        }
        let packument = &self.packuments[&need.name];
        let range = range(need, packument, self.prefer.get(&need.name))?;
        let chosen = self.chosen.entry(need.name.clone()).or_default();
        if chosen.iter().any(|(version, _)| range.contains(version)) {
            return Ok(Vec::new());
        }
        let version = choose(need, packument, &range, self.prefer.get(&need.name))?;
        let manifest = manifest(need, packument, &version)?;
        if !manifest.fits() {
            let why = format!("version {version} is not for Linux on x86_64");
            return if need.optional { Ok(Vec::new()) } else { Err(need.registry(why)) };
        }
        let tarball = tarball(self.online, need, &version, &manifest.dist)?;
        chosen.push((version, tarball));
        if self.chosen.values().map(Vec::len).sum::<usize>() > MAX_PACKAGES {
            return Err(need.registry(format!("more than {MAX_PACKAGES} packages")));
        }
        Ok(dependencies(need, manifest))
    }

    fn packument(&self, need: &Need) -> Result<Packument, NpmError> {
        let mut failure = None;
        for place in self.online.places(Archive::Npm).map_err(|error| need.fetch(error))? {
            let url = document(&place.base, &need.name)
                .ok_or_else(|| need.registry("that is not a package name"))?;
            (self.online.note)(url.as_str());
            match self.online.http.get_page(url.as_str(), ACCEPT, MAX_DOCUMENT) {
                Ok(page) => {
                    return serde_json::from_slice(&page.body).map_err(|error| {
                        need.registry(format!("{url} is not a package's: {error}"))
                    });
                }
                Err(error) => {
                    // A registry that is down says more than one that lacks the package.
                    let missing =
                        matches!(&error, FetchError::Get { answer: Answer::Status(404), .. });
                    if failure.is_none() || !missing {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(need.fetch(failure.unwrap_or(FetchError::Cancelled)))
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
    prefer: Option<&BTreeSet<String>>,
) -> Result<Range, NpmError> {
    let tag = packument.tags.get(need.range.trim());
    let locked = prefer.into_iter().flatten().find(|text| packument.versions.contains_key(*text));
    let text = tag.map(|version| locked.unwrap_or(version)).unwrap_or(&need.range);
    Range::parse(text).ok_or_else(|| NpmError::Range {
        name: need.name.clone(),
        range: need.range.clone(),
        by: need.by.clone(),
    })
}

fn choose(
    need: &Need,
    packument: &Packument,
    range: &Range,
    prefer: Option<&BTreeSet<String>>,
) -> Result<Version, NpmError> {
    let has = |text: &&String| packument.versions.contains_key(*text);
    let fits = |version: &Version| range.contains(version);
    let kept = prefer.into_iter().flatten().filter(has).filter_map(|text| Version::parse(text));
    if let Some(version) = kept.filter(fits).max() {
        return Ok(version);
    }
    let latest = packument.tags.get("latest").filter(has).and_then(|text| Version::parse(text));
    if let Some(version) = latest.filter(fits) {
        return Ok(version);
    }
    let rank = |(text, manifest): (&String, &serde_json::Value)| {
        let deprecated = !matches!(&manifest["deprecated"], serde_json::Value::Null);
        Some((!deprecated, Version::parse(text)?))
    };
    let all: Vec<_> = packument.versions.iter().filter_map(rank).collect();
    let best = all.iter().filter(|(_, version)| fits(version)).max();
    best.map(|(_, version)| version.clone()).ok_or_else(|| {
        let mut known: Vec<_> = all.into_iter().map(|(_, version)| version).collect();
        known.sort_by(|a, b| b.cmp(a));
        let known: Vec<_> = known.iter().take(5).map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let (name, range, by) = (need.name.clone(), need.range.clone(), need.by.clone());
        NpmError::NoVersion { name, range, by, known }
    })
}

fn manifest(need: &Need, packument: &Packument, version: &Version) -> Result<Manifest, NpmError> {
    let same =
        |(text, _): &(&String, &serde_json::Value)| Version::parse(text).as_ref() == Some(version);
    let (_, value) = packument.versions.iter().find(same).expect("it was chosen from these");
    serde_json::from_value(value.clone())
        .map_err(|error| need.registry(format!("version {version}: {error}")))
}

fn dependencies(need: &Need, manifest: Manifest) -> Vec<Need> {
    let Manifest { mut dependencies, optional_dependencies, .. } = manifest;
    // npm's documents list optional dependencies among the others too.
    dependencies.retain(|name, _| !optional_dependencies.contains_key(name));
    let mut by = need.by.clone();
    by.push(need.name.clone());
    let need = |optional| {
        let by = by.clone();
        move |(name, range)| Need { name, range, by: by.clone(), optional }
    };
    let optional = optional_dependencies.into_iter().map(need(true));
    dependencies.into_iter().map(need(false)).chain(optional).collect()
}

/// Fetches a tarball and holds it to the registry's SHA-512.
fn tarball(
    online: &Online<'_>,
    need: &Need,
    version: &Version,
    dist: &Dist,
) -> Result<NpmTarball, NpmError> {
    let url = web_url(&dist.tarball)
        .ok_or_else(|| need.registry(format!("'{}' is no address of a tarball", dist.tarball)))?;
    let integrity = dist.integrity.as_deref().unwrap_or_default();
    let expected = integrity.split_whitespace().find(|text| text.starts_with("sha512-"));
    let expected = expected.ok_or_else(|| {
        need.registry(format!("version {version} has no SHA-512, so it cannot be checked"))
    })?;
    let taken = online.take(&url, None).map_err(|error| need.fetch(error))?;
    let actual = format!("sha512-{}", base64(&Sha512::digest(&taken.bytes)));
    if actual != expected.split('?').next().unwrap_or_default() {
        let why = format!("{url} is not what the registry announces: {expected}, got {actual}");
        return Err(need.registry(why));
    }
    Ok(NpmTarball {
        name: need.name.clone(),
        version: version.to_string(),
        integrity: actual,
        size: taken.bytes.len() as u64,
        digest: taken.digest,
    })
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = char::from(LETTERS[(group >> (18 - 6 * index) & 63) as usize]);
            _ = out.write_char(if index <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests;
