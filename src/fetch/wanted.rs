//! What is to be fetched, and at which addresses it may be.

use serde::Deserialize;
use url::Url;

use super::http::shown;
use super::simple;
use super::{Answer, Archive, FetchError, Http, Place, Sources};
use crate::digest::Digest;
use crate::lock::{DebArchive, Group, Lock};

/// No metadata document of a registry is larger.
const MAX_METADATA: u64 = 64 << 20;
/// A snapshot is taken some hours after the index it holds was made, so it is looked for that much
/// later first, in seconds.
const SNAPSHOT_DELAY: i64 = 12 * 3600;

/// An input to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For messages: name and version, or file name.
    pub label: String,
    /// What `lock --update` calls it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
    /// Where to look for it.
    pub kind: Kind,
}

/// Where to look for an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Debian package.
    Deb {
        /// The archive.
        archive: DebArchive,
        /// Path inside it.
        path: String,
        /// Date of the archive's locked index, seconds since 1970; 0 if unknown.
        date: i64,
    },
    /// A Python wheel.
    Wheel {
        /// Normalised project name.
        project: String,
        /// File name.
        file: String,
    },
    /// An npm tarball.
    Npm {
        /// Package name, scope included.
        package: String,
        /// Exact version.
        version: String,
    },
    /// A file of one address.
    Url {
        /// The address.
        url: String,
    },
}

/// What any of `groups` needs fetched; wheels, npm tarballs and other files belong to the image.
pub fn wanted(lock: &Lock, groups: &[Group]) -> Vec<Wanted> {
    let date = |security: bool| {
        let of = |suite: &str| suite.ends_with("-security") == security;
        lock.indexes.iter().filter(|index| of(&index.suite)).map(|index| index.date).max()
    };
    let debs = lock.debs.iter().filter(|deb| groups.iter().any(|group| deb.groups.contains(group)));
    let debs = debs.map(|deb| Wanted {
        label: format!("{} {}", deb.name, deb.version),
        name: deb.name.clone(),
        size: deb.size,
        digest: deb.digest,
        kind: Kind::Deb {
            archive: deb.archive,
            path: deb.path.clone(),
            date: date(deb.archive == DebArchive::DebianSecurity).unwrap_or(0),
        },
    });
    let wheels = lock.wheels.iter().map(|wheel| Wanted {
        label: wheel.file.clone(),
        name: wheel.name.clone(),
        size: wheel.size,
        digest: wheel.digest,
        kind: Kind::Wheel { project: wheel.name.clone(), file: wheel.file.clone() },
    });
    let npm = lock.npm.iter().map(|tarball| Wanted {
        label: format!("{} {}", tarball.name, tarball.version),
        name: tarball.name.clone(),
        size: tarball.size,
        digest: tarball.digest,
        kind: Kind::Npm { package: tarball.name.clone(), version: tarball.version.clone() },
    });
    let urls = lock.urls.iter().map(|blob| Wanted {
        label: blob.name.clone(),
        name: blob.name.clone(),
        size: blob.size,
        digest: blob.digest,
        kind: Kind::Url {
            url: lock
                .request
                .url
                .get(&blob.name)
                .map(|asked| asked.url.clone())
                .unwrap_or_default(),
        },
    });
    let rest = wheels.chain(npm).chain(urls).filter(|_| groups.contains(&Group::Image));
    debs.chain(rest).collect()
}

/// A place to try; its address may take a look at an index first.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The address to show until the real one is known, and to get if there is no `via`.
    pub(super) url: Url,
    /// Who named the place.
    pub(super) found: String,
    via: Option<Via>,
}

/// An index that knows the address.
#[derive(Clone, Debug)]
enum Via {
    /// A PEP 503 page that links a file of this name.
    Simple(String),
    /// An npm registry's document on one version.
    Npm,
}

/// What matters of an npm registry's document on one version.
#[derive(Deserialize)]
struct NpmVersion {
    dist: NpmDist,
}

#[derive(Deserialize)]
struct NpmDist {
    tarball: String,
}

impl Candidate {
    /// The address of the file itself.
    pub(super) fn resolve(&self, http: &Http) -> Result<Url, Answer> {
        let answer = |error| match error {
            FetchError::Get { answer, .. } => answer,
            other => Answer::Broken(other.to_string()),
        };
        match &self.via {
            None => Ok(self.url.clone()),
            Some(Via::Simple(file)) => {
                let files = simple::project(http, &self.url).map_err(answer)?;
                let found = files.into_iter().find(|link| link.name == *file);
                let absent = || Answer::Absent(format!("the index page has no {file}"));
                found.map(|link| link.url).ok_or_else(absent)
            }
            Some(Via::Npm) => {
                let page = http.get_page(self.url.as_str(), "application/json", MAX_METADATA);
                let document: NpmVersion = serde_json::from_slice(&page.map_err(answer)?.body)
                    .map_err(|error| Answer::Absent(format!("it names no tarball: {error}")))?;
                let no_address = || Answer::Absent("its tarball has no address".to_owned());
                web_url(&document.dist.tarball).ok_or_else(no_address)
            }
        }
    }
}

/// An address that another server names: only the web's, never a local file.
pub(crate) fn web_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

impl Wanted {
    /// Where it may be, best first.
    pub(super) fn candidates(&self, sources: &Sources) -> Result<Vec<Candidate>, FetchError> {
        let hex = self.digest.to_string();
        let mut all = below(sources.places(Archive::Own), &["sha256", &hex[..2], &hex])?;
        match &self.kind {
            Kind::Deb { archive, path, date } => {
                let (kind, folder) = match archive {
                    DebArchive::Debian => (Archive::Debian, "debian"),
                    DebArchive::DebianSecurity => (Archive::DebianSecurity, "debian-security"),
                };
                all.extend(below(sources.places(kind), &[path])?);
                for time in [date + SNAPSHOT_DELAY, *date].iter().filter(|_| *date > 0) {
                    let stamp = timestamp(*time);
                    let parts = ["archive", folder, &stamp, path];
                    all.extend(below(sources.places(Archive::DebianSnapshot), &parts)?);
                }
            }
            Kind::Wheel { project, file } => {
                for place in sources.places(Archive::Pypi) {
                    all.extend(wheel(place, project, file)?);
                }
            }
            Kind::Npm { package, version } => {
                let places = sources.places(Archive::Npm);
                let base = package.rsplit('/').next().unwrap_or(package);
                let file = format!("{base}-{version}.tgz");
                all.extend(below(places, &[package, "-", &file])?);
                let web = places.iter().filter(|place| !place.base.starts_with("file:"));
                for place in web {
                    let mut document = below([place], &[package, version])?;
                    document.iter_mut().for_each(|candidate| candidate.via = Some(Via::Npm));
                    all.extend(document);
                }
            }
            Kind::Url { url } => all.push(Candidate {
                url: super::http::parse_url(url)?,
                found: "its overlay".to_owned(),
                via: None,
            }),
        }
        Ok(all)
    }

    /// What the user can do when no place has it.
    pub(super) fn remedy(&self, sources: &Sources) -> String {
        let elsewhere = self.remedy_without_archive(sources);
        match sources.places(Archive::Own) {
            [] => elsewhere,
            _ => format!(
                "`chatimg archive --check DIR` tells what else your archive lacks; `chatimg archive DIR`, run where the inputs \
                 still are, mends it; or {elsewhere}"
            ),
        }
    }

    fn remedy_without_archive(&self, sources: &Sources) -> String {
        let update =
            format!("`chatimg lock --update {}` takes what the archives have now", self.name);
        match &self.kind {
            Kind::Deb { .. } if sources.places(Archive::DebianSnapshot).is_empty() => format!(
                "{update}; or name a snapshot archive, which keeps old packages, as debian-snapshot in \
                 [sources] or CHATIMG_DEBIAN_SNAPSHOT"
            ),
            Kind::Url { .. } => format!("correct the address in the overlay, then {update}"),
            _ => format!("{update}; or name another place in [sources]"),
        }
    }
}

/// The same path below every place.
fn below<'a>(
    places: impl IntoIterator<Item = &'a Place>,
    parts: &[&str],
) -> Result<Vec<Candidate>, FetchError> {
    let candidate = |place: &Place| {
        let url = join(place, parts)?;
        Ok(Candidate { url, found: place.found.clone(), via: None })
    };
    places.into_iter().map(candidate).collect()
}

/// A path below a place. Each part may hold slashes; its bytes are escaped as needed.
pub(crate) fn join(place: &Place, parts: &[&str]) -> Result<Url, FetchError> {
    let bad =
        |why: &str| FetchError::BadAddress { address: place.base.clone(), why: why.to_owned() };
    let mut url = Url::parse(&place.base).map_err(|error| bad(&error.to_string()))?;
    let segments = || parts.iter().flat_map(|part| part.split('/'));
    if segments().any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(bad(&format!("'{}' is no path below it", parts.join("/"))));
    }
    url.path_segments_mut()
        .map_err(|()| bad("it cannot have a path"))?
        .pop_if_empty()
        .extend(segments());
    Ok(url)
}

/// An index page of a server; in a local folder the file itself, beside others or by project.
fn wheel(place: &Place, project: &str, file: &str) -> Result<Vec<Candidate>, FetchError> {
    if place.base.starts_with("file:") {
        let mut flat = below([place], &[file])?;
        flat.extend(below([place], &[project, file])?);
        return Ok(flat);
    }
    let mut url = join(place, &[project])?;
    url.path_segments_mut().expect("http has a path").push("");
    let via = Some(Via::Simple(file.to_owned()));
    Ok(vec![Candidate { url, found: place.found.clone(), via }])
}

/// `20261120T120000Z`
fn timestamp(seconds: i64) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| "now".to_owned())
}

impl Candidate {
    /// The address, as a message may show it.
    pub(super) fn shown(&self) -> String {
        shown(&self.url)
    }
}
