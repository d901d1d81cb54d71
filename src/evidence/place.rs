//! Where two versions of a file differ: by byte, in a text by line, and in an initrd by the files in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use ext4_view::Ext4;
use serde::Deserialize;
use serde_json::Value;

use crate::image::{RootImage, RootPlace, slot};

/// Longer files are not compared byte by byte.
const LONGEST: u64 = 256 << 20;
const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;

/// The root slots of two images.
pub(super) struct Slots {
    image: Ext4,
    again: Ext4,
}

impl Slots {
    /// Opens both: an image's folder, and its manifest. `None`: one of them cannot be read; then only what the manifests say is known.
    pub(super) fn open(image: (&Path, &Value), again: (&Path, &Value)) -> Option<Self> {
        let open = |(dir, manifest): (&Path, &Value)| {
            let place = RootPlace::deserialize(&manifest["root"]).ok()?;
            slot::open(RootImage::at(dir, &place).ok()?).ok()
        };
        Some(Self { image: open(image)?, again: open(again)? })
    }

    /// What a regular file holds in both.
    pub(super) fn contents(&self, path: &str) -> Option<[Vec<u8>; 2]> {
        let read = |slot: &Ext4| {
            let size = slot.metadata(path).ok()?.len();
            (size <= LONGEST).then(|| slot.read(path).ok()).flatten()
        };
        Some([read(&self.image)?, read(&self.again)?])
    }
}

/// Where two texts or other contents begin to differ.
pub(super) fn place([image, again]: [&[u8]; 2]) -> String {
    let same = image.iter().zip(again).take_while(|(a, b)| a == b).count();
    let is_text = |bytes: &[u8]| !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    let line = image[..same].iter().filter(|byte| **byte == b'\n').count() + 1;
    match is_text(image) && is_text(again) {
        true => format!("from line {line} on (byte {same})"),
        false => format!("from byte {same} on"),
    }
}

/// What differs between two initrds: names and how. `None`: one of them is none that chatimg makes.
pub(super) fn initrds([image, again]: [&[u8]; 2]) -> Option<Vec<(String, String)>> {
    let (image, again) = (members(image)?, members(again)?);
    let names: BTreeSet<&String> = image.keys().chain(again.keys()).collect();
    let how = |name: &String| match (image.get(name), again.get(name)) {
        (Some(_), None) => Some("only the image has it".to_owned()),
        (None, _) => Some("only the new build has it".to_owned()),
        (Some(a), Some(b)) if a.bytes != b.bytes => {
            Some(format!("its contents differ {}", place([&a.bytes, &b.bytes])))
        }
        (Some(a), Some(b)) if a != b => Some("its mode, owner or time differs".to_owned()),
        _ => None,
    };
    Some(names.into_iter().filter_map(|name| Some((format!("/{name}"), how(name)?))).collect())
}

#[derive(PartialEq)]
struct Member {
    head: Vec<u8>,
    bytes: Vec<u8>,
}

/// The entries of a zstd-compressed "newc" archive, but for the trailer (format: `image/initrd/cpio.rs`).
fn members(initrd: &[u8]) -> Option<BTreeMap<String, Member>> {
    let mut cpio = Vec::new();
    zstd::Decoder::new(initrd).ok()?.take(LONGEST).read_to_end(&mut cpio).ok()?;
    let (mut rest, mut found) = (&cpio[..], BTreeMap::new());
    loop {
        let head = rest.get(..HEADER).filter(|head| head.starts_with(MAGIC))?;
        let number = |field: usize| {
            let digits = std::str::from_utf8(&head[6 + field * 8..14 + field * 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name_len) = (number(6)?, number(11)?);
        let name = rest.get(HEADER..HEADER + name_len.checked_sub(1)?)?;
        let name = String::from_utf8_lossy(name).into_owned();
        if name == "TRAILER!!!" {
            return Some(found);
        }
        let start = (HEADER + name_len).next_multiple_of(4);
        let bytes = rest.get(start..start.checked_add(size)?)?.to_vec();
        found.insert(name, Member { head: head[14..].to_vec(), bytes });
        rest = rest.get((start + size).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_at_a_line_and_other_files_at_a_byte() {
        assert_eq!(place([b"a\nb\nc", b"a\nb\nd"]), "from line 3 on (byte 4)");
        assert_eq!(place([b"a\n", b"a\nb"]), "from line 2 on (byte 2)");
        assert_eq!(place([b"\x7fELF\0a", b"\x7fELF\0b"]), "from byte 5 on");
        assert_eq!(place([b"", b"\xff"]), "from byte 0 on");
    }

    #[test]
    fn what_is_no_initrd_gives_nothing() {
        let packed = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("packs");
        for bytes in
            [&b""[..], b"070701", &[b'0'; 200], &[b"070701".as_slice(), &[b'f'; 104]].concat()]
        {
            assert!(members(&packed(bytes)).is_none());
        }
        assert!(members(b"not packed").is_none());
    }
}
