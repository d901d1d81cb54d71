//! The lock: every input of an appliance, by digest. `chatimg lock` makes it; `build` obeys it.

mod answer;
pub mod deb;
mod diff;
mod file;
mod model;
pub(crate) mod npm;
mod online;
pub(crate) mod pypi;
mod resolve;
mod url;

pub use answer::unanswered;
pub use diff::Change;
pub use file::LockFileError;
pub use model::{
    Deb, DebArchive, Group, Index, Lock, NpmTarball, Request, UrlBlob, UrlRequest, Wheel,
};
pub use npm::{NpmError, check_npm_range, npm_locked, npm_root, resolve_npm};
pub use online::Online;
pub(crate) use pypi::check_wheel_metadata;
pub use pypi::{PypiError, check_requirement, resolve_python};
pub use resolve::{ResolveError, resolve};
pub use url::resolve_urls;
