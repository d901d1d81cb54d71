//! This very project as its user has it: configuration, lock, and the store that `chatimg build` fills.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod deb;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use chatimg::appliance::{self, Plan};
use chatimg::fetch::{self, Http, Settings, Sources};
use chatimg::lock::{Group, Lock};
use chatimg::pipeline::Build;
use chatimg::store::Store;
use chatimg::tools::Tools;
use chatimg::tree::Tree;

pub struct Project {
    pub dir: PathBuf,
    pub plan: Plan,
    pub lock: Lock,
    pub store: Store,
}

impl Project {
    pub fn open() -> Self {
        Self::at(PathBuf::from(env!("CARGO_MANIFEST_DIR")))
    }

    /// The same of a copy.
    pub fn at(dir: PathBuf) -> Self {
        let plan = appliance::load(&dir.join("appliance.toml")).unwrap_or_else(|e| panic!("{e}"));
        let lock = dir.join("appliance.lock");
        let text = std::fs::read_to_string(&lock).expect("appliance.lock");
        let lock = Lock::parse(&text, "appliance.lock").unwrap_or_else(|e| panic!("{e}"));
        let store = Store::open(&store_dir()).unwrap_or_else(|e| panic!("{e}"));
        Self { dir, plan, lock, store }
    }

    pub fn tools(&self, group: Group) -> (Tools, Tree) {
        let Self { dir, plan, lock, store } = self;
        let (lock_path, images) = (dir.join("appliance.lock"), dir.join("images"));
        let declarations = dir.join("overlays/debian");
        let events = &|_| ();
        let (declarations, images) = (&declarations, &images);
        let (lock_path, strict) = (&lock_path, false);
        let build = Build { plan, lock, lock_path, store, declarations, images, strict, events };
        build
            .tools(group)
            .unwrap_or_else(|e| panic!("{e}\nrun `cargo run --release -- build` first"))
    }

    /// Gives every .deb of the image its usual name in `dir`.
    pub fn lay_out(&self, dir: &Path) {
        lay_out(&self.store, &self.lock, dir);
    }
}

/// What this machine says of its archives.
pub fn settings() -> Settings {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    Settings {
        config: home.join(".config/chatimg/config.toml"),
        env: std::env::vars().collect(),
        root: PathBuf::from("/"),
    }
}

/// Fetches what a lock names and the store lacks.
pub fn fetch(store: &Store, lock: &Lock, groups: &[Group]) {
    let sources = Sources::discover(&settings()).unwrap_or_else(|error| panic!("{error}"));
    let (wanted, cancel) = (fetch::wanted(lock, groups), AtomicBool::new(false));
    fetch::fetch_all(store, &Http::new(), &sources, &wanted, &|_| (), &cancel)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Gives every .deb of a lock's image its usual name in `dir`.
pub fn lay_out(store: &Store, lock: &Lock, dir: &Path) {
    for deb in lock.debs_of(Group::Image) {
        let name = deb.path.rsplit('/').next().expect("a file name");
        let bytes = store.read_blob(&deb.digest).expect("the store");
        let bytes = bytes.expect("the build fetched it");
        std::fs::write(dir.join(name), bytes).expect("the .deb is copied");
    }
}

/// Where `chatimg build` keeps its store.
pub fn store_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CHATIMG_STORE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("chatimg")))
        .or_else(|| Some(set("HOME")?.join(".cache/chatimg")))
        .expect("HOME is set")
}

/// A copy of the project's configuration in a folder of its own.
pub struct Copy {
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl Copy {
    pub fn new() -> Self {
        Self::named("project")
    }

    pub fn named(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("temporary folder");
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).expect("mode");
        let dir = root.path().join(name);
        std::fs::create_dir(&dir).expect("folder");
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["appliance.toml", "appliance.lock", "overlays"] {
            let copied = Command::new("cp").arg("-a").arg(top.join(name)).arg(&dir).status();
            assert!(copied.expect("cp").success());
        }
        Self { root, dir }
    }

    /// A folder that nobody else uses.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The project inside it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// The image that was built last.
    pub fn current(&self) -> PathBuf {
        std::fs::read_link(self.images().join("current")).expect("current")
    }

    /// Changes appliance.toml, which must have `from`.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.dir.join("appliance.toml");
        let text = std::fs::read_to_string(&path).expect("appliance.toml");
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        std::fs::write(&path, changed).expect("write");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(chatimg());
        command.args(args).current_dir(&self.dir).env("CHATIMG_STORE", store_dir());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("chatimg runs")
    }
}

/// The program under test.
pub fn chatimg() -> &'static str {
    env!("CARGO_BIN_EXE_chatimg")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
