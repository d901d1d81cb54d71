//! What the operating system refused, as all modules' errors say it.

use std::io;
use std::path::{Path, PathBuf};

/// Something that the operating system refused.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct IoFailure {
    /// A gerund: what was being done.
    pub doing: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl IoFailure {
    /// For `map_err`: a failure of `doing` something to `path`, as an error of one's own kind.
    pub(crate) fn when<E: From<Self>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> E {
        let path = path.to_owned();
        move |source| Self { doing, path, source }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_being_done_to_what_and_why_it_failed() {
        let absent = io::Error::from(io::ErrorKind::NotFound);
        let failure: IoFailure = IoFailure::when("opening", Path::new("/etc/x"))(absent);
        assert_eq!(failure.to_string(), "opening /etc/x: entity not found");
    }
}
