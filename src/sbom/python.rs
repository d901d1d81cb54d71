//! Python wheels, by their `METADATA` in the environments.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, id, licences, purl};
use crate::lock::Lock;
use crate::store::{Store, StoreError};
use crate::tree::{Node, Tree};

pub(super) fn components(
    store: &Store,
    lock: &Lock,
    root: &Tree,
) -> Result<Vec<Component>, StoreError> {
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    for (path, entry) in root.iter() {
        if let (true, Node::File(file)) =
            (path.as_str().ends_with(".dist-info/METADATA"), &entry.node)
        {
            let text = String::from_utf8_lossy(&store.read(file)?).into_owned();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            found.insert((normal(&field("Name:")), field("Version:")), text);
        }
    }
    let here: BTreeSet<(&str, &str)> =
        lock.wheels.iter().map(|wheel| (wheel.env.as_str(), wheel.name.as_str())).collect();
    let component = |wheel: &crate::lock::Wheel| {
        let metadata = found.get(&(wheel.name.clone(), wheel.version.clone()));
        let needs = metadata.map(|text| requirements(text)).unwrap_or_default();
        let needs = needs.into_iter().filter(|name| here.contains(&(&wheel.env, name)));
        let name = |name: &str| format!("python-{}-{}", id(&wheel.env), id(name));
        Component {
            id: name(&wheel.name),
            name: wheel.name.clone(),
            version: wheel.version.clone(),
            purl: Some(purl::wheel(&wheel.name, &wheel.version)),
            digest: wheel.digest,
            licence: metadata.and_then(|text| licences::python(text)),
            supplier: None,
            homepage: None,
            needs: needs.filter(|need| *need != wheel.name).map(|need| name(&need)).collect(),
        }
    };
    Ok(lock.wheels.iter().map(component).collect())
}

/// What it needs whoever uses it: those without an extra. That a marker may not fit shows in that they are not here.
fn requirements(metadata: &str) -> Vec<String> {
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.strip_prefix("Requires-Dist:"));
    let plain = lines.filter(|line| !line.contains("extra =="));
    let name = |line: &str| {
        let end = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
        normal(line.trim().split(end).next().unwrap_or_default())
    };
    plain.map(name).collect()
}

/// PEP 503.
fn normal(name: &str) -> String {
    let parts: Vec<_> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}
