//! A whole image of a small made-up root: what it holds, that its bytes depend on nothing else, and that
//! a build that fails leaves everything as it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use chatimg::digest::Digest;
use chatimg::image::envblock::EnvBlock;
use chatimg::image::layout::{BLANK_DATA_MARKER, Layout, Part};
use chatimg::image::{self, BuiltImage, GrubParts, INITRD_MODULES, ImageError, ImageSpec};
use chatimg::lock::Lock;
use chatimg::store::{PackWriter, Store, StoreError};
use chatimg::tree::{Entry, Meta, Node, Tree, TreePath};

const SLOT: u64 = 64 << 20;
const EPOCH: i64 = 1_700_000_000;

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    root: Tree,
    tools: Tree,
    grub: GrubParts,
    lock: Lock,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let root = tree(&store, "root", |files| {
            let dir = "usr/lib/modules/6.1";
            let dep = INITRD_MODULES.map(|name| format!("k/{name}.ko:\n")).concat();
            files.insert(format!("{dir}/modules.dep"), dep.into());
            for name in ["softdep", "alias", "builtin"] {
                files.insert(format!("{dir}/modules.{name}"), vec![]);
            }
            for name in INITRD_MODULES {
                files.insert(format!("{dir}/k/{name}.ko"), b"\x7fELF".to_vec());
            }
            files.insert("boot/vmlinuz-6.1".to_owned(), b"kernel".to_vec());
            files.insert("usr/share/large".to_owned(), vec![7; 3 << 20]);
            files.insert("usr/share/zeros".to_owned(), vec![0; 3 << 20]);
        });
        let tools = tree(&store, "tools", |files| {
            files.insert("usr/bin/busybox".to_owned(), b"busybox".to_vec());
        });
        let grub = GrubParts {
            boot_img: vec![0xeb; 512],
            core_img: vec![0xc0; 30_000],
            efi: vec![0xef; 700_000],
        };
        Self { dir, store, root, tools, grub, lock: Lock::default() }
    }

    fn images(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn build(&self, images: &Path) -> Result<BuiltImage, ImageError> {
        let spec = ImageSpec {
            name: "sample",
            epoch: EPOCH,
            slot_size: SLOT,
            root: &self.root,
            tools: &self.tools,
            grub: &self.grub,
            lock: &self.lock,
        };
        image::build(&self.store, &spec, images, &|_| ())
    }
}

fn tree(store: &Store, name: &str, fill: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Tree {
    let mut files = BTreeMap::new();
    fill(&mut files);
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
    store.tree(Digest::of(name.as_bytes()), make).expect("tree")
}

fn bytes_at(path: &Path, start: u64, len: usize) -> Vec<u8> {
    let mut file = File::open(path).expect("opens");
    file.seek(SeekFrom::Start(start)).expect("seeks");
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).expect("reads");
    bytes
}

#[test]
fn the_disk_holds_what_the_layout_says() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let disk = built.disk();
    let layout = Layout::new("sample", SLOT).expect("layout");
    let at = |part, len| bytes_at(&disk, layout.span(part).start, len);

    assert_eq!(fs::metadata(&disk).expect("disk").len(), layout.disk_size());
    assert!(fs::metadata(&disk).expect("disk").blocks() * 512 < 40 << 20, "it is sparse");
    let root = fs::read(built.root()).expect("root");
    assert!(at(Part::RootA, root.len()) == root, "slot A is root.img");
    assert!(at(Part::RootB, 4096).iter().all(|byte| *byte == 0), "slot B is empty");
    assert!(at(Part::Data, 512).starts_with(BLANK_DATA_MARKER));
    assert_eq!(at(Part::BiosBoot, 4), [0xc0; 4]);
    let env = EnvBlock::parse(&at(Part::BootEnv, 1024)).expect("a boot state");
    assert_eq!(env, EnvBlock::initial(&built.id));
}

#[test]
fn the_slot_says_which_image_it_is_and_what_grub_may_load() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let slot =
        ext4_view::Ext4::load(Box::new(fs::read(built.root()).expect("root"))).expect("opens");
    let text = |path: &str| slot.read_to_string(path).expect(path);
    let id = EnvBlock::parse(text("/boot/chatimg-id").as_bytes()).expect("an id");
    assert_eq!(id.get("id"), Some(built.id.as_str()));
    for line in text("/boot/SHA256SUMS").lines() {
        let (digest, name) = line.split_once("  ").expect("two fields");
        let bytes = slot.read(format!("/boot/{name}").as_str()).expect(name);
        assert_eq!(Digest::of(&bytes).to_string(), digest, "{name}");
    }
    assert_eq!(slot.read("/boot/vmlinuz").expect("kernel"), b"kernel");
    assert!(slot.metadata("/state").expect("/state").is_dir());
}

#[test]
fn two_builds_in_different_places_give_the_same_bytes() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let first = one.build(&one.images("here")).expect("builds");
    let second = two.build(&two.images("deep/er")).expect("builds");
    assert_eq!(first.id, second.id);
    for name in ["disk.img", "root.img", "manifest.json"] {
        let digest = |built: &BuiltImage| Digest::of(&fs::read(built.dir.join(name)).expect(name));
        assert_eq!(digest(&first), digest(&second), "{name}");
    }
}

#[test]
fn the_manifest_tells_the_digests_and_every_file() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let text = fs::read_to_string(built.dir.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let root = fs::read(built.root()).expect("root");
    assert_eq!(manifest["images"]["root.img"]["sha256"], Digest::of(&root).to_string());
    assert_eq!(manifest["images"]["root.img"]["size"], root.len());
    let mut disk = fs::read(built.disk()).expect("disk");
    assert_eq!(manifest["images"]["disk.img"]["size"], disk.len());
    let extents = manifest["extents"].as_array().expect("extents");
    for extent in extents {
        let number = |name| extent[name].as_u64().expect(name) as usize;
        let bytes = &mut disk[number("start")..][..number("size")];
        assert_eq!(extent["sha256"], Digest::of(bytes).to_string(), "{extent}");
        bytes.fill(0);
    }
    assert_eq!(extents.len(), 7, "start, four small parts, slot, end");
    assert!(disk.iter().all(|byte| *byte == 0), "all else is zero");
    let files = manifest["files"].as_array().expect("files");
    let large = files.iter().find(|file| file["path"] == "/usr/share/large").expect("large");
    assert_eq!(large["size"], 3 << 20);
    assert_eq!(large["sha256"], Digest::of(&vec![7; 3 << 20]).to_string());
    assert!(files.iter().any(|file| file["path"] == "/boot/initrd.img"));
}

#[test]
fn nothing_is_built_twice_and_current_follows() {
    let mut fixture = Fixture::new();
    let images = fixture.images("images");
    let first = fixture.build(&images).expect("builds");
    assert!(!first.found);
    assert!(fixture.build(&images).expect("finds").found);
    fixture.root.get_mut("usr/share/large").expect("large").meta.mode = 0o600;
    let second = fixture.build(&images).expect("builds");
    assert_ne!(first.id, second.id);
    let current = || fs::read_link(images.join("current")).expect("current");
    assert_eq!(current(), Path::new(&second.id));
    fixture.root.get_mut("usr/share/large").expect("large").meta.mode = 0o644;
    assert!(fixture.build(&images).expect("finds").found);
    assert_eq!(current(), Path::new(&first.id));
}

#[test]
fn a_build_that_fails_leaves_current_and_no_rubbish() {
    let mut fixture = Fixture::new();
    let images = fixture.images("images");
    let good = fixture.build(&images).expect("builds");
    fixture.root.get_mut("usr/share/large").expect("large").meta.mtime += 1;
    fixture.grub.core_img = vec![0; 1 << 20];
    let error = fixture.build(&images).expect_err("GRUB's core is too large").to_string();
    assert!(error.contains("core.img"), "{error}");
    assert_eq!(fs::read_link(images.join("current")).expect("current"), Path::new(&good.id));
    let names: Vec<_> = fs::read_dir(&images)
        .expect("lists")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| *name != good.id && name != "current" && name != ".lock")
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_root_without_exactly_one_kernel_is_refused() {
    let mut fixture = Fixture::new();
    let kernel = fixture.root.get("boot/vmlinuz-6.1").expect("kernel").clone();
    fixture.root.insert("boot/vmlinuz-6.2".parse().expect("path"), kernel).expect("inserts");
    let error = fixture.build(&fixture.images("images")).expect_err("two").to_string();
    assert!(error.contains("/boot/vmlinuz-6.1 and /boot/vmlinuz-6.2"), "{error}");
    fixture.root.remove("boot");
    let error = fixture.build(&fixture.images("images")).expect_err("none").to_string();
    assert!(error.contains("lacks a kernel"), "{error}");
}
