//! Where to ask for Python packages on a machine that says nothing about it.

use super::{Archive, FetchError, Http, Sources, fetch_all, wanted};
use crate::lock::{Group, Lock};
use crate::store::Store;

/// Debian's package of pip, one of the tools.
const PIP: &str = "python3-pip";

/// The same sources, with the index that Debian's pip asks unless told otherwise, if the lock needs Python
/// packages and nothing else names a place for them.
///
/// # Errors
/// That package cannot be fetched.
pub fn ask_pip(
    store: &Store,
    http: &Http,
    mut sources: Sources,
    lock: &Lock,
) -> Result<Sources, FetchError> {
    if lock.request.python.is_empty() || !sources.places(Archive::Pypi).is_empty() {
        return Ok(sources);
    }
    let mut pip = wanted(lock, &[Group::Build]);
    pip.retain(|input| input.name == PIP);
    fetch_all(store, http, &sources, &pip, &|_| (), &crate::interrupt::flag())?;
    for input in pip {
        if let Some(bytes) = store.read_blob(&input.digest)? {
            sources.add_pip_default(&bytes)?;
        }
    }
    Ok(sources)
}
