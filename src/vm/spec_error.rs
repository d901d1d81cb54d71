//! What is wrong with a test's file.

use std::io;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;

/// A test's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that a test cannot say.
    #[error(transparent)]
    Wrong(Box<Diagnostic>),
}
