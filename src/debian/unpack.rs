//! A tar archive into a tree. The archive is not trusted: nothing is written anywhere but to the store's
//! pack, and what a root file system cannot hold unambiguously is refused, not skipped.

mod said;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::ops::ControlFlow;

use tar::EntryType;

use said::{Said, damaged, plain_numbers};

use crate::store::{PackWriter, StoreError};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError, TreePath};

/// More entries than any package has (the largest have about 100 000).
const MAX_ENTRIES: usize = 250_000;
/// Bytes of all names, link targets and attributes together, and of the folders that no entry has named: a small archive
/// can ask for very many.
const MAX_NAMES: usize = 16 << 20;
/// No file is of a later time, in seconds since 1970 (year 2242): what file systems can keep.
const MAX_TIME: u64 = 1 << 33;

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
    let mut target =
        Target { top, source, tree, pack, implied: HashSet::new(), names: 0, has_root: false };
    if !top.is_empty() {
        target.tree.make_dirs(&top.parse()?, 0)?;
    }
    let mut names = Vec::new();
    each(reader, source, |entry, said| {
        names.push(target.add(entry, said)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(names)
}

/// The contents of the first regular file whose path is `wanted`, where [`unpack`] would put it; `None`: there is none.
///
/// # Errors
/// The archive is damaged or refused before the file, or that has more than `limit` bytes.
pub fn find(
    reader: &mut dyn Read,
    source: Source,
    limit: u64,
    wanted: impl Fn(&TreePath) -> bool,
) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut found = None;
    each(reader, source, |entry, said| {
        let name = name(entry, said)?;
        let is_it = entry.header().entry_type() == EntryType::Regular
            && TreePath::from_archive(&name)?.is_some_and(|path| wanted(&path));
        if !is_it {
            return Ok(ControlFlow::Continue(()));
        }
        if entry.size() > limit {
            return Err(refused(&name, &format!("it has over {limit} bytes")));
        }
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        found = Some(contents);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Hands over each entry, with what those before it say of it, until that breaks off.
fn each(
    reader: &mut dyn Read,
    source: Source,
    mut take: impl FnMut(
        &mut tar::Entry<'_, Watched<'_>>,
        &Said,
    ) -> Result<ControlFlow<()>, UnpackError>,
) -> Result<(), UnpackError> {
    let mut said = Said::default();
    let mut archive = tar::Archive::new(Watched { inner: reader, ended: false });
    for (number, entry) in archive.entries()?.raw(true).enumerate() {
        // Those that are about others count, too.
        if number == MAX_ENTRIES {
            return Err(damaged(format!("it has over {MAX_ENTRIES} entries")));
        }
        let mut entry = entry?;
        if said.hear(&mut entry, source)? {
            continue;
        }
        if source == Source::Files && entry.header().entry_type() == EntryType::XGlobalHeader {
            comment(&mut entry)?;
            continue;
        }
        if take(&mut entry, &std::mem::take(&mut said))?.is_break() {
            return Ok(());
        }
    }
    said.end()?;
    if archive.into_inner().ended {
        return Err(io::Error::other("its end is missing").into());
    }
    Ok(())
}

/// An entry's own name, or the one said before it.
fn name(entry: &tar::Entry<'_, impl Read>, said: &Said) -> Result<String, UnpackError> {
    match &said.name {
        Some(name) => text(name),
        None => text(&entry.header().path_bytes()),
    }
}

/// What `git archive` says of the whole is its commit, as a comment (pax(1)). Anything else would be about the files.
fn comment(entry: &mut tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
    let mut text = String::new();
    let read = entry.take(1 << 12).read_to_string(&mut text);
    let said = |line: &str| line.split_once(' ').is_some_and(|(_, it)| it.starts_with("comment="));
    if read.is_ok() && text.lines().all(said) {
        return Ok(());
    }
    Err(refused("a global PAX header", "it says more than a comment of all files"))
}

fn refused(name: &str, why: &str) -> UnpackError {
    UnpackError::Entry { name: name.to_owned(), why: why.to_owned() }
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
    /// Bytes of all names so far, theirs too.
    names: usize,
    /// Whether an entry has named the root.
    has_root: bool,
}

impl Target<'_> {
    fn add(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        said: &Said,
    ) -> Result<String, UnpackError> {
        let name = name(entry, said)?;
        let refuse = |why: &str| Err(refused(&name, why));
        self.account(name.len(), &name)?;
        if name.starts_with('/') {
            return refuse("its name begins with '/'");
        }
        let meta = self.meta(&name, entry, said)?;
        let kind = entry.header().entry_type();
        if kind != EntryType::Regular && entry.size() > 0 {
            return refuse("it has contents but is no regular file");
        }
        let Some(inside) = TreePath::from_archive(&name)? else {
            return self.root(kind, name);
        };
        // dpkg makes a directory of any file that is spelled so.
        if kind != EntryType::Directory && name.ends_with('/') {
            return refuse("its name ends in '/', but it is no directory");
        }
        let path = self.place(&inside)?;
        self.imply_parents(&path)?;
        let node = self.node(&name, entry, said)?;
        let entry = Entry { meta, node };
        if entry.node == Node::Dir && self.implied.remove(&path) {
            self.tree.replace(path, entry)?;
        } else {
            self.tree.insert(path, entry)?;
        }
        Ok(format!("/{inside}"))
    }

    /// Counts bytes that stay in memory.
    fn account(&mut self, bytes: usize, name: &str) -> Result<(), UnpackError> {
        self.names += bytes;
        match self.names > MAX_NAMES {
            true => Err(refused(name, "the names in the archive are too long together")),
            false => Ok(()),
        }
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
        self.names += missing.iter().map(|parent| parent.as_str().len()).sum::<usize>();
        if self.names > MAX_NAMES {
            return Err(refused(path.as_str(), "the archive has too many folders"));
        }
        self.tree.make_dirs(deepest, 0)?;
        self.implied.extend(missing);
        Ok(())
    }

    fn node(
        &mut self,
        name: &str,
        entry: &mut tar::Entry<'_, impl Read>,
        said: &Said,
    ) -> Result<Node, UnpackError> {
        let refuse = |why: &str| refused(name, why);
        let kind = entry.header().entry_type();
        Ok(match kind {
            EntryType::Directory => Node::Dir,
            EntryType::Regular => Node::File(self.pack.append_from(entry)??),
            EntryType::Symlink => Node::Symlink(self.link(name, entry, said)?),
            EntryType::Link => {
                let target = self.link(name, entry, said)?;
                if target.starts_with('/') {
                    return Err(refuse("its target begins with '/'"));
                }
                let target = TreePath::from_archive(&target)?;
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

    fn link(
        &mut self,
        name: &str,
        entry: &tar::Entry<'_, impl Read>,
        said: &Said,
    ) -> Result<String, UnpackError> {
        let target = match &said.link {
            Some(link) => text(link)?,
            None => {
                let link = entry.header().link_name_bytes();
                text(&link.ok_or_else(|| refused(name, "it is a link to nothing"))?)?
            }
        };
        if target.is_empty() || target.len() > 4095 || target.contains(['\0', '\n']) {
            return Err(refused(name, "its link target is empty, too long, or not one line"));
        }
        self.account(target.len(), name)?;
        Ok(target)
    }

    fn meta(
        &mut self,
        name: &str,
        entry: &tar::Entry<'_, impl Read>,
        said: &Said,
    ) -> Result<Meta, UnpackError> {
        let refuse = |why: &str| refused(name, why);
        let header = entry.header();
        let pax = said.pax.as_ref();
        if pax.and_then(|pax| pax.size).is_some_and(|size| size != entry.size()) {
            return Err(refuse("its PAX header and its own disagree about its size"));
        }
        let xattrs = match pax {
            Some(pax) => self.xattrs(name, &pax.xattrs)?,
            None => BTreeMap::new(),
        };
        let mode = u16::try_from(header.mode()? & 0o7777).expect("masked to 12 bits");
        if self.source == Source::Files {
            plain_numbers(name, header)?;
            if header.entry_type() == EntryType::Regular && mode & 0o6000 != 0 {
                return Err(refuse(
                    "it wants to run as somebody else (set-user-ID or set-group-ID)",
                ));
            }
            return Ok(Meta { mode, uid: 0, gid: 0, mtime: 0, xattrs });
        }
        // The last one stands for nobody: "as it is", for chown(2).
        let id = |id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(refuse("its owner is out of range")),
        };
        let mtime = header.mtime()?;
        if mtime > MAX_TIME {
            return Err(refuse("its time is out of range"));
        }
        let uid = id(pax.and_then(|pax| pax.uid).map_or_else(|| header.uid(), Ok)?)?;
        let gid = id(pax.and_then(|pax| pax.gid).map_or_else(|| header.gid(), Ok)?)?;
        plain_numbers(name, header)?;
        Ok(Meta { mode, uid, gid, mtime: mtime.cast_signed(), xattrs })
    }

    fn xattrs(
        &mut self,
        name: &str,
        said: &BTreeMap<String, Vec<u8>>,
    ) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
        if self.source == Source::Files {
            // Others say nothing to the box; these would give rights.
            let gives = |key: &&String| !key.starts_with("user.") && !key.starts_with("com.apple.");
            return match said.keys().find(gives) {
                Some(key) => Err(refused(name, &format!("it has the extended attribute {key:?}"))),
                None => Ok(BTreeMap::new()),
            };
        }
        for (key, value) in said {
            self.account(key.len() + value.len(), name)?;
        }
        Ok(said.clone())
    }
}

fn text(bytes: &[u8]) -> Result<String, UnpackError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| refused(&String::from_utf8_lossy(bytes), "its name is not UTF-8"))
}
