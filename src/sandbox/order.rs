//! What the two sides of a cell tell each other, one line of JSON each way.

use std::ffi::OsString;
use std::io;

use serde::{Deserialize, Serialize};

use super::Limits;

/// What is to be run, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The folder, without links in its path.
    pub root: OsString,
    /// What it shows of the host besides, read-only: a path there, a path inside.
    pub binds: Vec<(OsString, String)>,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub limits: Limits,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// It ended, with this status of wait(2).
    Ended(i32),
    /// It could not be started.
    NotStarted(i32),
    /// There is no cell: what was being done, and the error's number.
    NoCell(String, i32),
}

/// A step of making a cell went wrong.
#[derive(Debug)]
pub(super) struct Broken {
    pub doing: String,
    pub source: io::Error,
}

/// Says what was being done.
pub(super) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Broken>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Broken> {
        self.map_err(|error| Broken { doing: what.into(), source: error.into() })
    }
}

impl From<Broken> for Outcome {
    fn from(broken: Broken) -> Self {
        Self::NoCell(broken.doing, broken.source.raw_os_error().unwrap_or(0))
    }
}
