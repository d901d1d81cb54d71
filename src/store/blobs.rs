//! Fetched inputs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Kind, Store, StoreError, files};
use crate::digest::{Digest, Hasher};

impl Store {
    /// Whether the blob is there. Its bytes are checked when they are read.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        // Who cannot say that it is needed cannot count on it; adding it says why.
        self.relies_on(Kind::Blob, digest).is_ok() && self.sharded("blobs", digest).is_file()
    }

    /// Opens a blob for reading. The reader checks the digest: its last `read` (the one that would return
    /// 0) fails if the bytes are not the blob's, and the bad copy is removed. `None`: not there.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, StoreError> {
        self.relies_on(Kind::Blob, digest)?;
        let path = self.sharded("blobs", digest);
        match File::open(&path) {
            Ok(file) => {
                Ok(Some(BlobReader { file, path, digest: *digest, hasher: Some(Hasher::new()) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("opening", &path)(error)),
        }
    }

    /// The whole of a small blob, verified. `None`: not there.
    ///
    /// # Errors
    /// It cannot be read, or its bytes are not what its name says.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(mut reader) = self.open_blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(StoreError::io("reading", &reader.path))?;
        Ok(Some(bytes))
    }

    /// A blob as a file, verified, at its beginning: for readers that go back and forth. `None`: not there.
    ///
    /// # Errors
    /// It cannot be read, or its bytes are not what its name says.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let Some(mut reader) = self.open_blob(digest)? else { return Ok(None) };
        io::copy(&mut reader, &mut io::sink())
            .and_then(|_| reader.file.rewind())
            .map_err(StoreError::io("reading", &reader.path))?;
        Ok(Some(reader.file))
    }

    /// Gives another store a blob of this one: the same file if both are on one file system. Whoever reads it there
    /// checks it.
    ///
    /// # Errors
    /// It is not here, or cannot be copied.
    pub fn lend_blob(&self, to: &Self, digest: &Digest) -> Result<(), StoreError> {
        let (from, target) = (self.sharded("blobs", digest), to.sharded("blobs", digest));
        if let Some(parent) = target.parent() {
            files::create_dirs(parent)?;
        }
        match fs::hard_link(&from, &target) {
            // A copy would empty the file that both have.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                fs::copy(&from, &target).map_err(StoreError::io("copying", &from))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds bytes that are at hand already and gives back their digest.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if let Some(mut partial) = self.begin_blob(&digest)? {
            partial.restart()?;
            partial.write(bytes)?;
            partial.commit()?;
        }
        Ok(digest)
    }

    /// Starts or resumes fetching a blob; waits while another process fetches the same one. `None`: it is
    /// there (by now).
    ///
    /// # Errors
    /// The partial file cannot be opened or read.
    pub fn begin_blob(&self, digest: &Digest) -> Result<Option<PartialBlob>, StoreError> {
        self.relies_on(Kind::Blob, digest)?;
        let lock = self.lock(digest)?;
        if self.has_blob(digest) {
            return Ok(None);
        }
        let path = self.root.join("partial").join(digest.to_string());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("opening", &path))?;
        let mut hasher = Hasher::new();
        let length = io::copy(&mut file, &mut hasher).map_err(StoreError::io("reading", &path))?;
        let target = self.sharded("blobs", digest);
        Ok(Some(PartialBlob { file, path, target, digest: *digest, hasher, length, _lock: lock }))
    }
}

/// A blob that is being fetched. Dropped without [`PartialBlob::commit`], what was written stays for the
/// next try.
#[derive(Debug)]
pub struct PartialBlob {
    file: File,
    path: PathBuf,
    target: PathBuf,
    digest: Digest,
    hasher: Hasher,
    length: u64,
    _lock: files::Lock,
}

impl PartialBlob {
    /// How many bytes are there already.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Throws away what is there: the other side cannot resume, or sent something else.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(StoreError::io("truncating", &self.path))?;
        self.hasher = Hasher::new();
        self.length = 0;
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("writing", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Checks the digest and moves the blob into place; wrong bytes are removed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes are not the blob's; or it cannot be moved.
    pub fn commit(self) -> Result<(), StoreError> {
        let actual = self.hasher.finish();
        if actual != self.digest {
            fs::remove_file(&self.path).map_err(StoreError::io("removing", &self.path))?;
            let what = "downloaded data".to_owned();
            return Err(StoreError::Corrupt { what, expected: self.digest, actual });
        }
        self.file.sync_all().map_err(StoreError::io("syncing", &self.path))?;
        let dir = self.target.parent().expect("blobs lie in a folder");
        files::create_dirs(dir)?;
        fs::rename(&self.path, &self.target).map_err(StoreError::io("renaming", &self.path))?;
        files::sync_dir(dir)
    }
}

/// Reads a blob and checks it at the end; see [`Store::open_blob`].
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
    digest: Digest,
    hasher: Option<Hasher>,
}

impl BlobReader {
    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buf)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buf[..count]);
            }
        } else if !buf.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let actual = hasher.finish();
            if actual != self.digest {
                // Whether or not the removal works, these bytes are not served.
                _ = fs::remove_file(&self.path);
                let what = format!("stored blob {}", self.path.display());
                let error = StoreError::Corrupt { what, expected: self.digest, actual };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(dir.path()).expect("store opens");
        (dir, store)
    }

    #[test]
    fn a_broken_download_resumes_where_it_stopped() {
        let (_dir, store) = store();
        let digest = Digest::of(b"hello world");
        let mut partial = store.begin_blob(&digest).expect("begin").expect("not there yet");
        partial.write(b"hello ").expect("write");
        drop(partial);
        assert!(!store.has_blob(&digest));
        let mut partial = store.begin_blob(&digest).expect("begin").expect("still not there");
        assert_eq!(partial.len(), 6);
        partial.write(b"world").expect("write");
        partial.commit().expect("commit");
        assert_eq!(store.read_blob(&digest).expect("read").as_deref(), Some(&b"hello world"[..]));
        assert!(store.begin_blob(&digest).expect("begin").is_none());
    }

    #[test]
    fn a_blob_that_is_lent_twice_stays_whole() {
        let ((_dir, store), (_other_dir, other)) = (store(), store());
        let digest = store.add_blob(b"hello").expect("added");
        for _ in 0..2 {
            store.lend_blob(&other, &digest).expect("lent");
            for store in [&store, &other] {
                assert_eq!(store.read_blob(&digest).expect("read").as_deref(), Some(&b"hello"[..]));
            }
        }
    }

    #[test]
    fn wrong_bytes_never_become_a_blob() {
        let (_dir, store) = store();
        let digest = Digest::of(b"right");
        let mut partial = store.begin_blob(&digest).expect("begin").expect("new");
        partial.write(b"wrong").expect("write");
        let error = partial.commit().expect_err("the digest differs");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(!store.has_blob(&digest));
        assert!(store.begin_blob(&digest).expect("begin").expect("new").is_empty());
    }

    #[test]
    fn a_blob_that_rotted_is_refused_and_removed() {
        let (_dir, store) = store();
        let digest = store.add_blob(b"contents").expect("add");
        fs::write(store.sharded("blobs", &digest), b"c0ntents").expect("damage");
        let error = store.read_blob(&digest).expect_err("damage is seen").to_string();
        assert!(error.contains(&digest.to_string()), "{error}");
        assert!(!store.has_blob(&digest));
    }

    #[test]
    fn two_fetchers_of_one_blob_take_turns() {
        let (_dir, store) = store();
        let bytes = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| store.add_blob(&bytes).expect("add"));
            }
        });
        assert_eq!(store.read_blob(&Digest::of(&bytes)).expect("read"), Some(bytes));
    }
}
