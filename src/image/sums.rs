//! `SHA256SUMS` of an image's folder, which sha256sum(1) checks: what a build leaves, and, once the image is signed
//! (`evidence`), its disks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use super::ImageError;
use crate::digest::Digest;

/// Its name.
pub const SUMS: &str = "SHA256SUMS";

/// Digests by file name.
pub type Sums = BTreeMap<String, Digest>;

/// The file's text.
pub fn text(sums: &Sums) -> String {
    sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// Reads exactly what [`text`] writes; `None`: it is something else.
pub fn parse(file: &str) -> Option<Sums> {
    let line = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        Some((name.to_owned(), digest.parse().ok()?))
    };
    let sums: Sums = file.lines().map(line).collect::<Option<_>>()?;
    (text(&sums) == file).then_some(sums)
}

/// Writes it, synced, beside files that are there.
pub(super) fn write(dir: &Path, sums: &Sums) -> Result<(), ImageError> {
    save(&dir.join(SUMS), text(sums).as_bytes())
}

/// Writes a new file, synced.
pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(ImageError::io("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_is_read() {
        let sums: Sums = [("b", "x"), ("a", "y")]
            .map(|(name, text)| (name.to_owned(), Digest::of(text.as_bytes())))
            .into();
        let file = text(&sums);
        assert_eq!(parse(&file), Some(sums));
        assert!(file.starts_with(&Digest::of(b"y").to_string()) && file.ends_with("  b\n"));
        for at in 0..file.len() {
            let mut bytes = file.clone().into_bytes();
            bytes[at] ^= 1;
            let other = String::from_utf8(bytes).expect("ASCII");
            assert_ne!(parse(&other), parse(&file), "{other}");
        }
        assert_eq!(parse(&file[..file.len() - 1]), None);
    }
}
