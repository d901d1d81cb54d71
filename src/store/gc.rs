//! Frees what nobody needs.
//!
//! Kept are: what the locks and the images' manifests of all project folders that used the store name, what the last
//! commands there relied on, and what processes rely on that are at work (see [`uses`](super::uses)); of all results
//! among these, the results whose contents they are made of. Digests are looked for as words of 64 hexadecimal digits,
//! so that a file of another version of chatimg counts as well. Nothing waits for a build, and no build for this, but
//! for the moment in which things are moved away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folders::record;
use super::uses::{GATE, list, read_list};
use super::{Item, Kind, Project, Store, StoreError, files};
use crate::digest::Digest;
use crate::disk_use::{is_held, older, on_disk};
use crate::interrupt;

const DAY: Duration = Duration::from_secs(86_400);
/// So long what a dead process relied on is kept.
const UNFINISHED: Duration = DAY;
/// So long a project folder may be away (on another disk, say) until what only it needs is freed.
const AWAY: Duration = Duration::from_secs(14 * 86_400);
/// So long broken downloads can be resumed, and what was damaged can be looked at.
const REST: Duration = Duration::from_secs(7 * 86_400);
const MISSING: &str = "missing";

/// What the caller knows.
pub struct Needs<'a> {
    /// The files of a project, by its `appliance.toml`, that name blobs: its lock, its images' manifests.
    pub files: &'a dyn Fn(&Path) -> io::Result<Vec<PathBuf>>,
    /// A project that counts even if it never used the store.
    pub project: Option<PathBuf>,
    /// Free what only projects need whose folders are gone, however short a time.
    pub forget_missing: bool,
    /// Only tell.
    pub dry_run: bool,
}

/// So much of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What was freed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// All that was there.
    pub before: Amount,
    /// By kind.
    pub freed: BTreeMap<Kind, Amount>,
    /// Broken downloads, things that were set aside as damaged, leavings of processes that died.
    pub rubbish: Amount,
    /// Projects that count.
    pub projects: Vec<PathBuf>,
    /// Projects that are not there, and count nevertheless.
    pub missing: Vec<PathBuf>,
    /// Projects that are not there, and count no more.
    pub forgotten: Vec<PathBuf>,
}

impl Collected {
    /// All that was freed.
    pub fn freed(&self) -> Amount {
        let mut all = self.rubbish;
        for amount in self.freed.values() {
            all.count += amount.count;
            all.bytes += amount.bytes;
        }
        all
    }
}

impl Store {
    /// Frees what nobody needs.
    ///
    /// # Errors
    /// What somebody needs cannot be read (nothing is freed then), or something cannot be removed.
    pub fn collect(&self, needs: &Needs<'_>) -> Result<Collected, StoreError> {
        let mut report = Collected::default();
        let projects = self.present(needs, &mut report)?;
        let mut kept = self.named(needs, &projects)?;
        kept.extend(self.relied_on(&projects, &BTreeSet::new())?);
        let mut spare = Vec::new();
        for item in self.items()? {
            interrupt::check()?;
            let bytes = self.paths(&item).iter().map(|path| on_disk(path)).sum();
            report.before.add(bytes);
            if !kept.contains(&item) {
                spare.push((item, bytes));
            }
        }
        let rubbish = self.rubbish()?;
        for (_, bytes) in &rubbish {
            report.before.add(*bytes);
            report.rubbish.add(*bytes);
        }
        if !needs.dry_run {
            let gate = files::Lock::take(&self.gate())?;
            // Of who came meanwhile.
            let late = self.relied_on(&projects, &kept)?;
            spare.retain(|(item, _)| !late.contains(item));
            let dead = self.take_away(&spare)?;
            self.sweep_lists()?;
            drop(gate);
            if let Some((dead, _lock)) = dead {
                let path = dead.keep();
                fs::remove_dir_all(&path).map_err(StoreError::io("removing", &path))?;
            }
            for (path, _) in &rubbish {
                self.remove_rubbish(path)?;
            }
            self.sweep_locks()?;
        }
        for (item, bytes) in spare {
            report.freed.entry(item.kind).or_default().add(bytes);
        }
        Ok(report)
    }

    /// The projects that count.
    fn present(
        &self,
        needs: &Needs<'_>,
        report: &mut Collected,
    ) -> Result<Vec<Project>, StoreError> {
        let mut present = Vec::new();
        for project in self.projects()? {
            let note = project.root.join(MISSING);
            if project.appliance.exists() {
                _ = fs::remove_file(&note);
                report.projects.push(project.appliance.clone());
                present.push(project);
                continue;
            }
            if needs.forget_missing || older(&note, AWAY) {
                if !needs.dry_run {
                    let _gate = files::Lock::take(&self.gate())?;
                    let root = &project.root;
                    fs::remove_dir_all(root).map_err(StoreError::io("removing", root))?;
                }
                report.forgotten.push(project.appliance);
                continue;
            }
            if !needs.dry_run && !note.exists() {
                File::create(&note).map_err(StoreError::io("creating", &note))?;
            }
            report.missing.push(project.appliance.clone());
            present.push(project);
        }
        Ok(present)
    }

    /// The blobs that the projects' files name.
    fn named(&self, needs: &Needs<'_>, projects: &[Project]) -> Result<BTreeSet<Item>, StoreError> {
        let appliances =
            projects.iter().map(|project| &*project.appliance).chain(needs.project.as_deref());
        let mut all = BTreeSet::new();
        for appliance in appliances {
            let files = (needs.files)(appliance);
            for path in files.map_err(StoreError::io("listing the files of", appliance))? {
                let text = match fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    text => text.map_err(StoreError::io("reading", &path))?,
                };
                all.extend(words(&text).map(|digest| Item { kind: Kind::Blob, digest }));
            }
        }
        Ok(all)
    }

    /// What commands and processes rely on, and is not in `known`, with the results that it is made of.
    fn relied_on(
        &self,
        projects: &[Project],
        known: &BTreeSet<Item>,
    ) -> Result<BTreeSet<Item>, StoreError> {
        let mut new = BTreeSet::new();
        for project in projects {
            new.extend(project.uses()?);
        }
        for path in list(&self.root.join("using"))? {
            if is_held(&path) || !older(&path, UNFINISHED) {
                new.extend(read_list(&path)?);
            }
        }
        let mut all = BTreeSet::new();
        let mut todo: Vec<Item> = new.difference(known).copied().collect();
        while let Some(item) = todo.pop() {
            if !all.insert(item) || item.kind != Kind::Result {
                continue;
            }
            let doc = self.sharded(item.kind.name(), &item.digest).join("doc");
            // Whatever is wrong with it, it will be made anew.
            let Ok(text) = fs::read(&doc) else { continue };
            let named: BTreeSet<_> = words(&text).collect();
            let results =
                named.into_iter().filter(|digest| self.sharded("results", digest).is_dir());
            todo.extend(results.map(|digest| Item { kind: Kind::Result, digest }));
        }
        Ok(all)
    }

    /// All that is there.
    pub(super) fn items(&self) -> Result<BTreeSet<Item>, StoreError> {
        let mut items = BTreeSet::new();
        for kind in Kind::ALL {
            for shard in list(&self.root.join(kind.name()))? {
                let named = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
                let digests = list(&shard)?;
                items.extend(digests.iter().filter_map(named).map(|digest| Item { kind, digest }));
            }
        }
        Ok(items)
    }

    /// Where it lies.
    fn paths(&self, item: &Item) -> Vec<PathBuf> {
        let path = self.sharded(item.kind.name(), &item.digest);
        let record = (item.kind == Kind::Folder).then(|| record(&path));
        [path].into_iter().chain(record).collect()
    }

    /// Nobody finds these any more when this is done. What takes time, removing what is in folders, is left to do.
    fn take_away(
        &self,
        spare: &[(Item, u64)],
    ) -> Result<Option<(tempfile::TempDir, files::Lock)>, StoreError> {
        let (blobs, rest): (Vec<_>, Vec<_>) =
            spare.iter().partition(|(item, _)| item.kind == Kind::Blob);
        // First, as a full disk has no room for another folder.
        for path in blobs.iter().flat_map(|(item, _)| self.paths(item)) {
            gone(fs::remove_file(&path)).map_err(StoreError::io("removing", &path))?;
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let dead = files::locked_tempdir(&self.root.join("tmp")).ok();
        for (index, path) in rest.iter().flat_map(|(item, _)| self.paths(item)).enumerate() {
            let taken = match &dead {
                Some((dir, _)) => fs::rename(&path, dir.path().join(index.to_string())),
                // A result without its document, and a folder without all its files, is made anew.
                None if path.is_dir() => {
                    gone(fs::remove_file(path.join("doc"))).and_then(|()| fs::remove_dir_all(&path))
                }
                None => fs::remove_file(&path),
            };
            gone(taken).map_err(StoreError::io("removing", &path))?;
        }
        Ok(dead)
    }

    /// What is of no use to anybody, with its size.
    fn rubbish(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut rubbish = list(&self.root.join("partial"))?;
        rubbish.extend(list(&self.root.join("corrupt"))?);
        rubbish.retain(|path| changed(path).is_some_and(|age| age >= REST));
        let sized = |path: PathBuf| {
            let bytes = on_disk(&path);
            (path, bytes)
        };
        Ok(rubbish.into_iter().map(sized).collect())
    }

    fn remove_rubbish(&self, path: &Path) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default();
        // Of a download that goes on just now, the lock is held.
        let lock = self.root.join("locks").join(name);
        if path.starts_with(self.root.join("partial")) && files::Lock::try_take(&lock)?.is_none() {
            return Ok(());
        }
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        gone(removed).map_err(StoreError::io("removing", path))
    }

    /// Lists of processes that died long ago, and halves of new lists.
    fn sweep_lists(&self) -> Result<(), StoreError> {
        for path in list(&self.root.join("using"))? {
            if !is_held(&path) && older(&path, UNFINISHED) {
                _ = fs::remove_file(&path);
            }
        }
        for root in list(&self.root.join("roots"))? {
            let hidden = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
            };
            list(&root)?
                .iter()
                .filter(|path| hidden(path))
                .for_each(|path| _ = fs::remove_file(path));
        }
        Ok(())
    }

    /// Locks that nobody has: empty files, but many.
    fn sweep_locks(&self) -> Result<(), StoreError> {
        for path in list(&self.root.join("locks"))?.iter().filter(|path| !path.ends_with(GATE)) {
            if let Ok(Some(lock)) = files::Lock::try_take(path) {
                lock.remove(path);
            }
        }
        Ok(())
    }
}

/// It may have been gone already.
fn gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// The digests in a text: whole words of 64 hexadecimal digits.
fn words(text: &[u8]) -> impl Iterator<Item = Digest> {
    let words = text.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

/// How long ago something was written, or got its name.
fn changed(path: &Path) -> Option<Duration> {
    let changed = fs::symlink_metadata(path).ok()?.ctime();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    now.checked_sub(Duration::from_secs(changed.unsigned_abs()))
}

#[cfg(test)]
#[path = "gc_tests.rs"]
mod tests;
