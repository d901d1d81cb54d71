//! An image on its way to disks: where its files are, and which bytes of them are not zero, as its `manifest.json` says. Others
//! read other parts of that: `compare`, `deliver::preview`, `deliver::update`, `evidence`, `image::inventory` and `image::root`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::FlashError;
use super::plan::BLOCK;
use crate::digest::Digest;
use crate::image::layout::{MIB, Part, Span};
use crate::image::{MANIFEST, beside, parse_manifest};

/// An image, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The image's id.
    pub id: String,
    /// One for each disk of the box.
    pub legs: Vec<Leg>,
}

/// What goes to one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The disk image.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// What is not zero, in order of place; each starts at a block, and no two share one.
    pub extents: Vec<Extent>,
    /// The settings partition.
    pub settings: Option<Span>,
}

/// A part of an image that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where.
    pub span: Span,
    /// Of these bytes.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Disks {
    id: String,
    disks: Vec<Disk>,
}

#[derive(Deserialize)]
struct Disk {
    file: String,
    size: u64,
    partitions: Vec<Partition>,
    extents: Vec<RawExtent>,
}

#[derive(Deserialize)]
struct Partition {
    number: u32,
    start: u64,
    size: u64,
}

#[derive(Deserialize)]
struct RawExtent {
    start: u64,
    size: u64,
    sha256: Digest,
}

impl Source {
    /// Reads the manifest of the image in a folder.
    ///
    /// # Errors
    /// It is missing, of another version, or contradicts itself or the files beside it.
    pub fn open(dir: &Path) -> Result<Self, FlashError> {
        let path = dir.join(MANIFEST);
        Self::of_manifest(&fs::read(&path).map_err(FlashError::io("reading", &path))?, dir)
    }

    /// The same by a manifest that was read already.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn of_manifest(text: &[u8], dir: &Path) -> Result<Self, FlashError> {
        let path = dir.join(MANIFEST);
        let (id, disks) = parse(text).map_err(|why| FlashError::manifest(&path, why))?;
        let leg = |disk: Disk| disk.leg(dir).map_err(|why| FlashError::manifest(&path, why));
        let legs = disks.into_iter().map(leg).collect::<Result<Vec<_>, _>>()?;
        for leg in &legs {
            let size = fs::metadata(&leg.path).map_err(FlashError::io("opening", &leg.path))?.len();
            if size != leg.size {
                let why = format!("{} has {size} bytes, not {}", leg.path.display(), leg.size);
                return Err(FlashError::manifest(&path, why));
            }
        }
        Ok(Self { id, legs })
    }

    /// Bytes that every disk needs.
    pub fn size(&self) -> u64 {
        self.legs.iter().map(|leg| leg.size).max().unwrap_or_default()
    }
}

impl Leg {
    pub(super) fn file(&self) -> Result<File, FlashError> {
        File::open(&self.path).map_err(FlashError::io("opening", &self.path))
    }
}

fn parse(text: &[u8]) -> Result<(String, Vec<Disk>), String> {
    let Disks { id, disks } = parse_manifest(text).map_err(|error| error.to_string())?;
    if disks.is_empty() {
        return Err("it has no disk".to_owned());
    }
    Ok((id, disks))
}

impl Disk {
    fn leg(self, dir: &Path) -> Result<Leg, String> {
        let Self { file, size, partitions, mut extents } = self;
        let path = beside(dir, &file)?;
        if !size.is_multiple_of(MIB) || size < 3 * MIB {
            return Err(format!("{file} cannot have {size} bytes"));
        }
        extents.sort_by_key(|extent| extent.start);
        let mut end = 0;
        for RawExtent { start, size: len, .. } in &extents {
            let inside = start.checked_add(*len).is_some_and(|end| end <= size);
            if !inside || *len == 0 || !start.is_multiple_of(BLOCK) || *start < end {
                return Err(format!("the extent of {file} at {start} cannot be one"));
            }
            end = (start + len).next_multiple_of(BLOCK);
        }
        // Else there would be no table to withhold, or it could not be told from the rest.
        let apart = |extent: &RawExtent| extent.start >= MIB || extent.start + extent.size <= MIB;
        let first = extents.first().is_some_and(|first| first.start == 0 && first.size >= BLOCK);
        if !first || !extents.iter().all(apart) {
            return Err(format!("{file} does not begin with a partition table"));
        }
        let settings = partitions.iter().find(|part| part.number == Part::Settings.number());
        let settings = settings.map(|part| Span { start: part.start, len: part.size });
        let free = |span: &Span| {
            let end = span.start.checked_add(span.len);
            let apart = |extent: &RawExtent| {
                extent.start + extent.size <= span.start
                    || end.is_some_and(|end| end <= extent.start)
            };
            span.start.is_multiple_of(BLOCK)
                && end.is_some_and(|end| end <= size - MIB)
                && extents.iter().all(apart)
        };
        if settings.as_ref().is_some_and(|span| !free(span)) {
            return Err(format!("the settings partition of {file} is not where it can be"));
        }
        let extents = extents.into_iter().map(|RawExtent { start, size, sha256 }| Extent {
            span: Span { start, len: size },
            digest: sha256,
        });
        Ok(Leg { path, size, extents: extents.collect(), settings })
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok((_, disks)) = parse(bytes) {
        disks.into_iter().for_each(|disk| _ = disk.leg(Path::new("/nowhere")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::image::SCHEMA;

    fn disk() -> Value {
        let sha = Digest::of(b"").to_string();
        json!({
            "file": "disk.img", "size": 8 << 20,
            "partitions": [{"number": 7, "name": "s", "guid": "g", "start": 2 << 20, "size": 1 << 20}],
            "extents": [
                {"start": 4 << 20, "size": 21, "sha256": sha},
                {"start": 0, "size": 1 << 20, "sha256": sha},
            ],
        })
    }

    fn open(manifest: &Value) -> Result<Source, String> {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join(MANIFEST), manifest.to_string()).expect("write");
        for name in ["disk.img", "disk-2.img"] {
            File::create(dir.path().join(name)).expect("file").set_len(8 << 20).expect("length");
        }
        Source::open(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_zero_and_where_settings_go_is_known() {
        let source = open(&json!({"schema": SCHEMA, "id": "x", "disks": [disk()]})).expect("opens");
        let Leg { size, extents, settings, .. } = &source.legs[0];
        assert_eq!((*size, *settings), (8 << 20, Some(Span { start: 2 << 20, len: 1 << 20 })));
        let spans: Vec<_> =
            extents.iter().map(|extent| (extent.span.start, extent.span.len)).collect();
        assert_eq!(spans, [(0, 1 << 20), (4 << 20, 21)], "in order of place");
    }

    #[test]
    fn a_mirror_has_two_legs() {
        let mut second = disk();
        second["file"] = json!("disk-2.img");
        let source = open(&json!({"schema": SCHEMA, "id": "x", "disks": [disk(), second]}));
        assert_eq!(source.expect("opens").legs.len(), 2);
    }

    #[test]
    fn contradictions_are_refused() {
        let table: [(&str, Value, &str); 11] = [
            ("/extents/1/start", json!(4096), "begin with a partition table"),
            ("/extents/1/size", json!(3 << 20), "begin with a partition table"),
            ("/file", json!("../disk.img"), "no name of a file"),
            ("/file", json!("disk-3.img"), "disk-3.img"),
            ("/size", json!(9 << 20), "has 8388608 bytes, not 9437184"),
            ("/size", json!((8 << 20) + 1), "cannot have"),
            ("/extents/0/start", json!(4096), "cannot be one"),
            ("/extents/0/start", json!(u64::MAX), "cannot be one"),
            ("/extents/0/start", json!((4 << 20) + 1), "cannot be one"),
            ("/extents/0/size", json!(0), "cannot be one"),
            ("/partitions/0/start", json!(4 << 20), "settings partition"),
        ];
        for (pointer, value, expected) in table {
            let mut disk = disk();
            *disk.pointer_mut(pointer).expect("a field") = value;
            let error =
                open(&json!({"schema": SCHEMA, "id": "x", "disks": [disk]})).expect_err(pointer);
            assert!(error.contains(expected), "{error}");
        }
        for (manifest, expected) in [
            (json!({"schema": 2}), "another version"),
            (json!({"schema": SCHEMA, "id": "x", "disks": []}), "no disk"),
            (json!({"id": "x"}), "schema"),
        ] {
            let error = open(&manifest).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
