//! Law 3: no secret in the image. A tree that holds one of the declared secrets, or anything that [`crate::scan`] knows, is refused;
//! whoever built it, whichever package it is from. What packages publish (keys of their tests, mostly) overlays list with the
//! reason: `[[published]]`.
//!
//! Every file is looked at. What was found in it is kept in the store by its contents, for files of the same pack together, so a build
//! looks only at what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::pattern::fits;
use crate::appliance::{Plan, own_files};
use crate::digest::{Digest, Hasher};
use crate::interrupt::Interrupted;
use crate::parallel;
use crate::scan::{self, Canaries, Finding};
use crate::store::{StepError, Store, StoreError};
use crate::tree::{FileRef, Node, Tree};

/// Packs of less bytes share a document: each costs the time of a flush to disk.
const LARGE: u64 = 8 << 20;
/// Documents that they share.
const SHARED: u8 = 16;
/// What a message shows.
const SHOWN: usize = 20;

/// Something secret is in the tree.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Files hold secrets.
    #[error(
        "the image would hold secrets:{}\n\
         remove them, or declare them in [[secrets]] of their overlay to have them made on the box; what everybody has \
         anyway (the keys of a package's tests) is listed in [[published]], with the reason",
        list(.0)
    )]
    Found(
        /// `/etc/key.pem:1: a private key (PEM)`
        Vec<String>,
    ),
    /// A declared secret is there already.
    #[error(
        "/{path} is declared in [[secrets]] to be made on the box, but the image has it already"
    )]
    Declared {
        /// Where.
        path: String,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(found: &[String]) -> String {
    let mut text = String::new();
    for line in found.iter().take(SHOWN) {
        _ = write!(text, "\n  {line}");
    }
    if found.len() > SHOWN {
        _ = write!(text, "\n  and {} more", found.len() - SHOWN);
    }
    text
}

/// Looks at all files. `published` are patterns of what packages publish, besides those of overlays.
pub(super) fn refuse(
    store: &Store,
    tree: &Tree,
    plan: &Plan,
    published: &[&str],
) -> Result<(), SecretError> {
    for secret in plan.overlays.iter().flat_map(|overlay| &overlay.secrets) {
        let path = secret.path.trim_matches('/');
        if tree.get(path).is_some() {
            return Err(SecretError::Declared { path: path.to_owned() });
        }
    }
    let canaries = plan.canaries.iter().map(String::as_str);
    let canaries = Canaries::new(canaries).expect("the plan was checked");
    let found = by_contents(store, tree, &canaries)?;
    let published = Published { plan, packages: published, own: overlays_files(plan) };
    let mut all = Vec::new();
    for (path, file) in files(tree) {
        let mut here = found.get(&file.digest).cloned().unwrap_or_default();
        if scan::is_known_name(path) {
            here.extend(scan::by_path(path, &store.read(file)?));
        }
        here.sort();
        here.retain(|finding| finding.is_canary() || !published.has(path, &file.digest));
        // One line of a file may fit two rules; the first says enough.
        here.dedup_by_key(|finding| finding.line.max(1));
        all.extend(here.iter().map(|finding| format!("/{path}{finding}")));
    }
    if all.is_empty() { Ok(()) } else { Err(SecretError::Found(all)) }
}

fn files(tree: &Tree) -> impl Iterator<Item = (&str, &FileRef)> {
    tree.iter().filter_map(|(path, entry)| match &entry.node {
        Node::File(file) => Some((path.as_str(), file)),
        _ => None,
    })
}

/// Paths of the overlays' own files: nobody else publishes them.
fn overlays_files(plan: &Plan) -> BTreeSet<String> {
    let overlays = plan.overlays.iter();
    // Compose has just read them all.
    overlays.flat_map(|overlay| own_files(&overlay.dir).unwrap_or_default()).collect()
}

/// What is let through.
struct Published<'a> {
    plan: &'a Plan,
    packages: &'a [&'a str],
    own: BTreeSet<String>,
}

impl Published<'_> {
    fn has(&self, path: &str, digest: &Digest) -> bool {
        let absolute = format!("/{path}");
        let own = self.own.contains(&absolute);
        let mut overlays = self.plan.overlays.iter().flat_map(|overlay| &overlay.published);
        let of_overlays = overlays.any(|published| {
            let same = match published.digest {
                Some(published) => published == *digest,
                None => !own,
            };
            same && fits(&published.path, &absolute)
        });
        of_overlays || !own && self.packages.iter().any(|pattern| fits(pattern, path))
    }
}

/// What is found in files, whatever their names are.
fn by_contents(
    store: &Store,
    tree: &Tree,
    canaries: &Canaries,
) -> Result<BTreeMap<Digest, Vec<Finding>>, SecretError> {
    let mut packs: BTreeMap<Digest, BTreeMap<Digest, FileRef>> = BTreeMap::new();
    for (_, file) in files(tree) {
        packs.entry(file.at.pack).or_default().insert(file.digest, *file);
    }
    let size =
        |files: &BTreeMap<Digest, FileRef>| files.values().map(|file| file.size).sum::<u64>();
    let mut groups: BTreeMap<Vec<u8>, BTreeMap<Digest, FileRef>> = BTreeMap::new();
    for (pack, files) in packs {
        let name = pack.as_bytes();
        let name = if size(&files) < LARGE { vec![name[0] % SHARED] } else { name.to_vec() };
        groups.entry(name).or_default().extend(files);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|files| std::cmp::Reverse(size(files)));
    let found = parallel::try_map(&groups, |files| group(store, files, canaries))?;
    Ok(found.into_iter().flatten().collect())
}

/// What is found in some files: known, or looked for now.
fn group(
    store: &Store,
    files: &BTreeMap<Digest, FileRef>,
    canaries: &Canaries,
) -> Result<BTreeMap<Digest, Vec<Finding>>, SecretError> {
    let mut key = Hasher::step("secrets");
    key.field(canaries.identity());
    files.keys().for_each(|digest| _ = key.field(digest.as_bytes()));
    let text = store.document(key.finish(), || {
        let mut text = String::new();
        for (digest, file) in files {
            for Finding { at, line, what } in scan::contents(&store.read(file)?, canaries) {
                _ = writeln!(text, "{digest} {at} {line} {what}");
            }
        }
        Ok::<_, StoreError>(text)
    });
    let text = text.map_err(StepError::into_inner)?;
    let mut found: BTreeMap<Digest, Vec<Finding>> = BTreeMap::new();
    for line in text.lines() {
        let (digest, finding) = parse(line).expect("this very code wrote it");
        found.entry(digest).or_default().push(finding);
    }
    Ok(found)
}

fn parse(line: &str) -> Option<(Digest, Finding)> {
    let mut fields = line.splitn(4, ' ');
    let digest = fields.next()?.parse().ok()?;
    let (at, line) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((digest, Finding { at, line, what: fields.next()?.to_owned() }))
}
