//! Places: which base addresses each kind of archive has, and who said so.
//!
//! The first of these that names any place for a kind decides, and its places are tried in order:
//! `[sources]` of the user's configuration, `CHATIMG_*`, then the machine's own tools: for Debian
//! the apt sources, for pip and npm their environment, their configuration files, the default of
//! the installed client. So a user who names a mirror never asks anybody else. An archive of the user's own is asked
//! before all of them: what is in there is at hand, and the others may be gone. No host name stands in this code.

pub(crate) mod apt;
pub(crate) mod defaults;
pub(crate) mod npm;
pub(crate) mod pip;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::http::parse_url;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archive {
    /// Debian's main archive: has `dists/` and `pool/`.
    Debian,
    /// Debian's security archive, of the same layout.
    DebianSecurity,
    /// A snapshot archive: has `archive/debian/TIMESTAMP/` of the layout of the above.
    DebianSnapshot,
    /// A Python package index, PEP 503: has `PROJECT/`.
    Pypi,
    /// An npm registry: has `NAME` and `NAME/-/FILE`.
    Npm,
    /// An archive of the user's own (`chatimg archive`): has `sha256/ab/abcd...` of any kind of input.
    Own,
}

const ALL: [Archive; 6] = [
    Archive::Debian,
    Archive::DebianSecurity,
    Archive::DebianSnapshot,
    Archive::Pypi,
    Archive::Npm,
    Archive::Own,
];

impl Archive {
    /// Its key in `[sources]`; in upper case, with `CHATIMG_` in front, its environment variable.
    pub fn key(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::DebianSecurity => "debian-security",
            Self::DebianSnapshot => "debian-snapshot",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Own => "archive",
        }
    }

    fn variable(self) -> String {
        format!("CHATIMG_{}", self.key().replace('-', "_").to_uppercase())
    }
}

/// One base address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An http, https or file URL that ends with a slash.
    pub base: String,
    /// Who named it, for messages.
    pub found: String,
}

impl Place {
    /// A checked place. `address`: a URL or an absolute path.
    fn new(address: &str, found: &str) -> Result<Self, SourcesError> {
        let bad = |why: String| SourcesError::Address {
            address: address.to_owned(),
            found: found.to_owned(),
            why,
        };
        let mut base = parse_url(address).map_err(|error| bad(error.to_string()))?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("a base address has no '?' or '#'".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { base: base.to_string(), found: found.to_owned() })
    }
}

/// What the places are discovered from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user's configuration file; it may be missing.
    pub config: PathBuf,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The root folder of the machine whose tools are asked: `/`, but for tests.
    pub root: PathBuf,
}

impl Settings {
    /// A path of that machine.
    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The text of a file of that machine, if there is one.
    fn text(&self, absolute: &str) -> Option<String> {
        fs::read_to_string(self.path(absolute)).ok()
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Folders of `dir`, sorted.
    fn folders(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(dir))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .map(|name| format!("{}/{name}", dir.trim_end_matches('/')))
            .collect();
        names.sort();
        names
    }

    /// Folders that hold `bin/` of the programs found by PATH, and the usual ones.
    fn prefixes(&self) -> Vec<String> {
        let path = self.var("PATH").unwrap_or_default();
        let mut all: Vec<String> = path
            .split(':')
            .filter_map(|dir| dir.strip_suffix("/bin"))
            .filter(|dir| dir.starts_with('/'))
            .map(str::to_owned)
            .collect();
        if let Some(home) = self.var("HOME") {
            all.extend(self.folders(&format!("{home}/.pyenv/versions")));
            all.extend(self.folders(&format!("{home}/.nvm/versions/node")));
        }
        all.extend(["/usr".to_owned(), "/usr/local".to_owned()]);
        all
    }
}

/// The places of every kind of archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    places: BTreeMap<Archive, Vec<Place>>,
}

/// The places cannot be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourcesError {
    /// The configuration file cannot be read.
    #[error("reading {}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        why: String,
    },
    /// An address is none.
    #[error("{found} names '{address}' as a place to fetch from: {why}")]
    Address {
        /// The text.
        address: String,
        /// Who named it.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing names a place.
    #[error(
        "nothing on this machine says where to find {}; set {} or, in {}, `[sources]` {} = \"ADDRESS\" \
         (a URL or an absolute path)",
        kind(*archive), archive.variable(), config.display(), archive.key()
    )]
    Unknown {
        /// What for.
        archive: Archive,
        /// The file that could.
        config: PathBuf,
    },
}

fn kind(archive: Archive) -> &'static str {
    match archive {
        Archive::Debian => "Debian packages (no apt source names Debian's archive)",
        Archive::DebianSecurity => "Debian security updates (no apt source names their archive)",
        Archive::DebianSnapshot => "a snapshot archive of Debian",
        Archive::Pypi => "Python packages (no pip is installed or configured)",
        Archive::Npm => "npm packages (no npm is installed or configured)",
        Archive::Own => "an archive of your own (`chatimg archive`)",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    sources: BTreeMap<SourceKey, OneOrMany>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum SourceKey {
    Debian,
    DebianSecurity,
    DebianSnapshot,
    Pypi,
    Npm,
    Archive,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an address or a list of addresses")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Sources {
    /// Finds out the places.
    ///
    /// # Errors
    /// The configuration file is wrong, or an explicit setting is no address. What the machine's
    /// tools have that is of no use here is passed over.
    pub fn discover(settings: &Settings) -> Result<Self, SourcesError> {
        let mut places = configured(&settings.config)?;
        for archive in ALL {
            let Some(value) = settings.var(&archive.variable()) else { continue };
            let found = archive.variable();
            let named = value.split_whitespace().map(|address| Place::new(address, &found));
            places.entry(archive).or_insert(named.collect::<Result<_, _>>()?);
        }
        for (archive, found) in apt::places(settings) {
            places.entry(archive).or_insert(found);
        }
        places.entry(Archive::Pypi).or_insert_with(|| pip::places(settings));
        places.entry(Archive::Npm).or_insert_with(|| npm::places(settings));
        places.retain(|_, places| !places.is_empty());
        Ok(Self { places })
    }

    /// The places of `archive`, in the order to try; may be none.
    pub fn places(&self, archive: Archive) -> &[Place] {
        self.places.get(&archive).map_or(&[], Vec::as_slice)
    }

    /// The same, where there must be one. `config`: the file a message may point at.
    ///
    /// # Errors
    /// There is none: the message says which setting to give.
    pub fn required(&self, archive: Archive, config: &Path) -> Result<&[Place], SourcesError> {
        match self.places(archive) {
            [] => Err(SourcesError::Unknown { archive, config: config.to_owned() }),
            places => Ok(places),
        }
    }

    /// Adds a place behind the others.
    ///
    /// # Errors
    /// `address` is none.
    pub fn add(
        &mut self,
        archive: Archive,
        address: &str,
        found: &str,
    ) -> Result<(), SourcesError> {
        let place = Place::new(address, found)?;
        self.places.entry(archive).or_default().push(place);
        Ok(())
    }
}

impl Sources {
    /// Adds the index that the pip inside Debian's package asks unless told otherwise. `deb`: its bytes.
    ///
    /// # Errors
    /// The address is none.
    pub(super) fn add_pip_default(&mut self, deb: &[u8]) -> Result<(), SourcesError> {
        match defaults::pypi_from_deb(deb) {
            Some(address) => self.add(Archive::Pypi, &address, "the default of Debian's pip"),
            None => Ok(()),
        }
    }
}

/// Makes places of what a machine's tool says; what is no usable address is left out.
fn usable(addresses: impl IntoIterator<Item = (String, String)>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (address, found) in addresses {
        if let Ok(place) = Place::new(&address, &found)
            && places.iter().all(|known| known.base != place.base)
        {
            places.push(place);
        }
    }
    places
}

fn configured(path: &Path) -> Result<BTreeMap<Archive, Vec<Place>>, SourcesError> {
    let wrong = |why| SourcesError::Config { path: path.to_owned(), why };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let file: ConfigFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let mut places = BTreeMap::new();
    for (key, value) in file.sources {
        let archive = match key {
            SourceKey::Debian => Archive::Debian,
            SourceKey::DebianSecurity => Archive::DebianSecurity,
            SourceKey::DebianSnapshot => Archive::DebianSnapshot,
            SourceKey::Pypi => Archive::Pypi,
            SourceKey::Npm => Archive::Npm,
            SourceKey::Archive => Archive::Own,
        };
        let found = format!("{} in {}", archive.key(), path.display());
        let addresses = match value {
            OneOrMany::One(address) => vec![address],
            OneOrMany::Many(addresses) => addresses,
        };
        if addresses.is_empty() {
            return Err(wrong(format!(
                "sources.{}: the list is empty; name an address, or leave it out",
                archive.key()
            )));
        }
        let named = addresses.iter().map(|address| Place::new(address, &found));
        places.insert(archive, named.collect::<Result<_, _>>()?);
    }
    Ok(places)
}

#[cfg(test)]
mod tests;
