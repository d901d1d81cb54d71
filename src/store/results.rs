//! Results of steps: trees with their file contents, and small documents.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Kind, Store, StoreError, files};
use crate::digest::{Digest, Hasher};
use crate::tree::{FileRef, Location, Node, Tree};

/// Bytes that are copied at once.
const PIECE: usize = 1 << 16;

/// A step failed: by itself, or in the store around it.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E> {
    /// The step's own failure.
    #[error(transparent)]
    Step(E),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: From<StoreError>> StepError<E> {
    /// The failure as one of the step's own kind.
    pub fn into_inner(self) -> E {
        match self {
            Self::Step(error) => error,
            Self::Store(error) => error.into(),
        }
    }
}

impl Store {
    /// The tree that the step of this key makes: from the store, or made now by `make` and kept. While one
    /// process makes it, others wait for the result.
    ///
    /// # Errors
    /// `make`'s own, or the store's.
    pub fn tree<E>(
        &self,
        key: Digest,
        make: impl FnOnce(&mut PackWriter) -> Result<Tree, E>,
    ) -> Result<Tree, StepError<E>> {
        if let Some(tree) = self.stored_tree(&key)? {
            return Ok(tree);
        }
        let _lock = self.lock(&key)?;
        if let Some(tree) = self.stored_tree(&key)? {
            return Ok(tree);
        }
        let mut pack = PackWriter::new(self, key)?;
        let tree = make(&mut pack).map_err(StepError::Step)?;
        pack.commit(&tree.encode())?;
        self.fresh().insert(key);
        Ok(tree)
    }

    /// The text document that the step of this key makes: from the store, or made now and kept.
    ///
    /// # Errors
    /// `make`'s own, or the store's.
    pub fn document<E>(
        &self,
        key: Digest,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, StepError<E>> {
        if let Some(text) = self.stored_document(&key)? {
            return Ok(text);
        }
        let _lock = self.lock(&key)?;
        if let Some(text) = self.stored_document(&key)? {
            return Ok(text);
        }
        let text = make().map_err(StepError::Step)?;
        PackWriter::new(self, key)?.commit(&text)?;
        Ok(text)
    }

    /// The document under a key, verified; `None`: not made yet.
    ///
    /// # Errors
    /// It cannot be read, or is damaged (and has been removed).
    pub fn stored_document(&self, key: &Digest) -> Result<Option<String>, StoreError> {
        self.relies_on(Kind::Result, key)?;
        let path = self.sharded("results", key).join("doc");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("reading", &path)(error)),
        };
        match unseal(&bytes) {
            Some(text) => Ok(Some(text.to_owned())),
            None => {
                self.forget(key)?;
                let what = format!("stored result {}", path.display());
                Err(StoreError::Damaged { what, why: "its checksum is wrong".to_owned() })
            }
        }
    }

    fn stored_tree(&self, key: &Digest) -> Result<Option<Tree>, StoreError> {
        let Some(text) = self.stored_document(key)? else { return Ok(None) };
        let tree = match Tree::decode(&text) {
            Ok(tree) => tree,
            Err(error) => {
                self.forget(key)?;
                let what = format!("stored result {key}");
                return Err(StoreError::Damaged { what, why: error.to_string() });
            }
        };
        let packs: BTreeSet<_> = tree
            .iter()
            .filter_map(|(_, entry)| match &entry.node {
                Node::File(file) => Some(file.at.pack),
                _ => None,
            })
            .collect();
        // A tree made of other results' files is only as good as those.
        let whole = packs.iter().all(|pack| self.sharded("results", pack).join("pack").is_file());
        if !whole {
            self.forget(key)?;
        }
        Ok(whole.then_some(tree))
    }

    /// Removes a result: to be made again, or no longer needed.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, key: &Digest) -> Result<(), StoreError> {
        self.packs().remove(key);
        self.fresh().remove(key);
        remove_dir(&self.sharded("results", key))
    }

    /// A file's contents, verified; those that this very process has written, digesting them, are not digested again.
    ///
    /// # Errors
    /// They cannot be read, or are not what the digest says (the result they lie in has been removed).
    pub fn read(&self, file: &FileRef) -> Result<Vec<u8>, StoreError> {
        let size = usize::try_from(file.size).expect("a file's size fits the address space");
        let mut bytes = vec![0; size];
        if size > 0 {
            let (pack, path) = self.pack(&file.at.pack)?;
            match pack.read_exact_at(&mut bytes, file.at.offset) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(StoreError::io("reading", &path)(error));
                }
                // The digest below is of what is left of a pack that was cut short, whoever wrote it.
                Err(_) => _ = self.fresh().remove(&file.at.pack),
                Ok(()) => {}
            }
        }
        if self.fresh().contains(&file.at.pack) {
            return Ok(bytes);
        }
        let actual = Digest::of(&bytes);
        if actual == file.digest {
            return Ok(bytes);
        }
        self.forget(&file.at.pack)?;
        let what = format!("contents in stored result {}", file.at.pack);
        Err(StoreError::Corrupt { what, expected: file.digest, actual })
    }

    fn pack(&self, key: &Digest) -> Result<(Arc<File>, PathBuf), StoreError> {
        let path = self.sharded("results", key).join("pack");
        if let Some(file) = self.packs().get(key) {
            return Ok((Arc::clone(file), path));
        }
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::MissingPack { pack: *key });
            }
            Err(error) => return Err(StoreError::io("opening", &path)(error)),
        };
        self.packs().insert(*key, Arc::clone(&file));
        Ok((file, path))
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.fresh.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn packs(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<Digest, Arc<File>>> {
        self.packs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("removing", dir)(error))
        }
        _ => Ok(()),
    }
}

/// The text of a sealed document; `None`: that is not what was sealed.
pub(super) fn unseal(bytes: &[u8]) -> Option<&str> {
    let (line, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    (line == seal(text)).then_some(text)
}

/// The first line of a sealed document.
pub(super) fn seal(text: &str) -> String {
    format!("sha256 {}", Digest::of(text.as_bytes()))
}

/// Collects the file contents of a tree under way. Contents that were appended before are not written again.
#[derive(Debug)]
pub struct PackWriter {
    key: Digest,
    dir: tempfile::TempDir,
    _lock: files::Lock,
    target: PathBuf,
    out: BufWriter<File>,
    offset: u64,
    seen: std::collections::HashMap<Digest, u64>,
    buffer: Vec<u8>,
}

impl PackWriter {
    fn new(store: &Store, key: Digest) -> Result<Self, StoreError> {
        let (dir, lock) = files::locked_tempdir(&store.root.join("tmp"))?;
        let path = dir.path().join("pack");
        let file = File::create(&path).map_err(StoreError::io("creating", &path))?;
        let target = store.sharded("results", &key);
        let out = BufWriter::with_capacity(1 << 20, file);
        let seen = std::collections::HashMap::new();
        Ok(Self { key, dir, _lock: lock, target, out, offset: 0, seen, buffer: Vec::new() })
    }

    /// Appends contents that are at hand.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<FileRef, StoreError> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if let Some(known) = self.known(digest, size) {
            return Ok(known);
        }
        self.out.write_all(bytes).map_err(self.io("writing"))?;
        Ok(self.record(digest, size))
    }

    /// The same of contents whose digest and size are known, and which may be too many to be at hand.
    ///
    /// # Errors
    /// The reader's (`Ok(Err)`), or the contents cannot be written.
    pub fn append_known(
        &mut self,
        digest: Digest,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<io::Result<FileRef>, StoreError> {
        match self.known(digest, size) {
            Some(known) => Ok(Ok(known)),
            None => self.append_from(reader),
        }
    }

    fn known(&self, digest: Digest, size: u64) -> Option<FileRef> {
        let offset = *self.seen.get(&digest)?;
        Some(FileRef { digest, size, at: Location { pack: self.key, offset } })
    }

    /// Appends what a reader gives, to its end.
    ///
    /// # Errors
    /// The reader's (`Ok(Err)`), or the contents cannot be written.
    pub fn append_from(
        &mut self,
        reader: &mut dyn Read,
    ) -> Result<io::Result<FileRef>, StoreError> {
        // One for all: a package has thousands of files.
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(PIECE, 0);
        let appended = self.append_pieces(reader, &mut buffer);
        self.buffer = buffer;
        appended
    }

    fn append_pieces(
        &mut self,
        reader: &mut dyn Read,
        buffer: &mut [u8],
    ) -> Result<io::Result<FileRef>, StoreError> {
        let mut hasher = Hasher::new();
        let mut size = 0;
        loop {
            match reader.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    self.out.write_all(&buffer[..count]).map_err(self.io("writing"))?;
                    size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.offset += size;
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(self.record(hasher.finish(), size)))
    }

    fn record(&mut self, digest: Digest, size: u64) -> FileRef {
        let offset = self.offset;
        self.offset += size;
        self.seen.insert(digest, offset);
        FileRef { digest, size, at: Location { pack: self.key, offset } }
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        StoreError::io(doing, self.dir.path())
    }

    /// Seals the document, flushes both and moves them into place.
    fn commit(mut self, text: &str) -> Result<(), StoreError> {
        self.out.flush().map_err(self.io("writing"))?;
        self.out.get_ref().sync_all().map_err(self.io("syncing"))?;
        let doc = self.dir.path().join("doc");
        let mut file = File::create(&doc).map_err(StoreError::io("creating", &doc))?;
        file.write_all(format!("{}\n{text}", seal(text)).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io("writing", &doc))?;
        files::sync_dir(self.dir.path())?;
        let parent = self.target.parent().expect("results lie in a folder");
        files::create_dirs(parent)?;
        // What is there has no document, or nobody would have made it again: its removal was cut short.
        remove_dir(&self.target)?;
        let dir = self.dir.path();
        fs::rename(dir, &self.target).map_err(StoreError::io("renaming", dir))?;
        files::sync_dir(parent)
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(text) = unseal(bytes) {
        assert_eq!(format!("{}\n{text}", seal(text)).as_bytes(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Meta};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(dir.path()).expect("store opens");
        (dir, store)
    }

    fn one_file(pack: &mut PackWriter) -> Result<Tree, StoreError> {
        let file = pack.append(b"contents")?;
        let mut tree = Tree::new();
        let entry = Entry { meta: Meta::root(0o644, 0), node: Node::File(file) };
        tree.insert("a".parse().expect("path"), entry).expect("insert");
        Ok(tree)
    }

    fn only_file(tree: &Tree) -> FileRef {
        *tree.file("a").expect("a").0
    }

    #[test]
    fn contents_are_written_once_however_they_come() {
        let (_dir, store) = store();
        let (small, large) = (b"small".to_vec(), vec![7; PIECE * 2 + 9]);
        let key = Digest::of(b"step");
        let tree = store.tree(key, |pack| {
            let mut tree = Tree::new();
            for (number, bytes) in [&small, &large, &small, &large].into_iter().enumerate() {
                let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
                let known = pack.append_known(digest, size, &mut &bytes[..])?.expect("reads");
                assert_eq!(known, pack.append(bytes)?);
                let entry = Entry { meta: Meta::root(0o644, 0), node: Node::File(known) };
                tree.insert(number.to_string().parse().expect("path"), entry).expect("insert");
            }
            Ok::<_, StoreError>(tree)
        });
        let tree = tree.expect("makes it");
        for (number, bytes) in [small.clone(), large.clone()].iter().enumerate() {
            let (file, _) = tree.file(&number.to_string()).expect("a file");
            assert_eq!(&store.read(file).expect("reads"), bytes);
        }
        let pack = fs::metadata(store.sharded("results", &key).join("pack")).expect("pack");
        assert_eq!(pack.len(), (small.len() + large.len()) as u64);
    }

    #[test]
    fn a_step_runs_once() {
        let (_dir, store) = store();
        let key = Digest::of(b"step");
        let made = store.tree(key, one_file).expect("makes it");
        let kept = store.tree::<StoreError>(key, |_| panic!("made twice")).expect("finds it");
        assert_eq!(kept, made);
        assert_eq!(store.read(&only_file(&kept)).expect("reads"), b"contents");
    }

    #[test]
    fn a_failed_step_leaves_nothing() {
        let (_dir, store) = store();
        let key = Digest::of(b"step");
        let result = store.tree(key, |pack| {
            one_file(pack).expect("writes");
            Err("no")
        });
        assert!(matches!(result, Err(StepError::Step("no"))));
        assert_eq!(fs::read_dir(store.root.join("tmp")).expect("tmp").count(), 0);
        store.tree(key, one_file).expect("a second try works");
    }

    #[test]
    fn damage_is_reported_once_and_mended_by_the_next_run() {
        for name in ["doc", "pack"] {
            let (dir, store) = store();
            let key = Digest::of(b"step");
            let file = only_file(&store.tree(key, one_file).expect("makes it"));
            let path = store.sharded("results", &key).join(name);
            let store = Store::open(dir.path()).expect("as another process has it");
            let mut bytes = fs::read(&path).expect("read");
            *bytes.last_mut().expect("not empty") ^= 1;
            fs::write(&path, bytes).expect("damage");
            let seen = store.tree(key, one_file).is_err() || store.read(&file).is_err();
            assert!(seen, "damage of {name} went unseen");
            let file = only_file(&store.tree(key, one_file).expect("mended"));
            assert_eq!(store.read(&file).expect("reads"), b"contents");
        }
    }

    #[test]
    fn a_pack_cut_short_is_seen_by_who_wrote_it() {
        let (_dir, store) = store();
        let key = Digest::of(b"step");
        let file = only_file(&store.tree(key, one_file).expect("makes it"));
        fs::write(store.sharded("results", &key).join("pack"), b"cont").expect("cut");
        assert!(matches!(store.read(&file), Err(StoreError::Corrupt { .. })));
        let file = only_file(&store.tree(key, one_file).expect("mended"));
        assert_eq!(store.read(&file).expect("reads"), b"contents");
    }

    #[test]
    fn a_removal_that_was_cut_short_is_in_nobodys_way() {
        let (_dir, store) = store();
        let key = Digest::of(b"step");
        store.tree(key, one_file).expect("makes it");
        fs::remove_file(store.sharded("results", &key).join("doc")).expect("the first of two");
        store.tree(key, one_file).expect("made again");
        assert_eq!(fs::read_dir(store.root.join("tmp")).expect("tmp").count(), 0);
    }

    #[test]
    fn a_document_that_is_no_tree_is_removed() {
        let (_dir, store) = store();
        let key = Digest::of(b"step");
        store.document(key, || Ok::<_, StoreError>("no tree".to_owned())).expect("makes it");
        assert!(matches!(store.tree(key, one_file), Err(StepError::Store(_))));
        store.tree(key, one_file).expect("made again");
    }

    #[test]
    fn a_tree_whose_contents_are_gone_is_made_again() {
        let (_dir, store) = store();
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        let tree = store.tree(first, one_file).expect("first");
        store.tree::<StoreError>(second, |_| Ok(tree)).expect("second, of the first's files");
        store.forget(&first).expect("forget");
        let again = store.tree(second, |_| Err("made again"));
        assert!(matches!(again, Err(StepError::Step("made again"))));
    }

    #[test]
    fn two_builders_of_one_result_make_it_once() {
        let (dir, _) = store();
        let count = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = Store::open(dir.path()).expect("opens");
                    let tree = store.tree(Digest::of(b"step"), |pack| {
                        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        one_file(pack)
                    });
                    store.read(&only_file(&tree.expect("makes or finds it"))).expect("reads");
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }
}
