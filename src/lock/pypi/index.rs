//! What a Python index has for the target, got when first asked for and kept.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use url::Url;

use super::metadata::{self, Metadata};
use super::wheel::{self, Rank};
use crate::digest::Digest;
use crate::fetch::simple::{self, Link};
use crate::fetch::{Archive, FetchError, Place};
use crate::lock::Wheel;
use crate::lock::online::Online;

const MAX_METADATA: u64 = 8 << 20;
/// No environment has more; an index that always needs one more project would never come to an end.
const MAX_PROJECTS: usize = 500;
/// Bytes of all that is kept in memory; a large environment takes a tenth.
const MAX_KEPT: usize = 256 << 20;

/// What a release says, or why that cannot be used.
type Read = Result<Rc<Metadata>, String>;

/// An index, or several in order.
pub(super) struct Index<'a> {
    online: Online<'a>,
    locked: &'a BTreeMap<String, Wheel>,
    /// Those that are to stay.
    prefer: &'a BTreeMap<String, Wheel>,
    places: &'a [Place],
    /// Bytes of `projects` and `metadata`.
    kept: Cell<usize>,
    projects: RefCell<HashMap<String, Rc<Vec<Release>>>>,
    metadata: RefCell<HashMap<(String, Version), Read>>,
    failure: RefCell<Option<FetchError>>,
    unknown: RefCell<Vec<String>>,
}

/// One version's best wheel.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) version: Version,
    rank: Rank,
    link: Link,
}

impl<'a> Index<'a> {
    pub(super) fn new(
        online: Online<'a>,
        locked: &'a BTreeMap<String, Wheel>,
        prefer: &'a BTreeMap<String, Wheel>,
    ) -> Result<Self, FetchError> {
        let places = online.sources.required(Archive::Pypi, online.config)?;
        Ok(Self {
            online,
            locked,
            prefer,
            places,
            kept: Cell::default(),
            projects: RefCell::default(),
            metadata: RefCell::default(),
            failure: RefCell::default(),
            unknown: RefCell::default(),
        })
    }

    /// The failure that made everything stop.
    pub(super) fn take_failure(&self) -> Option<FetchError> {
        self.failure.take()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Projects without a single release of use, and why.
    pub(super) fn unknown(&self) -> Vec<String> {
        self.unknown.borrow().clone()
    }

    /// The versions of a project that the target can run, newest first; none if there is no such
    /// project or it could not be asked ([`Index::has_failed`]).
    pub(super) fn releases(&self, project: &str) -> Rc<Vec<Release>> {
        if let Some(known) = self.projects.borrow().get(project) {
            return Rc::clone(known);
        }
        if self.projects.borrow().len() == MAX_PROJECTS {
            self.lie(project, format!("more than {MAX_PROJECTS} projects are needed"));
            return Rc::default();
        }
        let links = self.links(project).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            Vec::new()
        });
        if links.is_empty() {
            let nobody =
                format!("{project} was asked for at {}: nobody there knows it", self.places());
            self.unknown.borrow_mut().push(nobody);
        }
        let found = links.len();
        let stays = self.prefer.get(project).map(|wheel| wheel.file.as_str());
        let releases = Rc::new(best(project, links, stays));
        self.keep(project, releases.iter().map(|release| release.link.weight()).sum());
        if found > 0 && releases.is_empty() {
            let none = format!(
                "{project} has {found} files in the index, but no wheel for this Python and platform"
            );
            self.unknown.borrow_mut().push(none);
        }
        self.projects.borrow_mut().insert(project.to_owned(), Rc::clone(&releases));
        releases
    }

    /// Counts what stays in memory; too much makes everything stop.
    fn keep(&self, project: &str, bytes: usize) {
        self.kept.set(self.kept.get().saturating_add(bytes));
        if self.kept.get() > MAX_KEPT {
            self.lie(project, format!("with it, the index says over {MAX_KEPT} bytes"));
        }
    }

    fn lie(&self, project: &str, why: String) {
        let address = self.places.first().map(|place| place.base.clone()).unwrap_or_default();
        let file = project.to_owned();
        self.failure.borrow_mut().get_or_insert(FetchError::Lie { file, address, why });
    }

    /// Who is asked.
    pub(super) fn places(&self) -> String {
        self.places.iter().map(|place| place.base.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The files of the first index that knows the project.
    fn links(&self, project: &str) -> Result<Vec<Link>, FetchError> {
        for place in self.places {
            let url = Url::parse(&place.base).and_then(|base| base.join(&format!("{project}/")));
            let url = url.map_err(|error| FetchError::BadAddress {
                address: place.base.clone(),
                why: error.to_string(),
            })?;
            (self.online.note)(url.as_str());
            match simple::project(self.online.http, &url) {
                Err(error) if error.is_missing() => {}
                answer => return answer,
            }
        }
        Ok(Vec::new())
    }

    /// What a release says about itself; `Err`: it is no use.
    pub(super) fn metadata(&self, project: &str, release: &Release) -> Read {
        let key = (project.to_owned(), release.version.clone());
        if let Some(known) = self.metadata.borrow().get(&key) {
            return known.clone();
        }
        let text = match self.metadata_text(project, release) {
            Ok(Ok(text)) => self.of_release(project, release, text),
            Ok(error) => Ok(error),
            Err(error) => Err(error),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let why = error.to_string();
                self.failure.borrow_mut().get_or_insert(error);
                return Err(why);
            }
        };
        let parsed = text.and_then(|text| metadata::parse(&text, project, &release.version));
        let parsed = parsed.map(Rc::new);
        self.keep(project, parsed.as_ref().map_or_else(String::len, |it| it.weight));
        self.metadata.borrow_mut().insert(key, parsed.clone());
        parsed
    }

    /// The version of a project that is locked.
    pub(super) fn locked(&self, project: &str) -> Option<Version> {
        self.locked.get(project)?.version.parse().ok()
    }

    /// The same, if it is to stay.
    pub(super) fn preferred(&self, project: &str) -> Option<Version> {
        self.prefer.get(project)?.version.parse().ok()
    }

    /// METADATA of another release makes this one useless; but the locked one was right once.
    fn of_release(
        &self,
        project: &str,
        release: &Release,
        text: String,
    ) -> Result<Result<String, String>, FetchError> {
        match metadata::check(&text, project, &release.version) {
            Err(why) if self.locked(project).as_ref() == Some(&release.version) => {
                let (file, address) = (release.link.name.clone(), release.link.url.to_string());
                Err(FetchError::Lie { file, address, why })
            }
            Err(why) => Ok(Err(why)),
            Ok(()) => Ok(Ok(text)),
        }
    }

    /// The digest of a release's wheel, if it is that of the lock.
    fn locked_wheel(&self, project: &str, release: &Release) -> Option<Digest> {
        let locked = self.locked.get(project).filter(|wheel| wheel.file == release.link.name);
        locked.map(|wheel| wheel.digest)
    }

    /// As the index shows it, or as the wheel has it; that of a locked one has it always: the index might now say whatever leads
    /// to an older release, or to its own.
    fn metadata_text(
        &self,
        project: &str,
        release: &Release,
    ) -> Result<Result<String, String>, FetchError> {
        let link = &release.link;
        let locked = self.locked_wheel(project, release);
        let Some(digest) = link.metadata.filter(|_| locked.is_none()) else {
            let found = self.online.look(&link.url, locked.or(link.digest));
            let mut found = found.map_err(|error| error.of_locked(project, &link.url, locked))?;
            let text = metadata::from_wheel(&mut found.file);
            let right = |text: &String| metadata::check(text, project, &release.version);
            if text.as_ref().is_ok_and(|text| right(text).is_ok()) {
                found.keep()?;
            }
            return Ok(text);
        };
        let address = format!("{}.metadata", link.url);
        (self.online.note)(&address);
        let bytes = self.online.http.get_bytes(&address, MAX_METADATA)?;
        if Digest::of(&bytes) != digest {
            return Err(FetchError::wrong_bytes(&link.url, &Digest::of(&bytes)));
        }
        Ok(String::from_utf8(bytes).map_err(|error| error.to_string()))
    }

    /// The release as the lock has it, with its wheel in the store.
    pub(super) fn wheel(
        &self,
        env: &str,
        project: &str,
        release: &Release,
    ) -> Result<Wheel, FetchError> {
        let link = &release.link;
        let locked = self.locked_wheel(project, release);
        if let (Some(said), Some(_)) = (link.digest.filter(|said| Some(*said) != locked), locked) {
            let error = FetchError::wrong_bytes(&link.url, &said);
            return Err(error.of_locked(project, &link.url, locked));
        }
        let taken = self.online.take(&link.url, locked.or(link.digest), |file| {
            let text = metadata::from_wheel(file)?;
            metadata::check(&text, project, &release.version)?;
            // What was resolved must be what will be installed (PEP 658).
            match link.metadata.is_none_or(|said| said == Digest::of(text.as_bytes())) {
                true => Ok(()),
                false => Err("its METADATA is not what the index says that it is".to_owned()),
            }
        });
        let taken = taken.map_err(|error| error.of_locked(project, &link.url, locked))?;
        Ok(Wheel {
            env: env.to_owned(),
            name: project.to_owned(),
            version: release.version.to_string(),
            file: release.link.name.clone(),
            size: taken.size,
            digest: taken.digest,
        })
    }
}

/// The best wheel of each version that runs on the target and is not withdrawn, newest version
/// first. `stays`: the file that is the best of its version because it is locked.
fn best(project: &str, links: Vec<Link>, stays: Option<&str>) -> Vec<Release> {
    let python = metadata::environment().python_full_version().version.clone();
    let mut releases: Vec<Release> = Vec::new();
    for link in links {
        let fits = match link.requires_python.as_deref().map(VersionSpecifiers::from_str) {
            Some(Ok(wanted)) => wanted.contains(&python),
            // As pip: what nobody understands forbids nothing.
            Some(Err(_)) | None => true,
        };
        let Some(name) = wheel::parse(&link.name) else { continue };
        if let (Some(rank), true, false) = (name.rank, fits, link.yanked)
            && name.project == project
        {
            releases.push(Release { version: name.version, rank, link });
        }
    }
    releases.sort_by(|a, b| {
        let other = |release: &Release| stays != Some(release.link.name.as_str());
        let order = b.version.cmp(&a.version).then(other(a).cmp(&other(b)));
        let order = order.then(a.rank.cmp(&b.rank));
        // A later build tag before an earlier one.
        order.then(b.link.name.cmp(&a.link.name))
    });
    releases.dedup_by(|later, first| later.version == first.version);
    releases
}
