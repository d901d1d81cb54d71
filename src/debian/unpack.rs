//! A tar archive into a tree. The archive is not trusted: nothing is written anywhere but to the store's
//! pack, and what a root file system cannot hold unambiguously is refused, not skipped.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use tar::EntryType;

use crate::store::{PackWriter, StoreError};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError, TreePath};

/// More entries than any package has (the largest have about 100 000).
const MAX_ENTRIES: usize = 1_000_000;
/// Bytes of the names of folders that no entry has named, together: a small archive can ask for very many.
const MAX_IMPLIED: usize = 64 << 20;

/// What an archive is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package: no devices, and no PAX headers, which dpkg refuses too.
    Package,
    /// A whole root file system: both may be there.
    System,
    /// Files whose owners and times do not matter, and may be left blank (npm): no devices.
    Files,
}

/// An archive, or an entry of one, that is refused.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is damaged.
    #[error("the tar archive is damaged: {0}")]
    Damaged(#[from] io::Error),
    /// A name that cannot be in a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An entry that does not fit with those before it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An entry of a kind or with a property that is not accepted.
    #[error("{name}: {why}")]
    Entry {
        /// The entry.
        name: String,
        /// Why it is refused.
        why: String,
    },
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the entries of a tar archive to `tree`, below its folder `top` (the whole tree: an empty `top`).
/// Gives back their names in the archive's order, as dpkg spells them: `/.`, `/usr`, `/usr/bin`.
///
/// # Errors
/// The archive is damaged, or an entry is refused.
pub fn unpack(
    reader: &mut dyn Read,
    top: &str,
    source: Source,
    tree: &mut Tree,
    pack: &mut PackWriter,
) -> Result<Vec<String>, UnpackError> {
    let mut target = Target {
        top,
        source,
        tree,
        pack,
        implied: HashSet::new(),
        implied_bytes: 0,
        has_root: false,
    };
    if !top.is_empty() {
        target.tree.make_dirs(&top.parse()?, 0)?;
    }
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(Watched { inner: reader, ended: false });
    for entry in archive.entries()? {
        if names.len() == MAX_ENTRIES {
            let why = format!("the archive has over {MAX_ENTRIES} entries");
            return Err(UnpackError::Entry { name: top.to_owned(), why });
        }
        let mut entry = entry?;
        if source == Source::Files && entry.header().entry_type() == EntryType::XGlobalHeader {
            comment(&mut entry)?;
            continue;
        }
        names.push(target.add(&mut entry)?);
    }
    if archive.into_inner().ended {
        return Err(io::Error::other("its end is missing").into());
    }
    Ok(names)
}

/// What `git archive` says of the whole is its commit, as a comment (pax(1)). Anything else would be about the files.
fn comment(entry: &mut tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
    let mut text = String::new();
    let read = entry.take(1 << 12).read_to_string(&mut text);
    let said = |line: &str| line.split_once(' ').is_some_and(|(_, it)| it.starts_with("comment="));
    if read.is_ok() && text.lines().all(said) {
        return Ok(());
    }
    let why = "it says more than a comment of all files".to_owned();
    Err(UnpackError::Entry { name: "a global PAX header".to_owned(), why })
}

/// Notes that the bytes ran out, which `tar` takes for the end of the archive too.
struct Watched<'a> {
    inner: &'a mut dyn Read,
    ended: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

struct Target<'a> {
    top: &'a str,
    source: Source,
    tree: &'a mut Tree,
    pack: &'a mut PackWriter,
    /// Directories that no entry has named yet.
    implied: HashSet<TreePath>,
    /// Bytes of their names, all there ever were.
    implied_bytes: usize,
    /// Whether an entry has named the root.
    has_root: bool,
}

impl Target<'_> {
    fn add(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<String, UnpackError> {
        let name = text(&entry.path_bytes())?;
        let refuse = |why: &str| UnpackError::Entry { name: name.clone(), why: why.to_owned() };
        if self.source == Source::Package && entry.pax_extensions()?.is_some() {
            return Err(refuse("it has a PAX header, which no package may"));
        }
        let meta = meta(&name, entry, self.source)?;
        let kind = entry.header().entry_type();
        if kind != EntryType::Regular && entry.size() > 0 {
            return Err(refuse("it has contents but is no regular file"));
        }
        let Some(inside) = TreePath::from_archive(&name)? else {
            return self.root(kind, name);
        };
        // dpkg makes a directory of any file that is spelled so.
        if kind != EntryType::Directory && name.ends_with('/') {
            return Err(refuse("its name ends in '/', but it is no directory"));
        }
        let path = self.place(&inside)?;
        self.imply_parents(&path)?;
        let node = self.node(&name, entry)?;
        let entry = Entry { meta, node };
        if entry.node == Node::Dir && self.implied.remove(&path) {
            self.tree.replace(path, entry)?;
        } else {
            self.tree.insert(path, entry)?;
        }
        Ok(format!("/{inside}"))
    }

    /// The root directory itself, which a tree does not list.
    fn root(&mut self, kind: EntryType, name: String) -> Result<String, UnpackError> {
        let why = if kind != EntryType::Directory {
            "the root is no directory"
        } else if std::mem::replace(&mut self.has_root, true) {
            "it is there already"
        } else {
            return Ok("/.".to_owned());
        };
        Err(UnpackError::Entry { name, why: why.to_owned() })
    }

    fn place(&self, inside: &TreePath) -> Result<TreePath, PathError> {
        if self.top.is_empty() {
            Ok(inside.clone())
        } else {
            format!("{}/{inside}", self.top).parse()
        }
    }

    fn imply_parents(&mut self, path: &TreePath) -> Result<(), UnpackError> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| self.tree.get(parent).is_none()) {
            missing.push(parent.parse::<TreePath>()?);
            above = parent.rsplit_once('/').map(|(above, _)| above);
        }
        let Some(deepest) = missing.first() else { return Ok(()) };
        self.implied_bytes += missing.iter().map(|parent| parent.as_str().len()).sum::<usize>();
        if self.implied_bytes > MAX_IMPLIED {
            let why = "the archive has too many folders".to_owned();
            return Err(UnpackError::Entry { name: path.to_string(), why });
        }
        self.tree.make_dirs(deepest, 0)?;
        self.implied.extend(missing);
        Ok(())
    }

    fn node(
        &mut self,
        name: &str,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<Node, UnpackError> {
        let refuse = |why: &str| UnpackError::Entry { name: name.to_owned(), why: why.to_owned() };
        let kind = entry.header().entry_type();
        Ok(match kind {
            EntryType::Directory => Node::Dir,
            EntryType::Regular => Node::File(self.pack.append_from(entry)??),
            EntryType::Symlink => Node::Symlink(link(name, entry)?),
            EntryType::Link => {
                let target = TreePath::from_archive(&link(name, entry)?)?;
                let target = target.ok_or_else(|| refuse("it is a hard link to the root"))?;
                let target = self.place(&target)?;
                match self.tree.get(target.as_str()).map(|entry| &entry.node) {
                    Some(Node::File(_)) => Node::HardLink(target),
                    Some(Node::HardLink(first)) => Node::HardLink(first.clone()),
                    _ => return Err(refuse("it is a hard link to no file before it")),
                }
            }
            EntryType::Char | EntryType::Block if self.source == Source::System => {
                let header = entry.header();
                let major = header.device_major()?.unwrap_or(0);
                let minor = header.device_minor()?.unwrap_or(0);
                if kind == EntryType::Char {
                    Node::CharDevice { major, minor }
                } else {
                    Node::BlockDevice { major, minor }
                }
            }
            EntryType::Fifo if self.source == Source::System => Node::Fifo,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(refuse("it is a device, which a package may not ship"));
            }
            other => return Err(refuse(&format!("unknown kind of entry {other:?}"))),
        })
    }
}

fn text(bytes: &[u8]) -> Result<String, UnpackError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| UnpackError::Entry {
        name: String::from_utf8_lossy(bytes).into_owned(),
        why: "its name is not UTF-8".to_owned(),
    })
}

fn link(name: &str, entry: &tar::Entry<'_, impl Read>) -> Result<String, UnpackError> {
    let refuse = |why: &str| UnpackError::Entry { name: name.to_owned(), why: why.to_owned() };
    let target = entry.link_name_bytes().ok_or_else(|| refuse("it is a link to nothing"))?;
    let target = text(&target)?;
    if target.is_empty() || target.len() > 4095 || target.contains(['\0', '\n']) {
        return Err(refuse("its link target is empty, too long, or not one line"));
    }
    Ok(target)
}

fn meta(
    name: &str,
    entry: &mut tar::Entry<'_, impl Read>,
    source: Source,
) -> Result<Meta, UnpackError> {
    let refuse = |why: &str| UnpackError::Entry { name: name.to_owned(), why: why.to_owned() };
    let xattrs = xattrs(name, entry)?;
    let header = entry.header();
    let mode = u16::try_from(header.mode()? & 0o7777).expect("masked to 12 bits");
    if source == Source::Files {
        return Ok(Meta { mode, uid: 0, gid: 0, mtime: 0, xattrs });
    }
    let id = |id: u64| u32::try_from(id).map_err(|_| refuse("its owner is out of range"));
    let mtime = i64::try_from(header.mtime()?).map_err(|_| refuse("its time is out of range"))?;
    Ok(Meta { mode, uid: id(header.uid()?)?, gid: id(header.gid()?)?, mtime, xattrs })
}

fn xattrs(
    name: &str,
    entry: &mut tar::Entry<'_, impl Read>,
) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
    let mut found = BTreeMap::new();
    let Some(extensions) = entry.pax_extensions()? else { return Ok(found) };
    for extension in extensions {
        let extension = extension?;
        let key = extension.key_bytes();
        if let Some(key) = key.strip_prefix(b"SCHILY.xattr.") {
            let value = extension.value_bytes().to_vec();
            if found.insert(text(key)?, value).is_some() {
                let why = "an extended attribute is given twice".to_owned();
                return Err(UnpackError::Entry { name: name.to_owned(), why });
            }
        }
    }
    Ok(found)
}
