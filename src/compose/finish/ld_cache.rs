//! `/etc/ld.so.cache`, as ldconfig(8) writes it. Format: glibc's `sysdeps/generic/dl-cache.h` (struct
//! cache_file_new and its extension) and `elf/cache.c`, `elf/stringtable.c`:
//!
//! ```text
//! "glibc-ld.so.cache1.1"  u32 count  u32 length of strings  u8 flags (2: little endian)  3 × 0
//! u32 offset of the extension  12 × 0
//! count × { i32 flags, u32 offset of soname, u32 offset of path, u32 0, u64 hwcap }
//! strings, each ended by 0; one that is the end of another shares its bytes
//! (to a multiple of 4) u32 0xeaa42174  u32 sections  { u32 tag, u32 flags, u32 offset, u32 size }  data
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Finish, FinishError};
use crate::tree::{Node, Tree};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// FLAG_ELF_LIBC6 and FLAG_X8664_LIB64.
const FLAGS: u32 = 0x0303;

pub(super) fn write(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    let dirs = directories(context, tree)?;
    let input = tree.filter(|path| {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        path.starts_with("etc/ld.so.conf")
            || path == "var/lib/dpkg/status"
            || dirs.iter().any(|(_, real)| real == dir) && is_library(&path[dir.len() + 1..])
    });
    context.step("ld.so.cache", &input, |output| {
        let mut found = Vec::new();
        for (name, real) in &dirs {
            for soname in libraries(context, tree, real)? {
                found.push((format!("/{name}/{soname}"), soname));
            }
        }
        // ldconfig keeps the order of the search path among equals.
        found.sort_by(|a, b| compare(&b.1, &a.1));
        let generator = generator(&context.text(tree, "var/lib/dpkg/status")?);
        output.file("etc/ld.so.cache", 0o644, &encode(&found, &generator))
    })
}

/// The search path: (as written, where it is in the tree).
fn directories(context: Finish<'_>, tree: &Tree) -> Result<Vec<(String, String)>, FinishError> {
    let mut names = Vec::new();
    if tree.get("etc/ld.so.conf").is_some() {
        let confs = tree.below("etc/ld.so.conf.d").map(|(path, _)| path.to_string());
        for conf in confs.filter(|path| path.ends_with(".conf")) {
            let text = context.text(tree, &conf)?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
            names.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
        }
    }
    names.extend(["/lib", "/usr/lib"].map(str::to_owned));
    let mut dirs: Vec<(String, String)> = Vec::new();
    for name in names {
        let name = name.trim_matches('/').to_owned();
        if let Some(real) = tree.resolve(&name)
            && dirs.iter().all(|(_, known)| known != real.as_str())
        {
            dirs.push((name, real.to_string()));
        }
    }
    Ok(dirs)
}

fn is_library(name: &str) -> bool {
    (name.starts_with("lib") || name.starts_with("ld-"))
        && (name.ends_with(".so") || name.contains(".so."))
        && !name.ends_with("-gdb.py")
}

/// The sonames that a directory serves.
fn libraries(context: Finish<'_>, tree: &Tree, dir: &str) -> Result<Vec<String>, FinishError> {
    let mut sonames = Vec::new();
    let here = tree.below(dir).filter(|(path, _)| path.parent() == Some(dir));
    for (path, entry) in here.filter(|(path, _)| is_library(path.name())) {
        let Ok((file, _)) = tree.file(path.as_str()) else { continue };
        let Some(soname) = soname(&context.store.read(file)?) else { continue };
        let soname = soname.unwrap_or_else(|| path.name().to_owned());
        let name = path.name();
        // A link of another name than its library's is only kept if it is the one for ld(1).
        let development = name.ends_with(".so") && soname.starts_with(name);
        let link = matches!(entry.node, Node::Symlink(_)) && (name == soname || development);
        let served = if link { name.to_owned() } else { soname };
        if !sonames.contains(&served) {
            sonames.push(served);
        }
    }
    Ok(sonames)
}

/// A shared library's DT_SONAME (elf(5)); `Some(None)`: it has none; `None`: no 64-bit x86 shared library.
fn soname(elf: &[u8]) -> Option<Option<String>> {
    // Of a damaged file, any of them may be as large as it likes.
    let number = |base: usize, offset: usize, len: usize| -> Option<usize> {
        let at = base.checked_add(offset)?;
        let bytes = elf.get(at..at.checked_add(len)?)?;
        bytes
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| Some(sum.checked_mul(256)? + usize::from(*byte)))
    };
    let is_library =
        elf.get(..6)? == b"\x7fELF\x02\x01" && number(0, 16, 2)? == 3 && number(0, 18, 2)? == 62;
    is_library.then_some(())?;
    let (table, size, count) = (number(0, 32, 8)?, number(0, 54, 2)?, number(0, 56, 2)?);
    let segments =
        || (0..count).filter_map(|index: usize| table.checked_add(index.checked_mul(size)?));
    let address = |wanted: usize| {
        segments().find_map(|at| {
            let (kind, offset) = (number(at, 0, 4)?, number(at, 8, 8)?);
            let (start, len) = (number(at, 16, 8)?, number(at, 32, 8)?);
            (kind == 1 && (start..start.checked_add(len)?).contains(&wanted))
                .then(|| (wanted - start).checked_add(offset))?
        })
    };
    let dynamic = segments().find(|&at| number(at, 0, 4) == Some(2))?;
    let (start, len) = (number(dynamic, 8, 8)?, number(dynamic, 32, 8)?);
    let tag = |wanted: usize| {
        let entries = (0..len / 16).map_while(|index: usize| start.checked_add(index * 16));
        entries.take_while(|&at| number(at, 0, 8).is_some_and(|tag| tag != 0)).find_map(|at| {
            (number(at, 0, 8)? == wanted).then_some(())?;
            number(at, 8, 8)
        })
    };
    let (Some(name), Some(strings)) = (tag(14), tag(5)) else { return Some(None) };
    let at = address(strings)?.checked_add(name)?;
    let text = elf.get(at..)?.split(|byte| *byte == 0).next()?;
    Some(Some(String::from_utf8(text.to_vec()).ok()?))
}

/// `_dl_cache_libcmp`: digits compare as numbers and come after everything else.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let order = take_number(&mut a).cmp(&take_number(&mut b));
                if order.is_ne() {
                    return order;
                }
            }
            (Some(x), _) if x.is_ascii_digit() => return Ordering::Greater,
            (_, Some(y)) if y.is_ascii_digit() => return Ordering::Less,
            (x, y) if x != y => return x.cmp(&y),
            _ => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

fn take_number(text: &mut &[u8]) -> u128 {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    *text = rest;
    digits
        .iter()
        .fold(0, |sum: u128, digit| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0')))
}

/// What ldconfig calls itself: glibc's configured name and version.
fn generator(status: &str) -> String {
    let stanza = status.split("\n\n").find(|stanza| stanza.starts_with("Package: libc-bin\n"));
    let version =
        stanza.and_then(|stanza| stanza.lines().find_map(|line| line.strip_prefix("Version: ")));
    let version = version.unwrap_or("unknown");
    let upstream = version.split('-').next().unwrap_or(version);
    format!("ldconfig (Debian GLIBC {version}) stable release version {upstream}")
}

/// `entries`: (path, soname), sorted.
fn encode(entries: &[(String, String)], generator: &str) -> Vec<u8> {
    let base = HEADER + entries.len() * ENTRY;
    let (offsets, strings) = string_table(entries);
    let mut out = MAGIC.to_vec();
    out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(u32::try_from(strings.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend([2, 0, 0, 0]);
    let extension = (base + strings.len()).next_multiple_of(4);
    out.extend(u32::try_from(extension).unwrap_or(u32::MAX).to_le_bytes());
    out.extend([0; 12]);
    for (path, soname) in entries {
        let offset =
            |text: &String| u32::try_from(base + offsets[text.as_str()]).unwrap_or(u32::MAX);
        out.extend(FLAGS.to_le_bytes());
        out.extend(offset(soname).to_le_bytes());
        out.extend(offset(path).to_le_bytes());
        out.extend([0; 12]);
    }
    out.extend(strings);
    out.resize(extension, 0);
    let data = extension + 8 + 16;
    for number in [EXTENSION_MAGIC as usize, 1, 0, 0, data, generator.len()] {
        out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend(generator.as_bytes());
    out
}

/// Offsets of all strings, and their bytes. Sorted by their ends, last first, so that one that ends another
/// comes right behind it and can share its bytes.
fn string_table(entries: &[(String, String)]) -> (BTreeMap<&str, usize>, Vec<u8>) {
    let mut all: Vec<&str> =
        entries.iter().flat_map(|(path, soname)| [path.as_str(), soname.as_str()]).collect();
    all.sort_by(|a, b| b.bytes().rev().cmp(a.bytes().rev()));
    all.dedup();
    let mut offsets = BTreeMap::new();
    let mut bytes = Vec::new();
    let mut last = ("", 0);
    for text in all {
        let offset = if last.0.ends_with(text) && !last.0.is_empty() {
            last.1 + last.0.len() - text.len()
        } else {
            let offset = bytes.len();
            bytes.extend(text.as_bytes());
            bytes.push(0);
            offset
        };
        offsets.insert(text, offset);
        last = (text, offset);
    }
    (offsets, bytes)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    soname(bytes);
    let text = String::from_utf8_lossy(bytes);
    let (a, b) = text.split_once('\n').unwrap_or((&text, ""));
    assert_eq!(compare(a, b), compare(b, a).reverse());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers_and_after_letters() {
        for (less, more) in [
            ("libz.so.1", "libz.so.2"),
            ("libz.so.9", "libz.so.10"),
            ("liba.so", "libb.so"),
            ("lib-x.so", "lib1.so"),
            ("libz.so", "libz.so.1"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
        assert_eq!(compare("liba.so.1", "liba.so.1"), Ordering::Equal);
    }

    #[test]
    fn a_soname_shares_the_end_of_its_path() {
        let entries = [("/lib/libz.so.1".to_owned(), "libz.so.1".to_owned())];
        let (offsets, bytes) = string_table(&entries);
        assert_eq!(bytes, b"/lib/libz.so.1\0");
        assert_eq!(offsets["libz.so.1"], 5);
    }

    #[test]
    fn damaged_libraries_are_no_libraries() {
        assert_eq!(soname(b""), None);
        assert_eq!(soname(b"\x7fELF\x02\x01"), None);
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0xff);
        (elf[16], elf[17], elf[18], elf[19]) = (3, 0, 62, 0);
        assert_eq!(soname(&elf), None);
    }
}
