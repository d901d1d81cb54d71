//! What every resolver that asks the net needs, and the one way in which it takes files from there.

use std::path::Path;

use url::Url;

use crate::debian::keyring::Keyring;
use crate::digest::Digest;
use crate::fetch::{Archive, FetchError, Http, Place, Sources};
use crate::store::Store;

/// No input that a resolver takes into memory is larger.
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

/// A file that was taken into the store.
pub(super) struct Taken {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
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
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<Taken, FetchError> {
        let bytes = self.look(url, expected)?;
        check(&bytes).map_err(|why| {
            let file = url.path_segments().and_then(|mut parts| parts.next_back());
            let file = file.unwrap_or_default().to_owned();
            FetchError::Lie { file, address: url.to_string(), why }
        })?;
        let digest = self.store.add_blob(&bytes)?;
        Ok(Taken { digest, bytes })
    }

    /// The bytes of a file that may be taken later; those of the store, if it has the expected ones.
    pub(super) fn look(&self, url: &Url, expected: Option<Digest>) -> Result<Vec<u8>, FetchError> {
        if let Some(digest) = expected
            && let Ok(Some(bytes)) = self.store.read_blob(&digest)
        {
            return Ok(bytes);
        }
        (self.note)(url.as_str());
        let bytes = self.http.get_bytes(url.as_str(), MAX_FILE)?;
        let digest = Digest::of(&bytes);
        match expected.is_some_and(|expected| expected != digest) {
            true => Err(FetchError::wrong_bytes(url, &digest)),
            false => Ok(bytes),
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
