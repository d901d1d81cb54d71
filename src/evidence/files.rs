//! The files of an image's folder and their digests.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::Deserialize;
use serde_json::Value;

use super::{EvidenceError, ROOT};
use crate::deliver::flash::{Extent, Leg, Source};
use crate::deliver::update::Description;
use crate::digest::{Digest, Hasher};
use crate::image::layout::Span;
use crate::image::sums::{SUMS, Sums, parse};
use crate::image::{MANIFEST, RootPlace, is_zero};
use crate::interrupt;
use crate::parallel;
use crate::sbom;

const PIECE: usize = 1 << 20;

/// An image's folder whose small files hold together. Each was read once: what was checked is what is used.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) sums: Sums,
    pub(super) manifest: Value,
    /// What the manifest tells boxes.
    pub(super) description: Description,
    pub(super) id: String,
    legs: Vec<Leg>,
}

impl Folder {
    /// Reads it: the manifest and the bills of materials are those of `SHA256SUMS`.
    pub(super) fn open(dir: &Path) -> Result<Self, EvidenceError> {
        let path = dir.join(SUMS);
        let text = read(&path)?;
        let sums = std::str::from_utf8(&text).ok().and_then(parse);
        let sums =
            sums.ok_or_else(|| EvidenceError::damaged(&path, "it is not what sha256sum writes"))?;
        let checked = |name| {
            let path = dir.join(name);
            let bytes = read(&path)?;
            same(&path, Digest::of(&bytes), &sums)?;
            Ok::<_, EvidenceError>((bytes, path))
        };
        let (said, said_at) = checked(MANIFEST)?;
        for name in [sbom::SPDX, sbom::CYCLONEDX] {
            checked(name)?;
        }
        let manifest: Value = serde_json::from_slice(&said)
            .map_err(|error| EvidenceError::damaged(&said_at, error.to_string()))?;
        let Source { id, legs } = Source::of_manifest(&said, dir)?;
        let description = Description::of_manifest(&said, &said_at)?;
        let root = RootPlace::deserialize(&manifest["root"])
            .map_err(|error| EvidenceError::damaged(&said_at, error.to_string()))?;
        if !is_of(&root, &legs) {
            let why = "its root image is not what the disks hold";
            return Err(EvidenceError::damaged(&said_at, why));
        }
        let folder = Self { dir: dir.to_owned(), sums, manifest, description, id, legs };
        let disks = folder.disks();
        let known = |name: &String| {
            disks.contains(name) || [MANIFEST, sbom::SPDX, sbom::CYCLONEDX].contains(&name.as_str())
        };
        let expected = if folder.has_disks() { 3 + disks.len() } else { 3 };
        if !folder.sums.keys().all(known) || folder.sums.len() != expected {
            return Err(EvidenceError::damaged(&path, "it does not name the files of this image"));
        }
        Ok(folder)
    }

    /// Names of the disks' files.
    pub(super) fn disks(&self) -> Vec<String> {
        let name = |leg: &Leg| leg.path.file_name().map(|name| name.to_string_lossy().into_owned());
        self.legs.iter().filter_map(name).collect()
    }

    /// Whether the disks' own digests are among the sums: so it is in a signed image.
    pub(super) fn has_disks(&self) -> bool {
        self.disks().iter().any(|name| self.sums.contains_key(name))
    }

    /// Reads the disks in full, on all cores: they are what the manifest says, and the sums. So is a copy of the root image
    /// that was made for a box.
    pub(super) fn check_contents(&self) -> Result<(), EvidenceError> {
        let copy = self.dir.join(ROOT);
        let copies = self.has(ROOT).then_some(None);
        let work: Vec<Option<&Leg>> = self.legs.iter().map(Some).chain(copies).collect();
        parallel::try_map(&work, |leg| match leg {
            Some(leg) => {
                check_leg(leg)?;
                match self.has_disks() {
                    true => same(&leg.path, whole(&leg.path)?, &self.sums),
                    false => Ok(()),
                }
            }
            None if whole(&copy)? == self.description.root.sha256 => Ok(()),
            None => Err(EvidenceError::damaged(&copy, "it is not what manifest.json says")),
        })?;
        Ok(())
    }

    /// Whether something has this name in it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).symlink_metadata().is_ok()
    }

    /// Digests of everything, the disks as well; they are read.
    pub(super) fn all_sums(&self) -> Result<Sums, EvidenceError> {
        let disks = self.disks();
        let digests = parallel::try_map(&disks, |name| whole(&self.dir.join(name)))?;
        let mut sums = self.sums.clone();
        sums.extend(disks.into_iter().zip(digests));
        Ok(sums)
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, EvidenceError> {
    fs::read(path).map_err(EvidenceError::io("reading", path))
}

/// Whether the root image lies in the first disk, and all of them hold it.
fn is_of(root: &RootPlace, legs: &[Leg]) -> bool {
    let span = Span { start: root.start, len: root.size };
    let extent = Extent { span, digest: root.sha256 };
    let first = legs.first().and_then(|leg| leg.path.file_name());
    first.is_some_and(|name| *name == *root.file)
        && legs.iter().all(|leg| leg.extents.contains(&extent))
}

fn same(path: &Path, found: Digest, sums: &Sums) -> Result<(), EvidenceError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match sums.get(&*name) {
        Some(expected) if *expected == found => Ok(()),
        Some(expected) => {
            let why = format!("its SHA-256 is {found}, and SHA256SUMS says {expected}");
            Err(EvidenceError::damaged(path, why))
        }
        None => Err(EvidenceError::damaged(path, "SHA256SUMS does not name it")),
    }
}

fn whole(path: &Path) -> Result<Digest, EvidenceError> {
    let mut file = File::open(path).map_err(EvidenceError::io("opening", path))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        interrupt::check()?;
        match file.read(&mut piece).map_err(EvidenceError::io("reading", path))? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&piece[..count]),
        }
    }
}

/// Every extent of a disk has its digest, and all between them is zero.
fn check_leg(leg: &Leg) -> Result<(), EvidenceError> {
    let path = &leg.path;
    let file = File::open(path).map_err(EvidenceError::io("opening", path))?;
    let mut at = 0;
    for extent in &leg.extents {
        zero(&file, path, at, extent.span.start)?;
        let mut hasher = Hasher::new();
        at = extent.span.start + extent.span.len;
        pieces(read_at(&file), path, extent.span.start..at, |_, bytes| {
            hasher.update(bytes);
            Ok(true)
        })?;
        if hasher.finish() != extent.digest {
            let why =
                format!("bytes {} to {at} are not what manifest.json says", extent.span.start);
            return Err(EvidenceError::damaged(path, why));
        }
    }
    zero(&file, path, at, leg.size)
}

fn zero(file: &File, path: &Path, from: u64, to: u64) -> Result<(), EvidenceError> {
    let (mut place, mut at) = (None, from);
    while place.is_none() && at < to {
        let (data, hole) = next_data(file, at, to);
        pieces(read_at(file), path, data..hole, |at, bytes| {
            let zero = is_zero(bytes);
            place = (!zero).then_some(at);
            Ok(zero)
        })?;
        at = hole;
    }
    match place {
        None => Ok(()),
        Some(at) => {
            let why =
                format!("there is something at byte {at} or soon after, where nothing should be");
            Err(EvidenceError::damaged(path, why))
        }
    }
}

/// Where the next bytes begin that are no hole, and where they end; a file system that knows no holes has none.
fn next_data(file: &File, at: u64, end: u64) -> (u64, u64) {
    let seek = |at: u64, whence| lseek(file, i64::try_from(at).unwrap_or(i64::MAX), whence);
    let data = match seek(at, Whence::SeekData) {
        Ok(data) => u64::try_from(data).unwrap_or(at),
        Err(Errno::ENXIO) => end,
        Err(_) => return (at, end),
    };
    let hole = seek(data, Whence::SeekHole).ok().and_then(|hole| u64::try_from(hole).ok());
    (data.min(end), hole.unwrap_or(end).clamp(data.min(end), end))
}

fn read_at(file: &File) -> impl Fn(&mut [u8], u64) -> io::Result<()> {
    |bytes, at| file.read_exact_at(bytes, at)
}

/// Hands out a part of what `read` reads, of the file at `path`, until `take` has had enough.
pub(super) fn pieces(
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    path: &Path,
    range: Range<u64>,
    mut take: impl FnMut(u64, &[u8]) -> Result<bool, EvidenceError>,
) -> Result<(), EvidenceError> {
    let mut piece = vec![0; PIECE];
    let mut at = range.start;
    while at < range.end {
        interrupt::check()?;
        let len = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
        read(&mut piece[..len], at).map_err(EvidenceError::io("reading", path))?;
        if !take(at, &piece[..len])? {
            return Ok(());
        }
        at += len as u64;
    }
    Ok(())
}
