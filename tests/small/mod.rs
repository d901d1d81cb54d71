//! A small made-up root, and the image of it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use chatimg::appliance::Disks;
use chatimg::digest::Digest;
use chatimg::image::{
    self, BuiltImage, GrubParts, INITRD_MDADM, INITRD_MODULES, ImageError, ImageSpec,
};
use chatimg::lock::Lock;
use chatimg::store::{PackWriter, StepError, Store, StoreError};
use chatimg::tree::{Entry, Meta, Node, Tree, TreePath};

pub const SLOT: u64 = 64 << 20;
pub const EPOCH: i64 = 1_700_000_000;

/// Hands out the root image of the image in a folder.
pub fn copy_root(dir: &Path, mut to: impl Write) {
    let root = image::RootImage::open(dir).expect("a root image");
    let mut piece = vec![0; 1 << 20];
    for at in (0..root.size()).step_by(piece.len()) {
        let len = piece.len().min((root.size() - at) as usize);
        root.read_exact_at(&mut piece[..len], at).expect("reads");
        to.write_all(&piece[..len]).expect("writes");
    }
}

/// All of a small one.
pub fn root(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    copy_root(dir, &mut bytes);
    bytes
}

/// What an image is made of.
pub struct Fixture {
    pub dir: PathBuf,
    pub store: Store,
    pub root: Tree,
    pub tools: Tree,
    pub grub: GrubParts,
    pub lock: Lock,
    pub disks: Disks,
    pub ports: BTreeSet<String>,
    pub plan: Digest,
    /// Files to lie beside the image.
    pub beside: Vec<(&'static str, String)>,
    /// Removes the folder in the end.
    pub temporary: Option<tempfile::TempDir>,
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let fixture = Self::at(dir.path(), &[]).unwrap_or_else(|error| panic!("{error}"));
        Self { temporary: Some(dir), ..fixture }
    }

    /// In a folder that stays; `more`: further files of the root.
    pub fn at(dir: &Path, more: &[(&str, &str)]) -> Result<Self, StepError<StoreError>> {
        let store = Store::open(&dir.join("store"))?;
        let root = tree(&store, "root", |files| {
            let dir = "usr/lib/modules/6.1";
            let dep = INITRD_MODULES.map(|name| format!("k/{name}.ko:\n")).concat();
            files.insert(format!("{dir}/modules.dep"), dep.into());
            for name in ["softdep", "alias", "builtin"] {
                files.insert(format!("{dir}/modules.{name}"), vec![]);
            }
            for (_, path) in INITRD_MDADM {
                files.insert(path.to_owned(), b"a part of mdadm".to_vec());
            }
            for name in INITRD_MODULES {
                files.insert(format!("{dir}/k/{name}.ko"), b"\x7fELF".to_vec());
            }
            files.insert("boot/vmlinuz-6.1".to_owned(), b"kernel".to_vec());
            files.insert("usr/share/large".to_owned(), vec![7; 3 << 20]);
            files.insert("usr/share/zeros".to_owned(), vec![0; 3 << 20]);
            files.extend(
                more.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())),
            );
        })?;
        let tools = tree(&store, "tools", |files| {
            files.insert("usr/bin/busybox".to_owned(), b"busybox".to_vec());
        })?;
        let grub = GrubParts {
            boot_img: vec![0xeb; 512],
            core_img: vec![0xc0; 30_000],
            efi: vec![0xef; 700_000],
        };
        let (dir, lock, disks) = (dir.to_owned(), Lock::default(), Disks::Mirror);
        let (plan, (ports, beside, temporary)) = (Digest::of(b""), Default::default());
        Ok(Self { dir, store, root, tools, grub, lock, disks, ports, plan, beside, temporary })
    }

    pub fn images(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn build(&self, images: &Path) -> Result<BuiltImage, ImageError> {
        let spec = ImageSpec {
            name: "sample",
            epoch: EPOCH,
            slot_size: SLOT,
            disks: self.disks,
            root: &self.root,
            tools: &self.tools,
            grub: &self.grub,
            formats: &Default::default(),
            ports: &self.ports,
            plan: self.plan,
            beside: &self.beside,
            lock: &self.lock,
        };
        image::build(&self.store, &spec, images, &|_| ())
    }
}

fn tree(
    store: &Store,
    name: &str,
    fill: impl FnOnce(&mut BTreeMap<String, Vec<u8>>),
) -> Result<Tree, StepError<StoreError>> {
    let mut files = BTreeMap::new();
    fill(&mut files);
    let mut key = chatimg::digest::Hasher::new();
    key.field(name);
    files.iter().for_each(|(path, bytes)| _ = key.field(path).field(bytes));
    let make = |pack: &mut PackWriter| {
        let mut tree = Tree::new();
        for (path, bytes) in &files {
            let path: TreePath = path.parse().expect("path");
            let parent = path.parent().expect("below the top").parse().expect("path");
            tree.make_dirs(&parent, EPOCH).expect("folders");
            let node = Node::File(pack.append(bytes)?);
            tree.insert(path, Entry { meta: Meta::root(0o644, EPOCH), node }).expect("inserts");
        }
        Ok::<_, StoreError>(tree)
    };
    store.tree(key.finish(), make)
}
