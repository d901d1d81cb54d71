//! Whether an archive has all that it should, unharmed. Nothing is written.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::index::{INDEX, Index};
use super::{ArchiveError, Found, Meter, NEW, digest_of, inputs, place, read_sums};
use crate::digest::Digest;
use crate::image::sums::SUMS;
use crate::lock::Lock;
use crate::parallel::try_map;

/// What is wrong with a file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its name in the archive.
    pub file: String,
    /// What it is, if it is an input: `deb bash 5.2`.
    pub input: Option<String>,
    /// The locks that need it; none: all.
    pub locks: Vec<String>,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, input, locks, why } = self;
        match input {
            Some(input) => write!(f, "{file}: {why}; it is {input}")?,
            None => write!(f, "{file}: {why}")?,
        }
        match locks.as_slice() {
            [] => Ok(()),
            locks => write!(f, ", which {} need", locks.join(" and ")),
        }
    }
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
    /// Locks that it serves.
    pub locks: usize,
    /// What is damaged or missing.
    pub troubles: Vec<Trouble>,
    /// Files that the archive says nothing of.
    pub unknown: Vec<String>,
    /// Locks of another version of chatimg, of which only the index says what they need.
    pub unread: Vec<String>,
}

/// Reads all of an archive. `progress`: bytes read, of all.
///
/// # Errors
/// It is none, its index or sums are damaged, or it cannot be read.
pub fn check(dir: &Path, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Checked, ArchiveError> {
    let sums = read_sums(dir)?.ok_or_else(|| ArchiveError::None(dir.to_owned()))?;
    let index = Index::read(&dir.join(INDEX))?;
    let files: Vec<(&String, &Digest)> = sums.iter().collect();
    let size = |name: &String| fs::symlink_metadata(dir.join(name)).map_or(0, |meta| meta.len());
    let bytes = files.iter().map(|(name, _)| size(name)).sum();
    let meter = Meter::new(bytes, progress);
    let found = try_map(&files, |(name, digest)| {
        Ok::<_, ArchiveError>(match digest_of(&dir.join(name), None, &meter)? {
            Found::Bytes(found) if found == **digest => None,
            Found::Bytes(found) => Some(format!("damaged, its SHA-256 is {found} now")),
            Found::Other => Some("damaged, it cannot be read".to_owned()),
            Found::Nothing => Some("missing".to_owned()),
        })
    })?;
    let mut checked = Checked { files: files.len(), bytes, ..Checked::default() };
    for ((name, digest), why) in files.iter().zip(found) {
        let Some(why) = why else { continue };
        let known = index.get(digest).filter(|_| place(digest) == **name);
        checked.troubles.push(Trouble {
            file: (*name).clone(),
            input: known.map(|(input, _)| input.label()),
            locks: known.map(|(_, locks)| locks.iter().cloned().collect()).unwrap_or_default(),
            why,
        });
    }
    locks(dir, &index, &sums.keys().map(String::as_str).collect(), &mut checked)?;
    unknown(dir, "", &|name| sums.contains_key(name), &mut checked.unknown)?;
    Ok(checked)
}

/// Whether the sums name all that the locks need: a lock is what counts, not what index and sums say.
fn locks(
    dir: &Path,
    index: &Index,
    named: &BTreeSet<&str>,
    checked: &mut Checked,
) -> Result<(), ArchiveError> {
    for lock in index.locks() {
        checked.locks += 1;
        let path = dir.join(format!("locks/{lock}.lock"));
        // One that is missing or damaged was told of already, if it is among the sums.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let needs = match Lock::parse(&text, lock) {
            Ok(lock) => inputs(&lock),
            Err(_) => {
                checked.unread.push(lock.to_owned());
                index.of_lock(lock).cloned().collect()
            }
        };
        for input in needs {
            let file = place(&input.digest);
            if !named.contains(file.as_str()) {
                let why = format!("{SUMS} does not name it");
                let (input, locks) = (Some(input.label()), vec![lock.to_owned()]);
                checked.troubles.push(Trouble { file, input, locks, why });
            }
        }
    }
    Ok(())
}

/// Files that nobody accounts for, but for signatures that somebody laid beside the sums.
fn unknown(
    dir: &Path,
    below: &str,
    known: &dyn Fn(&str) -> bool,
    found: &mut Vec<String>,
) -> Result<(), ArchiveError> {
    let here = dir.join(below);
    let entries = fs::read_dir(&here).map_err(ArchiveError::io("listing", &here))?;
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let ours = known(&name) || name.starts_with(SUMS) || name == "lost+found";
        if dir.join(&name).is_dir() && !dir.join(&name).is_symlink() {
            if name != "lost+found" {
                unknown(dir, &name, known, found)?;
            }
        } else if !ours && !name.starts_with(NEW) {
            found.push(name);
        }
    }
    Ok(())
}
