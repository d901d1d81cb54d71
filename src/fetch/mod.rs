//! Where bytes come from: places named by the user's and the machine's settings, downloads with
//! resume.
//!
//! A lock says what the bytes are; nothing here decides that. Every byte is checked against its
//! digest on its way into the store, so a place can be wrong, slow or hostile, but not harmful.

mod download;
mod error;
pub(crate) mod http;
mod pip;
pub(crate) mod simple;
pub(crate) mod sources;
#[cfg(test)]
pub(crate) mod testserver;
pub(crate) mod wanted;

pub use download::{Event, fetch_all};
pub use error::{Answer, FetchError, Tried};
pub use http::{Http, Page, Patience};
pub use pip::ask_pip;
pub use sources::{Archive, Place, Settings, Sources, SourcesError};
pub use wanted::{Kind, Wanted, wanted};
