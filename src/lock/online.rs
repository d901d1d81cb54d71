//! What every resolver that asks the net needs, and the one way in which it takes files from there.

use std::path::Path;

use url::Url;

use crate::digest::Digest;
use crate::fetch::{Archive, FetchError, Http, Place, Sources};
use crate::store::Store;

/// No input that a resolver takes into memory is larger.
const MAX_FILE: u64 = 512 << 20;

/// The net, and the store for what must be fetched to know more.
#[derive(Clone, Copy)]
pub struct Online<'a> {
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

    /// Takes a file into the store, or finds it there. With `expected`, no other bytes will do.
    pub(super) fn take(&self, url: &Url, expected: Option<Digest>) -> Result<Taken, FetchError> {
        if let Some(digest) = expected
            && let Ok(Some(bytes)) = self.store.read_blob(&digest)
        {
            return Ok(Taken { digest, bytes });
        }
        (self.note)(url.as_str());
        let bytes = self.http.get_bytes(url.as_str(), MAX_FILE)?;
        let digest = Digest::of(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(FetchError::wrong_bytes(url, &digest));
        }
        self.store.add_blob(&bytes)?;
        Ok(Taken { digest, bytes })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fetch::testserver::hasty;

    /// A store of its own and the places of a test.
    pub(in super::super) struct Net {
        dir: tempfile::TempDir,
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
            Self { dir, store, http: hasty(), sources }
        }

        pub(in super::super) fn online(&self) -> Online<'_> {
            Online {
                store: &self.store,
                http: &self.http,
                sources: &self.sources,
                config: self.dir.path(),
                note: &|_| (),
            }
        }
    }
}
