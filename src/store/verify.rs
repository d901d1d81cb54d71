//! Reads everything in the store and compares it with what it is named by, or with what is recorded of it. What is
//! damaged is moved to `corrupt/`, so that the next command fetches or makes it anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::folders::record;
use super::results::unseal;
use super::{Item, Kind, Store, StoreError, files};
use crate::digest::{Digest, Hasher};
use crate::parallel;
use crate::tree::{FileRef, Node, Tree};

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub item: Item,
    /// What is wrong with it.
    pub why: String,
    /// Where it is now.
    pub aside: PathBuf,
}

/// What a look at everything showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many of each kind were looked at.
    pub looked_at: BTreeMap<Kind, usize>,
    /// Bytes read.
    pub bytes: u64,
    /// What was damaged, sorted.
    pub damaged: Vec<Damage>,
    /// Folders of which nothing is recorded: an older chatimg made them.
    pub unknown: usize,
}

/// How something was found.
enum Finding {
    /// As it should be; so many bytes were read.
    Sound(u64),
    /// It went away meanwhile.
    Gone,
    /// Nothing is recorded of it.
    Unknown,
    /// What is wrong with it.
    Damaged(String),
}

/// Where the files of trees lie in one pack.
type Places = BTreeMap<(u64, u64), Digest>;

impl Store {
    /// Looks at everything. Other processes may use the store meanwhile.
    ///
    /// # Errors
    /// Something may not be read, or not be moved.
    pub fn verify(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Verified, StoreError> {
        let items: Vec<Item> = self.items()?.into_iter().collect();
        let packs = Mutex::new(BTreeMap::<Digest, Places>::new());
        let done = Mutex::new(0);
        let findings = parallel::try_map(&items, |item| {
            let finding = match item.kind {
                Kind::Blob => self.look_at_blob(&item.digest)?,
                Kind::Result => self.look_at_document(&item.digest, &packs)?,
                Kind::Folder => self.look_at_folder(&item.digest)?,
            };
            let mut done = done.lock().expect("no thread panics holding this");
            *done += 1;
            progress(*done, items.len());
            Ok::<_, StoreError>((*item, finding))
        })?;
        let packs = packs.into_inner().expect("no thread panics holding this");
        let packs: Vec<_> = packs.into_iter().collect();
        let contents = parallel::try_map(&packs, |(pack, places)| {
            let item = Item { kind: Kind::Result, digest: *pack };
            Ok::<_, StoreError>((item, self.look_at_pack(pack, places)?))
        })?;
        let mut report = Verified::default();
        let mut damaged = BTreeMap::new();
        for (item, _) in findings.iter().filter(|(_, finding)| !matches!(finding, Finding::Gone)) {
            *report.looked_at.entry(item.kind).or_default() += 1;
        }
        for (item, finding) in findings.into_iter().chain(contents) {
            match finding {
                Finding::Sound(bytes) => report.bytes += bytes,
                Finding::Gone => {}
                Finding::Unknown => report.unknown += 1,
                Finding::Damaged(why) => _ = damaged.entry(item).or_insert(why),
            }
        }
        for (item, why) in damaged {
            if let Some(aside) = self.set_aside(&item)? {
                report.damaged.push(Damage { item, why, aside });
            }
        }
        Ok(report)
    }

    fn look_at_blob(&self, digest: &Digest) -> Result<Finding, StoreError> {
        let path = self.sharded("blobs", digest);
        let mut hasher = Hasher::new();
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        Ok(match copied {
            Ok(bytes) => match hasher.finish() {
                actual if actual == *digest => Finding::Sound(bytes),
                actual => Finding::Damaged(format!("its SHA-256 is {actual}")),
            },
            Err(error) => unread(&path, error)?,
        })
    }

    /// Judges a result's document, and notes where the files lie that it names.
    fn look_at_document(
        &self,
        key: &Digest,
        packs: &Mutex<BTreeMap<Digest, Places>>,
    ) -> Result<Finding, StoreError> {
        let path = self.sharded("results", key).join("doc");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Without a document it is no result: its removal was cut short.
            Err(error) => return unread(&path, error),
        };
        let Some(text) = unseal(&bytes) else {
            return Ok(Finding::Damaged("the checksum of its document is wrong".to_owned()));
        };
        // What is no tree is another document, which has no more to be compared with.
        if let Ok(tree) = Tree::decode(text) {
            let mut packs = packs.lock().expect("no thread panics holding this");
            for (_, entry) in tree.iter() {
                if let Node::File(FileRef { digest, size, at }) = &entry.node {
                    packs.entry(at.pack).or_default().insert((at.offset, *size), *digest);
                }
            }
        }
        Ok(Finding::Sound(bytes.len() as u64))
    }

    fn look_at_pack(&self, key: &Digest, places: &Places) -> Result<Finding, StoreError> {
        let path = self.sharded("results", key).join("pack");
        let file = match File::open(&path) {
            Ok(file) => file,
            // Whatever tree needs it is made anew when somebody asks for that.
            Err(error) => return unread(&path, error),
        };
        let mut read = 0;
        for (&(offset, size), digest) in places {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            match file.read_exact_at(&mut bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Finding::Damaged("its contents are cut short".to_owned()));
                }
                Err(error) => return unread(&path, error),
                Ok(()) if Digest::of(&bytes) != *digest => {
                    let why = format!("{size} bytes of its contents at {offset} are not {digest}");
                    return Ok(Finding::Damaged(why));
                }
                Ok(()) => read += size,
            }
        }
        Ok(Finding::Sound(read))
    }

    fn look_at_folder(&self, key: &Digest) -> Result<Finding, StoreError> {
        let path = self.sharded("folders", key);
        let record = record(&path);
        if !path.is_dir() {
            return Ok(Finding::Gone); // Only the record: the folder was never finished, or is gone.
        }
        let bytes = match fs::read(&record) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Finding::Unknown),
            Err(error) => return unread(&record, error),
        };
        let Some(tree) = unseal(&bytes).and_then(|text| Tree::decode(text).ok()) else {
            return Ok(Finding::Damaged("the checksum of its record is wrong".to_owned()));
        };
        Ok(match tree.check_export(&path) {
            Ok(None) => Finding::Sound(tree.iter().map(|(_, entry)| size(&entry.node)).sum()),
            Ok(Some(_)) if !path.is_dir() => Finding::Gone,
            Ok(Some(why)) => Finding::Damaged(why),
            Err(error) => unread(&path, error)?,
        })
    }

    /// Moves something to where nobody finds it. `None`: it is gone already.
    fn set_aside(&self, item: &Item) -> Result<Option<PathBuf>, StoreError> {
        let from = self.sharded(item.kind.name(), &item.digest);
        let _lock = self.lock(&item.digest)?;
        let name = format!("{}-{}", item.kind.name(), item.digest);
        let aside = self.root.join("corrupt");
        let to = (1..).map(|number| aside.join(format!("{name}-{number}"))).find(|to| !to.exists());
        let to = to.expect("there is always another number");
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(StoreError::io("moving", &from))?,
        }
        if item.kind == Kind::Folder {
            _ = fs::remove_file(record(&from));
        }
        if let Some(parent) = from.parent() {
            files::sync_dir(parent)?;
        }
        Ok(Some(to))
    }
}

fn size(node: &Node) -> u64 {
    match node {
        Node::File(file) => file.size,
        _ => 0,
    }
}

/// What it means that something cannot be read: that it is gone, or that the disk has lost it. Only what the user may
/// not read is an error.
fn unread(path: &Path, error: io::Error) -> Result<Finding, StoreError> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(Finding::Gone),
        io::ErrorKind::PermissionDenied => Err(StoreError::io("reading", path)(error)),
        _ => Ok(Finding::Damaged(format!("reading it: {error}"))),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
