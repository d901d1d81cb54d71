//! Debian packages: those in the root file system, and those of the tools whose bytes start the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, id, licences, purl, text};
use crate::debian::control::Control;
use crate::debian::{deb, relation};
use crate::lock::{Deb, Group, Lock};
use crate::store::{Store, StoreError};
use crate::tree::Tree;

/// Tools that leave bytes of their own in the image: busybox in the initrd, GRUB before it.
const IN_BOOT_FILES: [&str; 4] =
    ["busybox-static", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin"];

pub(super) fn components(
    store: &Store,
    lock: &Lock,
    root: &Tree,
    release: &str,
) -> Result<Vec<Component>, StoreError> {
    let status = text(store, root, "var/lib/dpkg/status")?.unwrap_or_default();
    let status: BTreeMap<String, Control> = status
        .split("\n\n")
        .filter_map(|paragraph| Control::parse(paragraph.trim_matches('\n')).ok())
        .filter_map(|control| Some((control.get("Package")?.to_owned(), control)))
        .collect();
    let providers = providers(&status);
    let wanted = |deb: &&Deb| {
        deb.groups.contains(&Group::Image) || IN_BOOT_FILES.contains(&deb.name.as_str())
    };
    let component = |deb: &Deb| {
        let control = match status.get(&deb.name) {
            Some(control) => control.clone(),
            None => own_control(store, deb)?,
        };
        let source = source(&control, deb);
        let upstream = source.as_ref().map(|(name, version)| (name.as_str(), version.as_str()));
        let copyright = format!("usr/share/doc/{}/copyright", deb.name);
        let licence = text(store, root, &copyright)?.and_then(|text| licences::debian(&text));
        let mut needs = BTreeSet::new();
        for field in ["Pre-Depends", "Depends"] {
            let groups = relation::parse_field(control.get(field).unwrap_or_default());
            // Of alternatives, those that are here.
            let names = groups.iter().flatten().flatten().map(|relation| relation.name);
            let here = names.flat_map(|name| providers.get(name).into_iter().flatten());
            needs.extend(
                here.filter(|name| **name != deb.name).map(|name| format!("deb-{}", id(name))),
            );
        }
        Ok(Component {
            id: format!("deb-{}", id(&deb.name)),
            name: deb.name.clone(),
            version: deb.version.clone(),
            purl: Some(purl::deb(&deb.name, &deb.version, &deb.arch, upstream, release)),
            digest: deb.digest,
            licence,
            supplier: Some("Debian"),
            homepage: control.get("Homepage").map(str::to_owned),
            needs,
        })
    };
    lock.debs.iter().filter(wanted).map(component).collect()
}

/// That of a tool, which the root file system's dpkg knows nothing of.
fn own_control(store: &Store, deb: &Deb) -> Result<Control, StoreError> {
    let text = store.open_blob(&deb.digest)?.and_then(|reader| deb::control(reader).ok());
    Ok(text.and_then(|text| Control::parse(&text).ok()).unwrap_or_default())
}

/// What it was built from, if name or version differ: `Source: gcc-14 (14.2.0-19)`.
fn source(control: &Control, deb: &Deb) -> Option<(String, String)> {
    let source = control.get("Source")?;
    let (name, version) = match source.split_once(" (") {
        Some((name, version)) => (name, version.trim_end_matches(')')),
        None => (source, deb.version.as_str()),
    };
    (name != deb.name || version != deb.version).then(|| (name.to_owned(), version.to_owned()))
}

/// Which packages answer to a name: the one that has it, and those that provide it.
fn providers(status: &BTreeMap<String, Control>) -> BTreeMap<String, Vec<String>> {
    let mut providers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, control) in status {
        let provides = control.get("Provides").unwrap_or_default();
        let groups = relation::parse_field(provides).unwrap_or_default();
        let provided = groups.iter().flatten().map(|relation| relation.name);
        for answer in provided.chain([name.as_str()]).collect::<BTreeSet<_>>() {
            providers.entry(answer.to_owned()).or_default().push(name.clone());
        }
    }
    providers
}
