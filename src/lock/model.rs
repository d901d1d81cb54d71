//! What a lock says. No host appears here: where bytes come from is a setting (`fetch`).

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;

/// What an appliance asks for; a lock answers exactly one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Debian package names by the group that wants them.
    pub debian: BTreeMap<Group, BTreeSet<String>>,
    /// PEP 508 requirements by Python environment (an overlay's `[inputs.python.NAME]`).
    pub python: BTreeMap<String, BTreeSet<String>>,
    /// Semver range by npm package name.
    pub npm: BTreeMap<String, String>,
    /// Other files by input name.
    pub url: BTreeMap<String, UrlRequest>,
}

/// A file to fetch from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRequest {
    /// Where its author publishes it.
    pub url: String,
    /// Its digest, where the overlay pins it; else the first `lock` does.
    pub digest: Option<Digest>,
}

/// Who needs a Debian package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The image itself.
    Image,
    /// Tools that shape the image's bytes (GRUB, depmod, Python ...).
    Build,
    /// Tools that boot it in tests (QEMU, firmware, ssh).
    Vm,
}

/// Everything an appliance is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Seconds since 1970: the newest date of `indexes`. Stands for "now" in everything built.
    pub epoch: i64,
    /// What was asked for when this was resolved.
    pub request: Request,
    /// Package indexes as they were, sorted by name.
    pub indexes: Vec<Index>,
    /// Debian packages, sorted by name; one version of each.
    pub debs: Vec<Deb>,
    /// Python wheels, sorted by environment, then name.
    pub wheels: Vec<Wheel>,
    /// npm tarballs, sorted by name, then version.
    pub npm: Vec<NpmTarball>,
    /// Other files, sorted by name.
    pub urls: Vec<UrlBlob>,
}

impl Lock {
    /// The Debian packages of a group.
    pub fn debs_of(&self, group: Group) -> Vec<Deb> {
        self.debs.iter().filter(|deb| deb.groups.contains(&group)).cloned().collect()
    }
}

/// One Debian suite's signed index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// `trixie`, `trixie-updates`, `trixie-security`.
    pub suite: String,
    /// Its InRelease's Date, seconds since 1970; a later lock never goes before it.
    pub date: i64,
    /// SHA-256 of the InRelease file.
    pub digest: Digest,
}

/// Which archive tree a package's path is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DebArchive {
    /// The main archive (`debian`).
    Debian,
    /// The security archive (`debian-security`).
    DebianSecurity,
}

/// A Debian binary package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// Package name.
    pub name: String,
    /// Full version, epoch and revision included.
    pub version: String,
    /// `amd64` or `all`.
    pub arch: String,
    /// What `path` is relative to.
    pub archive: DebArchive,
    /// `pool/main/b/bash/bash_5.2_amd64.deb`
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub digest: Digest,
    /// Who needs it.
    pub groups: BTreeSet<Group>,
}

/// A Python wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The environment it is installed into.
    pub env: String,
    /// Normalised project name (PEP 503).
    pub name: String,
    /// PEP 440 version.
    pub version: String,
    /// File name.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the wheel.
    pub digest: Digest,
}

/// An npm package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpmTarball {
    /// Package name, scope included.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// The registry's own digest (`sha512-BASE64`), checked when locking.
    pub integrity: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the tarball.
    pub digest: Digest,
}

/// Another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlBlob {
    /// Input name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
}
