//! What somebody may have meant by a package name that does not exist.

use super::{Archive, UnknownName};
use crate::debian::relation::{ArchQualifier, Relation};

const MAX_SUGGESTIONS: usize = 3;
/// Further apart, and the words have nothing to do with each other.
const MAX_DISTANCE: usize = 2;

pub(super) fn unknown(archive: &Archive<'_>, name: &str) -> UnknownName {
    let relation = Relation { name, arch: ArchQualifier::Native, version: None };
    let mut providers: Vec<String> = Vec::new();
    for id in archive.indirect(&relation) {
        let provider = archive.package(id).name;
        if !providers.iter().any(|known| known == provider) {
            providers.push(provider.to_owned());
        }
    }
    let is_virtual = !providers.is_empty();
    let instead = if is_virtual { providers } else { similar(archive, name) };
    UnknownName { name: name.to_owned(), instead, is_virtual }
}

fn similar(archive: &Archive<'_>, name: &str) -> Vec<String> {
    let limit = MAX_DISTANCE.min(name.len() / 3);
    let mut near: Vec<(usize, &str)> = archive
        .names()
        .filter(|known| known.len().abs_diff(name.len()) <= limit)
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|&(distance, _)| distance <= limit)
        .collect();
    near.sort_unstable();
    near.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}
