//! npm packages, by the `package.json` of their tarballs: what esbuild makes of them has none any more.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{Component, id, licences, purl};
use crate::lock::{Lock, NpmTarball, npm_locked};
use crate::store::{Store, StoreError};

/// No `package.json` is larger.
const LARGEST: u64 = 1 << 20;

pub(super) fn components(store: &Store, lock: &Lock) -> Result<Vec<Component>, StoreError> {
    let name = |tarball: &NpmTarball| format!("npm-{}-{}", id(&tarball.name), id(&tarball.version));
    let component = |tarball: &NpmTarball| {
        let bytes = store.read_blob(&tarball.digest)?.unwrap_or_default();
        let about = about(&bytes).unwrap_or_default();
        let licence = about["license"].as_str().or_else(|| about["license"]["type"].as_str());
        let needs = about["dependencies"].as_object().into_iter().flatten();
        let needs = needs.filter_map(|(name, range)| npm_locked(lock, name, range.as_str()?));
        Ok(Component {
            id: name(tarball),
            name: tarball.name.clone(),
            version: tarball.version.clone(),
            purl: Some(purl::npm(&tarball.name, &tarball.version)),
            digest: tarball.digest,
            licence: licence.and_then(licences::npm),
            supplier: None,
            homepage: about["homepage"].as_str().map(str::to_owned),
            needs: needs.map(name).collect::<BTreeSet<_>>(),
        })
    };
    lock.npm.iter().map(component).collect()
}

/// The `package.json` in the tarball's one top folder.
fn about(bytes: &[u8]) -> Option<Value> {
    let mut tar = tar::Archive::new(GzDecoder::new(bytes));
    for entry in tar.entries().ok()? {
        let entry = entry.ok()?;
        let path = entry.path().ok()?.into_owned();
        if path.components().count() == 2 && path.ends_with("package.json") {
            let mut text = Vec::new();
            entry.take(LARGEST).read_to_end(&mut text).ok()?;
            return serde_json::from_slice(&text).ok();
        }
    }
    None
}
