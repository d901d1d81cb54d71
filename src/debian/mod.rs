//! Debian: the archive's signed indexes and dependency solving; packages, control data, and what their
//! maintainer scripts do.

pub mod archive;
pub mod control;
pub mod deb;
pub mod index;
pub mod keyring;
mod openpgp;
pub mod packages;
pub mod relation;
pub mod release;
pub mod scripts;
pub mod solve;
pub mod unpack;
pub mod version;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
