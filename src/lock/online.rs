//! What every resolver that asks the net needs, and the one way in which it takes files from there.

use std::fs::File;
use std::path::Path;

use url::Url;

use crate::debian::keyring::Keyring;
use crate::digest::Digest;
use crate::fetch::{Archive, FetchError, Http, Place, Sources};
use crate::store::{NewBlob, Store};

/// No input whose size nobody has said yet is larger.
const MAX_FILE: u64 = 512 << 20;

/// The net, and the store for what must be fetched to know more.
#[derive(Clone, Copy)]
pub struct Online<'a> {
    /// Who may sign Debian's indexes.
    pub keyring: &'a Keyring,
    /// Takes what was fetched.
    pub store: &'a Store,
    /// Asks.
    pub http: &'a Http,
    /// Whom to ask.
    pub sources: &'a Sources,
    /// The user's configuration file, for messages.
    pub config: &'a Path,
    /// Told about each address that is asked.
    pub note: &'a (dyn Fn(&str) + Sync),
}

/// A file that was looked at, and may be taken into the store.
pub(super) struct Found<'a> {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Its bytes, at their beginning. They are never all in memory.
    pub(super) file: File,
    /// `None`: it is in the store.
    new: Option<NewBlob<'a>>,
}

impl Found<'_> {
    /// Takes it into the store.
    pub(super) fn keep(&mut self) -> Result<(), FetchError> {
        Ok(self.new.take().map_or(Ok(()), NewBlob::keep)?)
    }
}

impl Online<'_> {
    /// The places to ask for one kind of input.
    pub(super) fn places(&self, archive: Archive) -> Result<&[Place], FetchError> {
        Ok(self.sources.required(archive, self.config)?)
    }

    /// Takes a file into the store, or finds it there. With `expected`, no other bytes will do, and never those that `check`
    /// has something against.
    pub(super) fn take(
        &self,
        url: &Url,
        expected: Option<Digest>,
        check: impl FnOnce(&mut File) -> Result<(), String>,
    ) -> Result<Found<'_>, FetchError> {
        let mut found = self.look(url, expected)?;
        check(&mut found.file).map_err(|why| {
            let file = url.path_segments().and_then(|mut parts| parts.next_back());
            let file = file.unwrap_or_default().to_owned();
            FetchError::Lie { file, address: url.to_string(), why }
        })?;
        found.keep()?;
        Ok(found)
    }

    /// A file that may be taken later; that of the store, if it has the expected one.
    pub(super) fn look(
        &self,
        url: &Url,
        expected: Option<Digest>,
    ) -> Result<Found<'_>, FetchError> {
        if let Some(digest) = expected
            && let Ok(Some(file)) = self.store.blob_file(&digest)
            && let Ok(meta) = file.metadata()
        {
            return Ok(Found { digest, size: meta.len(), file, new: None });
        }
        (self.note)(url.as_str());
        let mut blob = self.store.new_blob()?;
        self.http.get_into(url.as_str(), MAX_FILE, &mut blob)?;
        let digest = blob.digest();
        match expected.is_some_and(|expected| expected != digest) {
            true => Err(FetchError::wrong_bytes(url, &digest)),
            false => {
                let (size, file) = (blob.len(), blob.reader()?);
                Ok(Found { digest, size, file, new: Some(blob) })
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fetch::testserver::hasty;

    /// A store of its own and the places of a test.
    pub(in super::super) struct Net {
        dir: tempfile::TempDir,
        keyring: Keyring,
        pub(in super::super) store: Store,
        http: Http,
        sources: Sources,
    }

    impl Net {
        pub(in super::super) fn new(places: &[(Archive, &str)]) -> Self {
            let dir = tempfile::tempdir().expect("folder");
            let store = Store::open(dir.path()).expect("store");
            let mut sources = Sources::default();
            for (archive, base) in places {
                sources.add(*archive, base, "the test").expect("an address");
            }
            let keyring = Keyring::debian().expect("keys");
            Self { dir, keyring, store, http: hasty(), sources }
        }

        pub(in super::super) fn online(&self) -> Online<'_> {
            Online {
                keyring: &self.keyring,
                store: &self.store,
                http: &self.http,
                sources: &self.sources,
                config: self.dir.path(),
                note: &|_| (),
            }
        }
    }
}
