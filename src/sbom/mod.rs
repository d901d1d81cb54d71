//! What an image is made of, for programs that look for known holes or for licences: SPDX 2.3 and CycloneDX 1.6.
//!
//! Names and digests are the lock's, licences and dependencies those that the packages themselves tell in the tree: dpkg's status and
//! `copyright` files, the wheels' `METADATA`, npm's `package.json`. Nothing is of the day: the time is the image's epoch, the
//! number a UUID of the tree's digest.

mod cyclonedx;
mod debian;
pub(crate) mod licences;
mod npm;
mod purl;
mod python;
mod spdx;

pub use purl::{deb as deb_purl, npm as npm_purl, wheel as wheel_purl};

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::{Uuid, uuid};

use crate::digest::{Digest, Hasher};
use crate::lock::Lock;
use crate::store::{StepError, Store, StoreError};
use crate::tree::{Node, Tree};
use licences::Licence;

/// File names in an image's folder.
pub const SPDX: &str = "sbom.spdx.json";
/// See [`SPDX`].
pub const CYCLONEDX: &str = "sbom.cdx.json";

const NAMESPACE: Uuid = uuid!("b8a3f0de-52f1-4b8e-8a4c-6f0e3f0c9d17");

/// A part of the image that somebody else made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Component {
    /// Letters, digits, dots and dashes; unique.
    id: String,
    name: String,
    version: String,
    purl: Option<String>,
    digest: Digest,
    licence: Option<Licence>,
    /// Who made it, if that is one for all.
    supplier: Option<&'static str>,
    homepage: Option<String>,
    /// Ids of those that it needs and that are here.
    needs: BTreeSet<String>,
}

/// All of it.
struct Bill<'a> {
    name: &'a str,
    number: Uuid,
    /// RFC 3339.
    time: String,
    tree: Digest,
    debian: String,
    components: Vec<Component>,
}

/// Both documents of an image with this root file system, by their file names; made once for it.
///
/// # Errors
/// Contents cannot be read.
pub fn documents(
    store: &Store,
    name: &str,
    lock: &Lock,
    root: &Tree,
) -> Result<Vec<(&'static str, String)>, StoreError> {
    let mut key = Hasher::step("sbom");
    key.field(name).field(root.id().as_bytes()).field(lock.to_toml());
    let both = store.document(key.finish(), || {
        let bill = Bill::new(store, name, lock, root)?;
        let line = |value: &serde_json::Value| format!("{value:#}");
        Ok(format!("{}\n\0{}\n", line(&spdx::document(&bill)), line(&cyclonedx::document(&bill))))
    });
    let both = both.map_err(StepError::<StoreError>::into_inner)?;
    let (spdx, cyclonedx) = both.split_once('\0').unwrap_or((&both, ""));
    Ok(vec![(SPDX, spdx.to_owned()), (CYCLONEDX, cyclonedx.to_owned())])
}

impl<'a> Bill<'a> {
    fn new(store: &Store, name: &'a str, lock: &Lock, root: &Tree) -> Result<Self, StoreError> {
        let tree = root.id();
        let time = OffsetDateTime::from_unix_timestamp(lock.epoch).ok();
        let release = text(store, root, "usr/lib/os-release")?.unwrap_or_default();
        let version = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
        let debian = version.unwrap_or_default().trim_matches('"').to_owned();
        let mut components = debian::components(store, lock, root, &debian)?;
        components.extend(python::components(store, lock, root)?);
        components.extend(npm::components(store, lock)?);
        components.extend(lock.urls.iter().map(|url| Component {
            id: format!("file-{}", id(&url.name)),
            name: url.name.clone(),
            version: url.digest.short(),
            purl: None,
            digest: url.digest,
            licence: None,
            supplier: None,
            homepage: lock.request.url.get(&url.name).map(|asked| asked.url.clone()),
            needs: BTreeSet::new(),
        }));
        Ok(Self {
            name,
            number: Uuid::new_v5(&NAMESPACE, tree.as_bytes()),
            time: time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default(),
            tree,
            debian,
            components,
        })
    }
}

/// Letters, digits, dots and dashes only, different for different names.
fn id(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let shape = |c: char| match c {
        c if plain(c) => c.to_string(),
        c => format!("-{:x}-", u32::from(c)),
    };
    name.chars().map(shape).collect()
}

/// A text file of the tree, if it is there.
fn text(store: &Store, tree: &Tree, path: &str) -> Result<Option<String>, StoreError> {
    let path = tree.resolve(path);
    match path.and_then(|path| tree.get(path.as_str())).map(|entry| &entry.node) {
        Some(Node::File(file)) => {
            Ok(Some(String::from_utf8_lossy(&store.read(file)?).into_owned()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_plain_characters_and_stay_different() {
        assert_eq!(id("libstdc++6"), "libstdc-2b--2b-6");
        assert_eq!(id("@matrix-org/olm"), "-40-matrix-org-2f-olm");
        assert_ne!(id("a_b"), id("a+b"));
    }
}
