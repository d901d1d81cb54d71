//! What an update would change on a box, before anything is sent: `chatimg plan`.
//!
//! ```text
//! facts     what is in an image: by its manifest, or as a running box tells it
//! changes   from one to the other
//! verdict   whether the box could go back, and how
//! words     for people
//! ```

mod changes;
mod facts;
mod verdict;
mod words;

pub(crate) use changes::diff;
pub use changes::{Change, Changes, Kind};
pub use facts::{Facts, REMOTE};
pub(crate) use facts::{enabled, is_configuration};
pub use verdict::{Return, Verdict};
pub use words::lines;
pub(crate) use words::section;

use serde::Serialize;

use super::update::Space;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Preview {
    /// The image that runs, or the one that was built before.
    pub from: String,
    /// The new one.
    pub to: String,
    /// Whether `from` is known by its manifest; else by what the box tells of itself, and less is compared.
    pub by_manifest: bool,
    /// Packages, wheels and other inputs.
    pub packages: Vec<Change>,
    /// Files below `/etc` and those of overlays.
    pub files: Vec<Change>,
    /// Ports that are open, `NUMBER/PROTOCOL`.
    pub ports: Vec<Change>,
    /// Units that start by themselves.
    pub units: Vec<Change>,
    /// Programs whose data have a format.
    pub formats: Vec<Verdict>,
    /// What going back would take, all of them together.
    pub going_back: Return,
    /// What would be sent; `None`: nobody could tell.
    pub download: Option<Download>,
    /// What the switch needs on each file system; none without a box.
    pub space: Vec<Space>,
}

/// What would be sent. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Download {
    /// Before compression.
    pub lacking: u64,
    /// After it.
    pub sent: u64,
    /// The whole image.
    pub image: u64,
}

impl Preview {
    /// Compares two images.
    pub fn new(from: &Facts, to: &Facts, by_manifest: bool) -> Self {
        let Changes { packages, files, ports, units } = Changes::between(from, to);
        let formats = verdict::judge(&from.formats, &to.formats);
        let going_back =
            formats.iter().map(|verdict| verdict.going_back).max().unwrap_or(Return::WithData);
        Self {
            from: from.id.clone(),
            to: to.id.clone(),
            by_manifest,
            packages,
            files,
            ports,
            units,
            formats,
            going_back,
            download: None,
            space: Vec::new(),
        }
    }
}
