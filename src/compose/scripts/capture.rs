//! What the scripts changed in the folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::work::{OWN, Run, Stamp, io_at};
use super::{Delta, RunError, capabilities};
use crate::digest::{Digest, Hasher};
use crate::tree::{Entry, FileRef, Meta, Node, TreePath};

/// Folders at the top that are no part of what is taken.
const OUTSIDE: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", OWN];
const KIND: u32 = 0o170_000;

/// What faked says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    mode: u32,
    uid: u32,
    gid: u32,
    device: u64,
}

/// By device and inode.
type Owners = HashMap<(u64, u64), Owner>;

/// What is in a file, which may be larger than memory.
pub(super) struct Contents<'a> {
    /// At its beginning.
    pub(super) file: File,
    pub(super) path: &'a Path,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Keeps contents somewhere.
pub(super) type Keep<'a> = dyn FnMut(Contents<'_>) -> Result<FileRef, RunError> + 'a;

impl<'a> Contents<'a> {
    fn of(path: &'a Path) -> io::Result<Self> {
        let (mut file, mut hasher) = (File::open(path)?, Hasher::new());
        let size = io::copy(&mut file, &mut hasher)?;
        file.rewind()?;
        Ok(Self { file, path, digest: hasher.finish(), size })
    }
}

impl Run<'_> {
    /// What is otherwise than in the tree. Contents of changed files go to `keep`.
    pub(super) fn delta(&self, keep: &mut Keep<'_>) -> Result<Delta, RunError> {
        let root = self.root();
        let text = self.text(&format!("{OWN}/owners.new"))?;
        let owners = owners(&text).ok_or_else(|| RunError::Left {
            path: format!("{OWN}/owners.new"),
            why: "it is no list of owners".to_owned(),
        })?;
        let found = found(&root)?;
        let capabilities = capabilities::parse(&self.text(&format!("{OWN}/capabilities"))?)?;
        let (links, groups) = (links(&found), HashMap::new());
        let mut walk = Walk { run: self, root, owners, capabilities, links, groups, keep };
        let mut delta = Delta::new();
        for (path, meta) in &found {
            if self.is_stand_in(path, meta)? {
                continue;
            }
            let path = tree_path(path)?;
            let Some(entry) = walk.entry(&path, meta)? else { continue };
            if self.tree.get(path.as_str()).is_none_or(|old| !same(old, &entry)) {
                delta.insert(path, Some(entry));
            }
        }
        for (path, entry) in self.tree.iter() {
            let written = matches!(
                entry.node,
                Node::Dir | Node::File(_) | Node::Symlink(_) | Node::HardLink(_)
            );
            let outside = OUTSIDE.contains(&path.as_str().split('/').next().unwrap_or_default());
            if written && !outside && !found.contains_key(path.as_str()) {
                delta.insert(path.clone(), None);
            }
        }
        self.complete_links(&mut delta);
        Ok(delta)
    }

    /// A file with several names is in the delta under all of them, if under one.
    fn complete_links(&self, delta: &mut Delta) {
        // The names that the first name of a changed or lost file had before are there by themselves, but for those that
        // still lead to what is no longer under that name.
        let lost: BTreeSet<_> = delta.keys().cloned().collect();
        let old = self.tree.iter().filter_map(|(path, entry)| match &entry.node {
            Node::HardLink(first) if lost.contains(first) && !lost.contains(path) => {
                Some((path.clone(), first.clone()))
            }
            _ => None,
        });
        let heirs: Vec<_> = old.collect();
        let mut files: BTreeMap<TreePath, TreePath> = BTreeMap::new();
        for (path, first) in heirs {
            let entry = match (files.get(&first), self.tree.get(first.as_str())) {
                (Some(heir), Some(entry)) => {
                    Entry { meta: entry.meta.clone(), node: Node::HardLink(heir.clone()) }
                }
                (None, Some(entry)) => entry.clone(),
                (_, None) => continue,
            };
            files.entry(first).or_insert_with(|| path.clone());
            delta.insert(path, Some(entry));
        }
    }
}

/// Everything in the folder, by its path from there.
fn found(root: &Path) -> Result<BTreeMap<String, Metadata>, RunError> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(folder) = todo.pop() {
        let real = root.join(&folder);
        for entry in fs::read_dir(&real).map_err(io_at(&real))? {
            let entry = entry.map_err(io_at(&real))?;
            let path = folder.join(entry.file_name());
            let Some(name) = path.to_str() else {
                let why = "its name is not UTF-8".to_owned();
                return Err(RunError::Left { path: path.to_string_lossy().into_owned(), why });
            };
            if OUTSIDE.contains(&name) {
                continue;
            }
            let meta = entry.metadata().map_err(io_at(&path))?;
            if meta.is_dir() {
                todo.push(path.clone());
            }
            found.insert(name.to_owned(), meta);
        }
    }
    Ok(found)
}

/// The first name of each file that has several.
fn links(found: &BTreeMap<String, Metadata>) -> HashMap<u64, String> {
    let mut first = HashMap::new();
    for (path, meta) in found {
        if meta.is_file() && meta.nlink() > 1 {
            first.entry(meta.ino()).or_insert_with(|| path.clone());
        }
    }
    first
}

fn tree_path(path: &str) -> Result<TreePath, RunError> {
    Ok(path.parse()?)
}

/// Whether nothing changed; a folder's time tells nothing.
fn same(old: &Entry, new: &Entry) -> bool {
    let meta = |entry: &Entry| (entry.meta.mode, entry.meta.uid, entry.meta.gid);
    match (&old.node, &new.node) {
        (Node::HardLink(_), _) => old.node == new.node,
        (Node::Symlink(a), Node::Symlink(b)) => {
            a == b && (old.meta.uid, old.meta.gid) == (new.meta.uid, new.meta.gid)
        }
        (a, b) => a == b && meta(old) == meta(new) && old.meta.xattrs == new.meta.xattrs,
    }
}

struct Walk<'a> {
    run: &'a Run<'a>,
    root: PathBuf,
    owners: Owners,
    capabilities: BTreeMap<String, Vec<u8>>,
    links: HashMap<u64, String>,
    /// Whose group all that is made in a folder gets.
    groups: HashMap<String, u32>,
    keep: &'a mut Keep<'a>,
}

impl Walk<'_> {
    /// What is at a path now; nothing for a socket.
    fn entry(&mut self, path: &TreePath, meta: &Metadata) -> Result<Option<Entry>, RunError> {
        let owner = self.owners.get(&(meta.dev(), meta.ino())).copied();
        // An inode of which faked knows another kind was a file that is gone.
        let real = meta.mode() & KIND;
        let owner = owner.filter(|owner| match owner.mode & KIND {
            // faked's devices are regular files.
            0o010_000 | 0o020_000 | 0o060_000 => real == 0o100_000,
            said => said == real,
        });
        let old = self.run.tree.get(path.as_str());
        // faked knows nothing of it: made as a file is, so in a set-gid folder with that one's group.
        let inherited = path.parent().filter(|_| old.is_none()).and_then(|it| self.groups.get(it));
        let gid = inherited.copied().unwrap_or(0);
        let owner = owner.unwrap_or(Owner { mode: meta.mode(), uid: 0, gid, device: 0 });
        if meta.is_dir() && owner.mode & 0o2000 != 0 {
            self.groups.insert(path.to_string(), owner.gid);
        }
        let kind = meta.file_type();
        let unchanged = self.run.before.get(Path::new(path.as_str())) == Some(&Stamp::of(meta));
        let node = if kind.is_dir() {
            Node::Dir
        } else if kind.is_symlink() {
            self.symlink(path)?
        } else if kind.is_fifo() {
            Node::Fifo
        } else if kind.is_file() {
            match owner.mode & KIND {
                0o020_000 => Node::CharDevice { major: major(owner), minor: minor(owner) },
                0o060_000 => Node::BlockDevice { major: major(owner), minor: minor(owner) },
                0o010_000 => Node::Fifo,
                _ => self.file(path, meta, old, unchanged)?,
            }
        } else if kind.is_socket() {
            return Ok(None);
        } else {
            let why = "it is a real device".to_owned();
            return Err(RunError::Left { path: path.to_string(), why });
        };
        let meta = Meta {
            mode: if kind.is_symlink() { 0o777 } else { (owner.mode & 0o7777) as u16 },
            uid: owner.uid,
            gid: owner.gid,
            mtime: self.time(meta, old, unchanged),
            xattrs: self.xattrs(path, old, &node),
        };
        Ok(Some(Entry { meta, node }))
    }

    fn symlink(&self, path: &TreePath) -> Result<Node, RunError> {
        let real = self.root.join(path.as_str());
        let to = fs::read_link(&real).map_err(io_at(&real))?;
        match to.into_os_string().into_string() {
            Ok(to) => Ok(Node::Symlink(to)),
            Err(_) => {
                let why = "it is a link to what is not UTF-8".to_owned();
                Err(RunError::Left { path: path.to_string(), why })
            }
        }
    }

    fn file(
        &mut self,
        path: &TreePath,
        meta: &Metadata,
        old: Option<&Entry>,
        unchanged: bool,
    ) -> Result<Node, RunError> {
        if let Some(first) = self.links.get(&meta.ino()).filter(|first| **first != path.as_str()) {
            return Ok(Node::HardLink(tree_path(first)?));
        }
        if unchanged {
            match old.map(|old| &old.node) {
                Some(Node::File(file)) => return Ok(Node::File(*file)),
                // What the tree has as another name of a later one.
                Some(Node::HardLink(first)) => {
                    if let Some(Entry { node, .. }) = self.run.tree.get(first.as_str()) {
                        return Ok(node.clone());
                    }
                }
                _ => {}
            }
        }
        let real = self.root.join(path.as_str());
        let contents = Contents::of(&real).map_err(io_at(&real))?;
        if let Some(Entry { node: Node::File(file), .. }) = old
            && (file.size, file.digest) == (contents.size, contents.digest)
        {
            return Ok(Node::File(*file));
        }
        Ok(Node::File((self.keep)(contents)?))
    }

    /// A time that a script gave a file stays; the moment when the file was written becomes the epoch.
    fn time(&self, meta: &Metadata, old: Option<&Entry>, unchanged: bool) -> i64 {
        let Run { epoch, began, .. } = *self.run;
        match old {
            Some(old) if unchanged => old.meta.mtime,
            _ if meta.is_file() && meta.mtime() < epoch.min(began) => meta.mtime(),
            _ => epoch,
        }
    }

    fn xattrs(
        &self,
        path: &TreePath,
        old: Option<&Entry>,
        node: &Node,
    ) -> BTreeMap<String, Vec<u8>> {
        if let Some(value) = self.capabilities.get(path.as_str()) {
            return BTreeMap::from([("security.capability".to_owned(), value.clone())]);
        }
        // Only new contents lose what the file had: attributes are not in the folder.
        match old {
            Some(old) if old.node == *node => old.meta.xattrs.clone(),
            _ => BTreeMap::new(),
        }
    }
}

/// As glibc's makedev(3) has them.
fn major(owner: Owner) -> u32 {
    (((owner.device >> 8) & 0xfff) | ((owner.device >> 32) & !0xfff)) as u32
}

fn minor(owner: Owner) -> u32 {
    ((owner.device & 0xff) | ((owner.device >> 12) & !0xff)) as u32
}

/// What faked saved: `dev=fe00,ino=12,mode=100644,uid=0,gid=0,nlink=1,rdev=0`, the device hexadecimal, the mode octal.
fn owners(text: &str) -> Option<Owners> {
    let mut owners = Owners::new();
    for line in text.lines() {
        let fields = line.split(',').map(|field| field.split_once('='));
        let fields: HashMap<_, _> = fields.collect::<Option<_>>()?;
        let number = |name, radix| u64::from_str_radix(fields.get(name)?, radix).ok();
        let small = |name, radix| u32::try_from(number(name, radix)?).ok();
        let owner = Owner {
            mode: small("mode", 8)?,
            uid: small("uid", 10)?,
            gid: small("gid", 10)?,
            device: number("rdev", 10)?,
        };
        owners.insert((number("dev", 16)?, number("ino", 10)?), owner);
    }
    Some(owners)
}
