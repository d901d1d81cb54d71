//! Many downloads at once, each resumed where an earlier one broke off and checked on the way in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use url::Url;

use super::http::{Stop, shown};
use super::wanted::Candidate;
use super::{Answer, FetchError, Http, Sources, Tried, Wanted};
use crate::store::{PartialBlob, Store, StoreError};

const CONNECTIONS: usize = 8;
/// So many inputs may fail before no further one is started.
const MAX_FAILURES: usize = 8;

/// What happens, for whoever shows it. `name`: [`Wanted::label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An input is not there yet and will be fetched.
    Started {
        /// Which.
        name: &'a str,
        /// Bytes in all.
        size: u64,
    },
    /// So much of it is there.
    Progress {
        /// Which.
        name: &'a str,
        /// Bytes so far; may fall when a place must begin anew.
        bytes: u64,
    },
    /// A place did not serve; it is asked again, or the next one is.
    Retrying {
        /// Which.
        name: &'a str,
        /// The place's address.
        address: &'a str,
        /// What it answered.
        answer: &'a Answer,
    },
    /// It is in the store.
    Finished {
        /// Which.
        name: &'a str,
    },
}

/// Fetches what is not in the store yet.
///
/// # Errors
/// An input that no place has ([`FetchError::Missing`], or several of them), a store that cannot
/// take it, or `cancel` was set: then partial downloads stay for the next run.
pub fn fetch_all(
    store: &Store,
    http: &Http,
    sources: &Sources,
    wanted: &[Wanted],
    events: &(dyn Fn(Event<'_>) + Sync),
    cancel: &AtomicBool,
) -> Result<(), FetchError> {
    let missing: Vec<_> = wanted.iter().filter(|input| !store.has_blob(&input.digest)).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let failed = || failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(input) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.load(Ordering::Relaxed) || failed().len() >= MAX_FAILURES {
                return;
            }
            let fetch = Fetch { store, http, sources, input, events, cancel };
            if let Err(error) = fetch.run() {
                failed().push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(missing.len()) {
            scope.spawn(work);
        }
    });
    if cancel.load(Ordering::Relaxed) {
        return Err(FetchError::Cancelled);
    }
    let mut failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        _ => Err(worst(failures)),
    }
}

/// A trouble of the store concerns everything, so it stands alone.
fn worst(mut failures: Vec<FetchError>) -> FetchError {
    match failures.iter().position(|error| matches!(error, FetchError::Store(_))) {
        Some(index) => failures.swap_remove(index),
        None => FetchError::Several(failures),
    }
}

/// The fetching of one input.
struct Fetch<'a> {
    store: &'a Store,
    http: &'a Http,
    sources: &'a Sources,
    input: &'a Wanted,
    events: &'a (dyn Fn(Event<'_>) + Sync),
    cancel: &'a AtomicBool,
}

impl Fetch<'_> {
    fn run(&self) -> Result<(), FetchError> {
        let name = self.input.label.as_str();
        (self.events)(Event::Started { name, size: self.input.size });
        let mut tried = Vec::new();
        for candidate in self.input.candidates(self.sources)? {
            let mut address = candidate.shown();
            match self.from(&candidate, &mut address) {
                Ok(()) => {
                    (self.events)(Event::Finished { name });
                    return Ok(());
                }
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Answer(answer)) => {
                    (self.events)(Event::Retrying { name, address: &address, answer: &answer });
                    tried.push(Tried { address, found: candidate.found, answer });
                }
            }
        }
        let what = format!("{name} (SHA-256 {})", self.input.digest);
        Err(FetchError::Missing { what, tried, remedy: self.input.remedy(self.sources) })
    }

    /// Gets it from one place; a resumed download that turns out wrong is begun anew once, as the
    /// bytes that were there may have been another place's.
    fn from(&self, candidate: &Candidate, address: &mut String) -> Result<(), Stop> {
        let url = candidate.resolve(self.http).map_err(Stop::Answer)?;
        *address = shown(&url);
        loop {
            let Some(mut partial) = self.store.begin_blob(&self.input.digest)? else {
                return Ok(());
            };
            let resumed = !partial.is_empty();
            self.fill(&mut partial, &url)?;
            match partial.commit() {
                Ok(()) => return Ok(()),
                Err(StoreError::Corrupt { .. }) if resumed => {}
                Err(StoreError::Corrupt { actual, .. }) => {
                    return Err(Answer::WrongBytes { actual: actual.to_string() }.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Brings the partial blob to its full size.
    fn fill(&self, partial: &mut PartialBlob, url: &Url) -> Result<(), Stop> {
        let (name, size) = (self.input.label.as_str(), self.input.size);
        if partial.len() > size {
            partial.restart()?;
        }
        let address = shown(url);
        let retrying =
            |answer: &Answer| (self.events)(Event::Retrying { name, address: &address, answer });
        self.http.retry(self.cancel, &retrying, || match partial.len() == size && size > 0 {
            true => Ok(()),
            false => self.attempt(partial, url),
        })
    }

    /// One request: appends what comes.
    fn attempt(&self, partial: &mut PartialBlob, url: &Url) -> Result<(), Stop> {
        let size = self.input.size;
        let mut incoming = self.http.open(url, partial.len(), self.cancel);
        let head = incoming.head()?;
        match head.status {
            206 if continues(head.range.as_deref(), partial.len(), size) => {}
            // The server knows no ranges, or answers another one, or says there is none.
            200 => partial.restart()?,
            206 | 416 if !partial.is_empty() => {
                partial.restart()?;
                return self.attempt(partial, url);
            }
            status => return Err(Answer::Status(status).into()),
        }
        if head.length.is_some_and(|length| partial.len().saturating_add(length) > size) {
            return Err(Answer::TooLong { limit: size }.into());
        }
        while let Some(chunk) = incoming.chunk()? {
            if partial.len() + chunk.len() as u64 > size {
                partial.restart()?;
                return Err(Answer::TooLong { limit: size }.into());
            }
            partial.write(&chunk)?;
            (self.events)(Event::Progress { name: &self.input.label, bytes: partial.len() });
        }
        if partial.len() < size {
            return Err(Answer::Cut { got: partial.len(), expected: size }.into());
        }
        Ok(())
    }
}

/// Whether a Content-Range (`bytes 5-9/10`) goes on where the partial blob ends.
fn continues(range: Option<&str>, offset: u64, size: u64) -> bool {
    let Some((span, total)) = range.and_then(|r| r.strip_prefix("bytes ")?.split_once('/')) else {
        return false;
    };
    let start = span.split('-').next().and_then(|start| start.parse().ok());
    start == Some(offset) && (total == "*" || total.parse() == Ok(size))
}

#[cfg(test)]
mod tests;
