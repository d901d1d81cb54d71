//! chatimg: a whole chat server as one pinned, reproducible, tested disk image.
//!
//! Data flows one way: appliance → lock → fetch, store → compose (a tree) → image → vm, deliver. `docs/architecture.md` has the
//! picture, and says what is shared.

pub mod appliance;
pub mod archive;
pub mod care;
pub mod cli;
pub mod compare;
pub mod compose;
pub mod debian;
pub mod deliver;
pub mod diagnostic;
pub mod digest;
mod disk_use;
pub mod evidence;
pub mod failure;
pub mod fetch;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod image;
pub mod interrupt;
pub mod lock;
pub mod minisign;
pub mod parallel;
pub mod pipeline;
pub mod project;
pub mod sandbox;
pub mod sbom;
pub mod scan;
pub mod store;
pub mod tools;
pub mod tree;
pub mod ui;
pub mod vm;
mod whole;
mod zipped;
