//! The text form of a tree, one entry a line, fields split by one space:
//!
//! ```text
//! PATH KIND MODE UID GID MTIME XATTRS [KIND'S OWN FIELDS] [@PACK OFFSET]
//! usr/bin/ping file 755 0 0 1740000000 security.capability=0100... 9f86d081... 90568 @60303ae2... 512
//! usr/bin/sh symlink 777 0 0 1740000000 - dash
//! ```
//!
//! MODE is octal without leading zero, XATTRS is `-` or `name=hex` joined by commas. In paths, link
//! targets and attribute names every byte of space, `%`, `,`, `=` and control characters is written
//! `%xx`. The canonical form, whose SHA-256 is the tree's id, is the same without `@PACK OFFSET`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Entry, FileRef, Location, Meta, Node, Tree, TreePath};

/// A line that is no entry of a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("tree manifest, line {line}: {why}")]
pub struct DecodeError {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl Tree {
    /// The canonical encoding: no locations, so equal trees give equal text.
    pub fn canonical(&self) -> String {
        self.encode_lines(false)
    }

    /// The encoding that the store keeps: canonical plus the location of each file's bytes.
    pub fn encode(&self) -> String {
        self.encode_lines(true)
    }

    fn encode_lines(&self, locations: bool) -> String {
        let mut out = String::with_capacity(self.len() * 160);
        for (path, entry) in self.iter() {
            encode_entry(&mut out, path, entry, locations);
        }
        out
    }

    /// Reads what [`Tree::encode`] wrote.
    ///
    /// # Errors
    /// The first line that is not an entry, with its number.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let mut tree = Self::new();
        for (index, line) in text.lines().enumerate() {
            let fail = |why: String| DecodeError { line: index + 1, why };
            let (path, entry) = decode_entry(line).map_err(&fail)?;
            tree.insert(path, entry).map_err(|error| fail(error.to_string()))?;
        }
        tree.check_links().map_err(|error| DecodeError { line: 0, why: error.to_string() })?;
        Ok(tree)
    }
}

fn encode_entry(out: &mut String, path: &TreePath, entry: &Entry, locations: bool) {
    let kind = match &entry.node {
        Node::Dir => "dir",
        Node::File(_) => "file",
        Node::Symlink(_) => "symlink",
        Node::HardLink(_) => "hardlink",
        Node::CharDevice { .. } => "chardev",
        Node::BlockDevice { .. } => "blockdev",
        Node::Fifo => "fifo",
    };
    let Meta { mode, uid, gid, mtime, xattrs } = &entry.meta;
    escape(out, path.as_str());
    // Writing to a String cannot fail.
    _ = write!(out, " {kind} {mode:o} {uid} {gid} {mtime} ");
    if xattrs.is_empty() {
        out.push('-');
    }
    for (index, (name, value)) in xattrs.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        escape(out, name);
        out.push('=');
        value.iter().for_each(|byte| _ = write!(out, "{byte:02x}"));
    }
    match &entry.node {
        Node::Dir | Node::Fifo => {}
        Node::File(FileRef { digest, size, at }) => {
            _ = write!(out, " {digest} {size}");
            if locations {
                _ = write!(out, " @{} {}", at.pack, at.offset);
            }
        }
        Node::Symlink(target) => {
            out.push(' ');
            escape(out, target);
        }
        Node::HardLink(target) => {
            out.push(' ');
            escape(out, target.as_str());
        }
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            _ = write!(out, " {major} {minor}");
        }
    }
    out.push('\n');
}

fn escape(out: &mut String, text: &str) {
    let special = |c: char| matches!(c, ' ' | '%' | ',' | '=') || c.is_control();
    if !text.contains(special) {
        return out.push_str(text);
    }
    for c in text.chars() {
        if special(c) {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|byte| _ = write!(out, "%{byte:02x}"));
        } else {
            out.push(c);
        }
    }
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let bad = || format!("bad escape in {text:?}");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next().ok_or_else(bad)?, rest.next().ok_or_else(bad)?];
            bytes.push(hex(&pair).ok_or_else(bad)?[0]);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    (text.len() % 2 == 0).then_some(())?;
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

fn decode_entry(line: &str) -> Result<(TreePath, Entry), String> {
    let mut fields = line.split(' ');
    let mut next = |what: &str| fields.next().ok_or_else(|| format!("{what} is missing"));
    let path = unescape(next("path")?)?.parse::<TreePath>().map_err(|error| error.to_string())?;
    let kind = next("kind")?;
    let mode = u16::from_str_radix(next("mode")?, 8).map_err(|error| format!("mode: {error}"))?;
    if mode > 0o7777 {
        return Err(format!("mode {mode:o} is over 7777"));
    }
    let uid = number(next("uid")?, "uid")?;
    let gid = number(next("gid")?, "gid")?;
    let mtime = number(next("mtime")?, "mtime")?;
    let xattrs = decode_xattrs(next("extended attributes")?)?;
    let node = match kind {
        "dir" => Node::Dir,
        "fifo" => Node::Fifo,
        "symlink" => Node::Symlink(unescape(next("link target")?)?),
        "hardlink" => {
            let target = unescape(next("link target")?)?;
            Node::HardLink(target.parse().map_err(|error: super::PathError| error.to_string())?)
        }
        "chardev" | "blockdev" => {
            let (major, minor) =
                (number(next("major")?, "major")?, number(next("minor")?, "minor")?);
            if kind == "chardev" {
                Node::CharDevice { major, minor }
            } else {
                Node::BlockDevice { major, minor }
            }
        }
        "file" => Node::File(FileRef {
            digest: digest(next("digest")?)?,
            size: number(next("size")?, "size")?,
            at: Location {
                pack: digest(next("pack")?.strip_prefix('@').ok_or("pack lacks its '@'")?)?,
                offset: number(next("offset")?, "offset")?,
            },
        }),
        other => return Err(format!("unknown kind {other:?}")),
    };
    match fields.next() {
        Some(extra) => Err(format!("unexpected field {extra:?}")),
        None => Ok((path, Entry { meta: Meta { mode, uid, gid, mtime, xattrs }, node })),
    }
}

fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{what} {text:?} is not a number in range"))
}

fn digest(text: &str) -> Result<crate::digest::Digest, String> {
    text.parse().map_err(|error: crate::digest::ParseDigestError| error.to_string())
}

fn decode_xattrs(text: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
    if text == "-" {
        return Ok(BTreeMap::new());
    }
    let bad = || format!("bad extended attributes {text:?}");
    text.split(',')
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(bad)?;
            Ok((unescape(name)?, hex(value.as_bytes()).ok_or_else(bad)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let file = FileRef {
            digest: Digest::of(b"x"),
            size: 1,
            at: Location { pack: Digest::of(b"pack"), offset: 7 },
        };
        let mut meta = Meta::root(0o4755, -1);
        meta.xattrs.insert("security.capability".into(), vec![1, 0, 255]);
        let mut add = |path: &str, meta: Meta, node| {
            tree.insert(path.parse().expect(path), Entry { meta, node }).expect(path);
        };
        add("a b", Meta::root(0o755, 0), Node::Dir);
        add("a b/100%,=ü", meta, Node::File(file));
        add("a b/link", Meta::root(0o777, 0), Node::Symlink("../x y".into()));
        add("a b/z", Meta::default(), Node::HardLink("a b/100%,=ü".parse().expect("path")));
        add("null", Meta::root(0o666, 0), Node::CharDevice { major: 1, minor: 3 });
        add("pipe", Meta::root(0o600, 0), Node::Fifo);
        tree
    }

    #[test]
    fn every_kind_of_entry_round_trips() {
        let tree = sample();
        let text = tree.encode();
        let back = Tree::decode(&text).expect("decodes");
        assert_eq!(back, tree);
        assert_eq!(back.encode(), text);
    }

    #[test]
    fn the_id_leaves_locations_out() {
        let tree = sample();
        let mut moved = tree.clone();
        if let Some(Entry { node: Node::File(file), .. }) = moved.get_mut("a b/100%,=ü") {
            file.at.offset = 99;
        }
        assert_ne!(moved.encode(), tree.encode());
        assert_eq!(moved.id(), tree.id());
    }

    #[test]
    fn damaged_lines_are_refused_with_their_number() {
        for bad in [
            "",
            "x",
            "x dir",
            "x dir 99999 0 0 0 -",
            "x dir 17777 0 0 0 -",
            "x dir 755 0 0 0 - extra",
            "../x dir 755 0 0 0 -",
            "x door 755 0 0 0 -",
            "x file 644 0 0 0 - abc 1 @abc 0",
            "x symlink 777 0 0 0 - %zz",
            "x dir 755 0 0 0 user.x=0",
        ] {
            let text = format!("ok dir 755 0 0 0 -\n{bad}\n");
            assert_eq!(Tree::decode(&text).expect_err(bad).line, 2, "{bad}");
        }
        assert!(Tree::decode("x hardlink 0 0 0 0 - y\n").is_err(), "a link to nothing");
    }
}
