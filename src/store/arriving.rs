//! Inputs of which nobody knows the digest before all of their bytes are there.

use std::fs::{File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use tempfile::NamedTempFile;

use super::{Kind, Store, StoreError, files};
use crate::digest::{Digest, Hasher};

/// Bytes that may become a blob. Dropped without [`NewBlob::keep`], nothing of them stays.
#[derive(Debug)]
pub struct NewBlob<'a> {
    store: &'a Store,
    file: NamedTempFile,
    hasher: Hasher,
    length: u64,
}

impl Store {
    /// Begins a blob that gets its name at the end.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn new_blob(&self) -> Result<NewBlob<'_>, StoreError> {
        let dir = self.root.join("tmp");
        let mut options = tempfile::Builder::new();
        // Blobs are no secrets: the umask decides, as of those that are fetched by their digest.
        let options = options.permissions(Permissions::from_mode(0o666));
        let file = options.tempfile_in(&dir).and_then(|file| {
            // Nobody sweeps it away meanwhile.
            file.as_file().lock()?;
            Ok(file)
        });
        let file = file.map_err(StoreError::io("creating a file in", &dir))?;
        Ok(NewBlob { store: self, file, hasher: Hasher::new(), length: 0 })
    }
}

impl NewBlob<'_> {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Of the bytes so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// The bytes so far, from their beginning.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn reader(&self) -> Result<File, StoreError> {
        self.file.reopen().map_err(StoreError::io("opening", self.file.path()))
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let file = self.file.as_file_mut();
        let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        emptied.map_err(StoreError::io("truncating", self.file.path()))?;
        (self.hasher, self.length) = (Hasher::new(), 0);
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.as_file_mut().write_all(bytes);
        written.map_err(StoreError::io("writing", self.file.path()))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes a blob of the bytes, unless there is one.
    ///
    /// # Errors
    /// It cannot be moved into place.
    pub fn keep(self) -> Result<(), StoreError> {
        let digest = self.digest();
        self.store.relies_on(Kind::Blob, &digest)?;
        let _lock = self.store.lock(&digest)?;
        if self.store.has_blob(&digest) {
            return Ok(());
        }
        let path = self.file.path().to_owned();
        self.file.as_file().sync_all().map_err(StoreError::io("syncing", &path))?;
        let target = self.store.sharded("blobs", &digest);
        let dir = target.parent().expect("blobs lie in a folder");
        files::create_dirs(dir)?;
        let named = self.file.persist(&target).map_err(|error| error.error);
        named.map_err(StoreError::io("renaming", &path))?;
        files::sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_arrives_becomes_a_blob_by_its_own_digest_or_nothing() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(dir.path()).expect("store");
        let tmp = || fs::read_dir(dir.path().join("tmp")).expect("lists").count();
        for round in 0..2 {
            let mut blob = store.new_blob().expect("begins");
            blob.write(b"of a try that broke off").expect("writes");
            blob.restart().expect("begins anew");
            blob.write(b"hello ").expect("writes");
            blob.write(b"world").expect("writes");
            let digest = Digest::of(b"hello world");
            assert_eq!((blob.digest(), blob.len()), (digest, 11));
            files::sweep(&dir.path().join("tmp"), Duration::ZERO).expect("sweeps");
            let mut text = String::new();
            blob.reader().expect("opens").read_to_string(&mut text).expect("reads");
            assert_eq!((text.as_str(), store.has_blob(&digest)), ("hello world", round == 1));
            blob.keep().expect("keeps it");
            let kept = store.read_blob(&digest).expect("reads");
            assert_eq!(kept.as_deref(), Some(&b"hello world"[..]));
            assert_eq!(tmp(), 0);
        }
        let mut blob = store.new_blob().expect("begins");
        blob.write(b"unwanted").expect("writes");
        drop(blob);
        assert!(!store.has_blob(&Digest::of(b"unwanted")));
        assert_eq!(tmp(), 0);
    }
}
