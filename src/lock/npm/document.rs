//! What a registry says of a package, and whether a tarball says the same: npm's clients show people the one and install
//! the other.
//!
//! A document may be of any size and make; of its versions only the one that is chosen is taken apart.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use flate2::read::GzDecoder;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Version;
use crate::debian::unpack::{Source, find};
use crate::tree::TreePath;

/// No package has more versions, nor tags.
const MAX_VERSIONS: usize = 50_000;
/// Bytes that a registry says of one version; a package.json has no more either.
const MAX_MANIFEST: usize = 4 << 20;
/// Bytes of a tarball, unpacked, to be looked through for package.json.
const MAX_UNPACKED: u64 = 1 << 30;

/// What a registry says of one version.
pub(super) type Raw = Box<RawValue>;

/// All that a registry says of a package.
#[derive(Deserialize)]
pub(super) struct Packument {
    #[serde(default, rename = "dist-tags", deserialize_with = "bounded")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "bounded")]
    pub(super) versions: BTreeMap<String, Raw>,
}

impl Packument {
    pub(super) fn has(&self, version: &Version) -> bool {
        self.versions.contains_key(&version.to_string())
    }
}

/// What matters of one version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) optional_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    os: Vec<String>,
    #[serde(default)]
    cpu: Vec<String>,
    pub(super) dist: Dist,
}

/// Where its tarball is.
#[derive(Deserialize)]
pub(super) struct Dist {
    pub(super) tarball: String,
    pub(super) integrity: Option<String>,
}

/// The same in the tarball.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageJson {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn parse(raw: &Raw) -> Result<Self, String> {
        if raw.get().len() > MAX_MANIFEST {
            return Err(format!("the registry says over {MAX_MANIFEST} bytes of it"));
        }
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }

    /// Whether it is for the target's kind of machine.
    pub(super) fn fits(&self) -> bool {
        let allows = |list: &[String], own: &str| {
            let refused = list.iter().any(|item| item.strip_prefix('!') == Some(own));
            let mut named = list.iter().filter(|item| !item.starts_with('!')).peekable();
            !refused && (named.peek().is_none() || named.any(|item| item == own || item == "any"))
        };
        allows(&self.os, "linux") && allows(&self.cpu, "x64")
    }
}

/// Whether its author advises against it.
pub(super) fn is_deprecated(raw: &Raw) -> bool {
    #[derive(Deserialize)]
    struct Said {
        deprecated: Option<IgnoredAny>,
    }
    serde_json::from_str::<Said>(raw.get()).is_ok_and(|said| said.deprecated.is_some())
}

/// Whether a tarball is of this package and version, and needs what the registry says.
pub(super) fn check_tarball(
    file: impl Read,
    name: &str,
    version: &Version,
    manifest: &Manifest,
) -> Result<(), String> {
    let text = package_json(file)?;
    let own: PackageJson =
        serde_json::from_slice(&text).map_err(|error| format!("its package.json: {error}"))?;
    if own.name != name || Version::parse(&own.version).as_ref() != Some(version) {
        let (found, of) = (&own.name, &own.version);
        return Err(format!("it is {found:?} {of:?}, not {name} {version}"));
    }
    let all = |plain: &BTreeMap<String, String>, optional: &BTreeMap<String, String>| {
        plain.iter().chain(optional).map(|(name, range)| (name.clone(), range.clone())).collect()
    };
    let inside: BTreeMap<_, _> = all(&own.dependencies, &own.optional_dependencies);
    let said: BTreeMap<_, _> = all(&manifest.dependencies, &manifest.optional_dependencies);
    let differs = |(name, range): &(&String, &String)| inside.get(*name) != Some(*range);
    let more = said.iter().find(differs).map(|(name, _)| name);
    let more = more.or_else(|| inside.keys().find(|name| !said.contains_key(*name)));
    match more {
        None => Ok(()),
        Some(other) => Err(format!(
            "its package.json and the registry disagree about its dependency {other:?}"
        )),
    }
}

/// The file package.json in the top folder of a tarball, as it is unpacked for an image.
fn package_json(file: impl Read) -> Result<Vec<u8>, String> {
    let mut tar = GzDecoder::new(file).take(MAX_UNPACKED);
    let wanted = |path: &TreePath| {
        path.as_str().split_once('/').is_some_and(|(_, inside)| inside == "package.json")
    };
    let found = find(&mut tar, Source::Files, MAX_MANIFEST as u64, wanted);
    found.map_err(|error| error.to_string())?.ok_or_else(|| "it has no package.json".to_owned())
}

/// A map of no more entries than a package has versions.
fn bounded<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Bounded<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Bounded<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a map of at most {MAX_VERSIONS} entries")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((key, value)) = map.next_entry()? {
                if all.len() == MAX_VERSIONS {
                    return Err(A::Error::invalid_length(all.len() + 1, &self));
                }
                all.insert(key, value);
            }
            Ok(all)
        }
    }
    from.deserialize_map(Bounded(PhantomData))
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(packument) = serde_json::from_slice::<Packument>(bytes) {
        for raw in packument.versions.values() {
            is_deprecated(raw);
            _ = Manifest::parse(raw).is_ok_and(|manifest| manifest.fits());
        }
    }
}

/// The same of a tarball.
pub(crate) fn fuzz_tarball(bytes: &[u8]) {
    let text = "{\"dist\":{\"tarball\":\"\"},\"dependencies\":{\"a\":\"1\"}}";
    let manifest = RawValue::from_string(text.to_owned()).map(|raw| Manifest::parse(&raw));
    if let (Ok(Ok(manifest)), Some(version)) = (manifest, Version::parse("1.0.0")) {
        _ = check_tarball(bytes, "a", &version, &manifest);
    }
}
