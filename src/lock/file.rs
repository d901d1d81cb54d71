//! `appliance.lock`: the TOML form of a [`Lock`].
//!
//! ```toml
//! version = 1
//! [request.debian]        # what was asked for; then one block an input, sorted
//! image = ["bash"]
//! [[index]]
//! suite = "trixie"
//! date = 2026-11-20T12:00:00Z
//! sha256 = "..."
//! [[deb]]
//! name = "bash"
//! ```
//!
//! Reading is strict: unknown keys, unsorted or repeated blocks, paths that leave their archive and
//! sizes beyond reason are refused. `Lock::parse(lock.to_toml())` is `lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Deb, DebArchive, Group, Index, Lock, NpmTarball, Request, UrlBlob, UrlRequest, Wheel};
use crate::digest::Digest;

const VERSION: i64 = 1;
const HEAD: &str = "# made by chatimg lock; do not edit\n";
const ADVICE: &str =
    "restore it from version control, or remove it and make a new one with `chatimg lock`";
/// No input is larger.
const MAX_SIZE: u64 = 16 << 30;

/// A lock file that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LockFileError {
    /// Not TOML, or not the keys and types of a lock.
    #[error("reading {path}: {why}\n{ADVICE}")]
    Syntax {
        /// The file.
        path: String,
        /// What and at which line.
        why: String,
    },
    /// Written by another chatimg.
    #[error(
        "{path} has version {found}, and this chatimg reads version {VERSION}: use the chatimg that made it; or {ADVICE}"
    )]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
    },
    /// A block says what cannot be.
    #[error("reading {path}: {block}: {why}; {ADVICE}")]
    Content {
        /// The file.
        path: String,
        /// Which block.
        block: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
struct Versioned {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    request: WireRequest,
    #[serde(default)]
    index: Vec<WireIndex>,
    #[serde(default)]
    deb: Vec<WireDeb>,
    #[serde(default)]
    wheel: Vec<WireWheel>,
    #[serde(default)]
    npm: Vec<WireNpm>,
    #[serde(default)]
    url: Vec<WireUrl>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WireRequest {
    debian: BTreeMap<WireGroup, BTreeSet<String>>,
    python: BTreeMap<String, BTreeSet<String>>,
    npm: BTreeMap<String, String>,
    url: BTreeMap<String, WireUrlRequest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUrlRequest {
    url: String,
    sha256: Option<Digest>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum WireGroup {
    Image,
    Build,
    Vm,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireArchive {
    Debian,
    DebianSecurity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireIndex {
    suite: String,
    date: toml::value::Datetime,
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDeb {
    name: String,
    version: String,
    arch: String,
    archive: WireArchive,
    path: String,
    size: u64,
    sha256: Digest,
    groups: BTreeSet<WireGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireWheel {
    env: String,
    name: String,
    version: String,
    file: String,
    size: u64,
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNpm {
    name: String,
    version: String,
    integrity: String,
    size: u64,
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUrl {
    name: String,
    size: u64,
    sha256: Digest,
}

impl From<WireGroup> for Group {
    fn from(group: WireGroup) -> Self {
        match group {
            WireGroup::Image => Self::Image,
            WireGroup::Build => Self::Build,
            WireGroup::Vm => Self::Vm,
        }
    }
}

impl From<WireRequest> for Request {
    fn from(wire: WireRequest) -> Self {
        let url = |asked: WireUrlRequest| UrlRequest { url: asked.url, digest: asked.sha256 };
        Self {
            debian: wire.debian.into_iter().map(|(group, names)| (group.into(), names)).collect(),
            python: wire.python,
            npm: wire.npm,
            url: wire.url.into_iter().map(|(name, asked)| (name, url(asked))).collect(),
        }
    }
}

impl From<WireDeb> for Deb {
    fn from(wire: WireDeb) -> Self {
        Self {
            name: wire.name,
            version: wire.version,
            arch: wire.arch,
            archive: match wire.archive {
                WireArchive::Debian => DebArchive::Debian,
                WireArchive::DebianSecurity => DebArchive::DebianSecurity,
            },
            path: wire.path,
            size: wire.size,
            digest: wire.sha256,
            groups: wire.groups.into_iter().map(Group::from).collect(),
        }
    }
}

impl From<WireWheel> for Wheel {
    fn from(wire: WireWheel) -> Self {
        let WireWheel { env, name, version, file, size, sha256: digest } = wire;
        Self { env, name, version, file, size, digest }
    }
}

impl From<WireNpm> for NpmTarball {
    fn from(wire: WireNpm) -> Self {
        let WireNpm { name, version, integrity, size, sha256: digest } = wire;
        Self { name, version, integrity, size, digest }
    }
}

impl Lock {
    /// Reads a lock file. `path`: for messages.
    ///
    /// # Errors
    /// The text is not a lock that [`Lock::to_toml`] could have written.
    pub fn parse(text: &str, path: &str) -> Result<Self, LockFileError> {
        let syntax = |error: toml::de::Error| LockFileError::Syntax {
            path: path.to_owned(),
            why: error.to_string().trim_end().to_owned(),
        };
        let Versioned { version } = toml::from_str(text).map_err(syntax)?;
        if version != VERSION {
            return Err(LockFileError::Version { path: path.to_owned(), found: version });
        }
        let wire: Wire = toml::from_str(text).map_err(syntax)?;
        let content = |(block, why)| LockFileError::Content { path: path.to_owned(), block, why };
        let mut lock = Self {
            epoch: 0,
            request: wire.request.into(),
            indexes: wire
                .index
                .into_iter()
                .map(index)
                .collect::<Result<_, _>>()
                .map_err(content)?,
            debs: wire.deb.into_iter().map(Deb::from).collect(),
            wheels: wire.wheel.into_iter().map(Wheel::from).collect(),
            npm: wire.npm.into_iter().map(NpmTarball::from).collect(),
            urls: wire
                .url
                .into_iter()
                .map(|url| UrlBlob { name: url.name, size: url.size, digest: url.sha256 })
                .collect(),
        };
        lock.epoch = lock.indexes.iter().map(|index| index.date).max().unwrap_or(0);
        check(&lock).map_err(content)?;
        Ok(lock)
    }

    /// The lock file's text.
    pub fn to_toml(&self) -> String {
        let mut out = format!("{HEAD}version = {VERSION}\n");
        write_request(&mut out, &self.request);
        for index in &self.indexes {
            block(&mut out, "index", &[("suite", &index.suite)]);
            line(&mut out, "date", &date_text(index.date));
            line(&mut out, "sha256", &quoted(&index.digest.to_string()));
        }
        for deb in &self.debs {
            let (archive, path) = (archive_text(deb.archive), &deb.path);
            let texts = [("name", &*deb.name), ("version", &deb.version), ("arch", &deb.arch)];
            block(&mut out, "deb", &texts);
            line(&mut out, "archive", &quoted(archive));
            line(&mut out, "path", &quoted(path));
            bytes(&mut out, deb.size, &deb.digest);
            let groups: Vec<_> =
                deb.groups.iter().map(|group| quoted(group_text(*group))).collect();
            line(&mut out, "groups", &format!("[{}]", groups.join(", ")));
        }
        for wheel in &self.wheels {
            let Wheel { env, name, version, file, .. } = wheel;
            let texts = [("env", &**env), ("name", name), ("version", version), ("file", file)];
            block(&mut out, "wheel", &texts);
            bytes(&mut out, wheel.size, &wheel.digest);
        }
        for npm in &self.npm {
            let NpmTarball { name, version, integrity, .. } = npm;
            let texts = [("name", &**name), ("version", version), ("integrity", integrity)];
            block(&mut out, "npm", &texts);
            bytes(&mut out, npm.size, &npm.digest);
        }
        for url in &self.urls {
            block(&mut out, "url", &[("name", &url.name)]);
            bytes(&mut out, url.size, &url.digest);
        }
        out
    }
}

type Wrong = (String, String);

fn index(wire: WireIndex) -> Result<Index, Wrong> {
    let text = wire.date.to_string();
    let date = OffsetDateTime::parse(&text, &Rfc3339)
        .map_err(|error| (format!("index {}", wire.suite), format!("date {text}: {error}")))?;
    Ok(Index { suite: wire.suite, date: date.unix_timestamp(), digest: wire.sha256 })
}

/// What serde cannot see.
fn check(lock: &Lock) -> Result<(), Wrong> {
    let suites: Vec<_> = lock.indexes.iter().map(|index| vec![&*index.suite]).collect();
    sorted("index", &suites)?;
    let debs: Vec<_> = lock.debs.iter().map(|deb| vec![&*deb.name]).collect();
    sorted("deb", &debs)?;
    let wheels: Vec<_> = lock.wheels.iter().map(|w| vec![&*w.env, &*w.name]).collect();
    sorted("wheel", &wheels)?;
    let npm: Vec<_> = lock.npm.iter().map(|n| vec![&*n.name, &*n.version]).collect();
    sorted("npm", &npm)?;
    let urls: Vec<_> = lock.urls.iter().map(|url| vec![&*url.name]).collect();
    sorted("url", &urls)?;
    for deb in &lock.debs {
        let ok = inside(&deb.path) && deb.path.ends_with(".deb");
        require(ok, "deb", &deb.name, || format!("'{}' is no path of a package", deb.path))?;
        let ok = matches!(&*deb.arch, "amd64" | "all");
        require(ok, "deb", &deb.name, || format!("'{}' is neither amd64 nor all", deb.arch))?;
        require(!deb.groups.is_empty(), "deb", &deb.name, || "no group needs it".to_owned())?;
        size("deb", &deb.name, deb.size)?;
    }
    for wheel in &lock.wheels {
        let ok = plain(&wheel.file) && wheel.file.ends_with(".whl");
        require(ok, "wheel", &wheel.name, || format!("'{}' is no wheel's name", wheel.file))?;
        size("wheel", &wheel.name, wheel.size)?;
    }
    for npm in &lock.npm {
        let bare = npm.name.strip_prefix('@').unwrap_or(&npm.name);
        let ok = inside(bare) && bare.split('/').count() <= 2 && plain(&npm.version);
        require(ok, "npm", &npm.name, || "the name or version is none of npm's".to_owned())?;
        let ok = npm.integrity.starts_with("sha512-");
        require(ok, "npm", &npm.name, || "integrity is not a SHA-512".to_owned())?;
        size("npm", &npm.name, npm.size)?;
    }
    for url in &lock.urls {
        let ok = lock.request.url.contains_key(&url.name);
        require(ok, "url", &url.name, || "no such input is asked for".to_owned())?;
        size("url", &url.name, url.size)?;
    }
    Ok(())
}

fn require(ok: bool, kind: &str, name: &str, why: impl Fn() -> String) -> Result<(), Wrong> {
    if ok { Ok(()) } else { Err((format!("{kind} {name}"), why())) }
}

fn size(kind: &str, name: &str, size: u64) -> Result<(), Wrong> {
    require(size <= MAX_SIZE, kind, name, || format!("size {size} is beyond {MAX_SIZE}"))
}

fn sorted(kind: &str, keys: &[Vec<&str>]) -> Result<(), Wrong> {
    for pair in keys.windows(2) {
        let name = pair[1].join(" ");
        require(pair[0] != pair[1], kind, &name, || "it is there twice".to_owned())?;
        let before = || format!("it stands behind {}, and blocks are sorted", pair[0].join(" "));
        require(pair[0] < pair[1], kind, &name, before)?;
    }
    Ok(())
}

/// One path component.
fn plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

/// A relative path that stays where it begins.
fn inside(path: &str) -> bool {
    path.split('/').all(plain)
}

fn write_request(out: &mut String, request: &Request) {
    let list = |out: &mut String, key: &str, values: &BTreeSet<String>| {
        let lines: String =
            values.iter().map(|value| format!("    {},\n", quoted(value))).collect();
        line(out, key, &if lines.is_empty() { "[]".to_owned() } else { format!("[\n{lines}]") });
    };
    if !request.debian.is_empty() {
        out.push_str("\n[request.debian]\n");
        request.debian.iter().for_each(|(group, names)| list(out, group_text(*group), names));
    }
    if !request.python.is_empty() {
        out.push_str("\n[request.python]\n");
        request.python.iter().for_each(|(env, names)| list(out, &quoted(env), names));
    }
    if !request.npm.is_empty() {
        out.push_str("\n[request.npm]\n");
        request.npm.iter().for_each(|(name, range)| line(out, &quoted(name), &quoted(range)));
    }
    for (name, asked) in &request.url {
        _ = write!(out, "\n[request.url.{}]\nurl = {}\n", quoted(name), quoted(&asked.url));
        if let Some(digest) = asked.digest {
            line(out, "sha256", &quoted(&digest.to_string()));
        }
    }
}

fn block(out: &mut String, kind: &str, texts: &[(&str, &str)]) {
    _ = write!(out, "\n[[{kind}]]\n");
    texts.iter().for_each(|(key, value)| line(out, key, &quoted(value)));
}

fn bytes(out: &mut String, size: u64, digest: &Digest) {
    line(out, "size", &size.to_string());
    line(out, "sha256", &quoted(&digest.to_string()));
}

fn line(out: &mut String, key: &str, value: &str) {
    _ = writeln!(out, "{key} = {value}");
}

/// A TOML string, which is a key as well.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Seconds since 1970 in RFC 3339. What lies outside its years cannot have come from an index.
fn date_text(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

fn group_text(group: Group) -> &'static str {
    match group {
        Group::Image => "image",
        Group::Build => "build",
        Group::Vm => "vm",
    }
}

fn archive_text(archive: DebArchive) -> &'static str {
    match archive {
        DebArchive::Debian => "debian",
        DebArchive::DebianSecurity => "debian-security",
    }
}

#[cfg(test)]
mod tests;
