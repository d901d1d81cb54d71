//! `hwdb.bin`, udev's compiled hardware database, with the builder's folder taken out of it.
//!
//! systemd-hwdb notes the path of the source file of every entry, `--root` included. Without, it would read
//! the host's files; so it works on a folder, and its name is cut off afterwards.
//!
//! ```text
//! header   "KSLPHHRH"  u64 × 9: tool version, file size, header size, node size, child entry size,
//!          value entry size, offset of the root node, length of nodes, length of strings
//! nodes    each: u64 prefix, u8 children, 7 × 0, u64 values; children: u8 byte, 7 × 0, u64 node;
//!          values: u64 key, u64 value, u64 file name, u32 line, u16 priority, u16 0
//! strings  each ended by 0; offsets are from the beginning of the file
//! ```
//!
//! Source: systemd 257, src/libsystemd/sd-hwdb/hwdb-internal.h. All integers little-endian.

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
/// Header, node, child entry, value entry.
const SIZES: [usize; 4] = [80, 24, 16, 32];

/// The database with `folder` cut off the beginning of its strings; `None` if it is none of this format, or
/// does not name that folder.
pub(super) fn without_folder(database: &[u8], folder: &str) -> Option<Vec<u8>> {
    let header = |index: usize| number(database, 8 + index * 8);
    let sizes = [header(2)?, header(3)?, header(4)?, header(5)?];
    let (nodes, strings) = (header(7)?, header(8)?);
    let end = SIZES[0].checked_add(nodes)?;
    let fits = database.starts_with(SIGNATURE)
        && sizes == SIZES
        && end.checked_add(strings)? == database.len();
    if !fits {
        return None;
    }
    let (cuts, kept) = cut(&database[end..], folder.as_bytes());
    if cuts.is_empty() {
        return None; // It names its sources in another way, which would get into the image.
    }
    let moved = |offset: usize| {
        let offset = offset.checked_sub(end)?;
        let before = cuts.partition_point(|cut| *cut < offset);
        // An offset into what is gone would be of a string that shares the end of a path.
        let inside = before > 0 && offset < cuts[before - 1] + folder.len();
        (!inside).then(|| end + offset - before * folder.len())
    };
    let mut out = database[..end].to_vec();
    set(&mut out, 8 + 8, end + kept.len())?;
    set(&mut out, 8 + 8 * 8, kept.len())?;
    let mut at = SIZES[0];
    while at < end {
        let (children, values) = (usize::from(*database.get(at + 8)?), number(database, at + 16)?);
        set(&mut out, at, moved(number(database, at)?)?)?;
        at = at.checked_add(SIZES[1] + children * SIZES[2])?;
        for _ in 0..values {
            for field in [at, at + 8, at + 16] {
                set(&mut out, field, moved(number(database, field)?)?)?;
            }
            at += SIZES[3];
        }
    }
    out.extend(kept);
    (at == end).then_some(out)
}

/// Where strings begin with `folder`, and all strings without it.
fn cut(strings: &[u8], folder: &[u8]) -> (Vec<usize>, Vec<u8>) {
    let (mut cuts, mut kept) = (Vec::new(), Vec::new());
    let mut at = 0;
    for text in strings.split_inclusive(|byte| *byte == 0) {
        match text.strip_prefix(folder) {
            Some(rest) => {
                cuts.push(at);
                kept.extend_from_slice(rest);
            }
            None => kept.extend_from_slice(text),
        }
        at += text.len();
    }
    (cuts, kept)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(bytes)).ok()
}

/// `None` if that is not inside the nodes.
fn set(out: &mut [u8], at: usize, value: usize) -> Option<()> {
    out.get_mut(at..at.checked_add(8)?)?.copy_from_slice(&(value as u64).to_le_bytes());
    Some(())
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(made) = without_folder(bytes, "/usr/lib/udev") {
        assert!(made.len() <= bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One node with one value whose file is in `folder`.
    fn database(folder: &str) -> Vec<u8> {
        let strings = format!("\0key\0value\0{folder}/usr/a.hwdb\0prefix\0");
        let at = |text: &str| (136 + strings.find(text).expect("there")) as u64;
        let file = at(&format!("{folder}/usr"));
        let mut out = SIGNATURE.to_vec();
        let total = (136 + strings.len()) as u64;
        for field in [257, total, 80, 24, 16, 32, 80, 56, strings.len() as u64] {
            out.extend(u64::to_le_bytes(field));
        }
        for field in [at("prefix"), 0, 1, at("key"), at("value"), file, 7] {
            out.extend(u64::to_le_bytes(field));
        }
        out.extend(strings.as_bytes());
        out
    }

    #[test]
    fn the_folder_leaves_no_trace() {
        for folder in ["/tmp/x", "/home/somebody/.cache/chatimg/tmp/.tmpABC"] {
            assert_eq!(without_folder(&database(folder), folder), Some(database("")), "{folder}");
        }
        assert_eq!(without_folder(&database("/x//tmp"), "/x/tmp"), None);
    }

    #[test]
    fn damaged_databases_are_refused() {
        let whole = database("/tmp/x");
        for len in 0..whole.len() {
            assert_eq!(without_folder(&whole[..len], "/tmp/x"), None, "{len}");
        }
        let mut many = whole.clone();
        many[96..104].fill(0xff);
        assert_eq!(without_folder(&many, "/tmp/x"), None);
    }
}
