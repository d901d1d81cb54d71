//! One function for each reader of foreign bytes.

use std::cell::RefCell;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::debian::control::Control;
use crate::debian::keyring::Keyring;
use crate::debian::release::{Expected, Release};
use crate::debian::scripts::{Stage, evaluate, split};
use crate::debian::version::Version;
use crate::debian::{deb, packages, relation, unpack};
use crate::digest::Digest;
use crate::image::envblock::EnvBlock;
use crate::lock::Lock;
use crate::minisign::{PublicKey, SecretKey, Signature};
use crate::scan;
use crate::store::{PackWriter, Store, StoreError};
use crate::tree::{Tree, TreePath};

/// A reader of foreign bytes.
pub type Target = fn(&[u8]);

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident = $reader:expr;)*) => {
        $($(#[$doc])* pub fn $name(bytes: &[u8]) {
            let reader: Target = $reader;
            reader(bytes);
        })*

        /// All of them, by name.
        pub const ALL: &[(&str, Target)] = &[$((stringify!($name), $name as Target)),*];
    };
}

targets! {
    /// Addresses and networks of options.
    addresses = crate::appliance::address::fuzz;
    /// `appliance.toml`.
    appliance = |bytes| crate::appliance::load::fuzz(bytes, Path::new("tests/samples/project"));
    /// apt's sources, as lines and as stanzas.
    apt_sources = crate::fetch::sources::apt::fuzz;
    /// OpenPGP certificates, without their armour.
    certificate = |bytes| {
        let base64 = BASE64_STANDARD.encode(bytes);
        let armoured = format!(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{base64}\n-----END PGP PUBLIC KEY BLOCK-----\n"
        );
        _ = Keyring::from_armored(&[&armoured]);
    };
    /// A clear-signed InRelease, against Debian's keys.
    clear_signed = |bytes| {
        static KEYS: OnceLock<Keyring> = OnceLock::new();
        let keys = KEYS.get_or_init(|| Keyring::debian().expect("Debian's keys"));
        if let Ok(verified) = keys.verify(bytes, NOW) {
            assert!(!verified.text.contains('\r') && !verified.signer.is_empty());
        }
    };
    /// The console of a machine.
    console = crate::vm::console::fuzz;
    /// A package's control file.
    control = |bytes| with_text(bytes, |text| {
        let Ok(control) = Control::parse(text) else { return };
        let again: String = control.fields().map(|(name, value)| format!("{name}: {value}\n")).collect();
        assert_eq!(Control::parse(&again).as_ref(), Ok(&control));
    });
    /// A whole .deb.
    deb = |bytes| packing(|pack| _ = deb::import(bytes, pack));
    /// The door's requests.
    door = crate::vm::door::fuzz;
    /// DSSE envelopes.
    dsse = crate::evidence::dsse::fuzz;
    /// GRUB's environment block.
    environment_block = |bytes| {
        if let Ok(block) = EnvBlock::parse(bytes) {
            _ = block.encode();
        }
    };
    /// The root image's file system, as `diff` reads it.
    ext4 = crate::image::slot::fuzz;
    /// Address of a proxy, and what is spared; addresses of places.
    proxies = crate::fetch::http::proxy::fuzz;
    /// The names and numbers in passwd and group.
    accounts = crate::compose::accounts::fuzz;
    /// A disk's image in `manifest.json`, as `flash` reads it.
    flash_manifest = crate::deliver::flash::source::fuzz;
    /// A box's history of updates.
    history = crate::deliver::update::switch::fuzz;
    /// `host.toml`.
    host = crate::host::load::fuzz;
    /// systemd's hardware database.
    hwdb = crate::compose::finish::hwdb::fuzz;
    /// Licences in copyright files, METADATA and package.json.
    licences = crate::sbom::licences::fuzz;
    /// A library's name in its ELF header, and the order of ld.so.cache.
    libraries = crate::compose::finish::ld_cache::fuzz;
    /// `appliance.lock`.
    lock = |bytes| with_text(bytes, |text| {
        let Ok(lock) = Lock::parse(text, "appliance.lock") else { return };
        let again = Lock::parse(&lock.to_toml(), "appliance.lock");
        assert_eq!(again.as_ref(), Ok(&lock));
    });
    /// minisign's keys and signatures.
    minisign = |bytes| with_text(bytes, |text| {
        _ = SecretKey::parse(text);
        if let Ok(key) = PublicKey::parse_file(text).or_else(|_| PublicKey::parse(text)) {
            assert!(PublicKey::parse_file(&key.to_file()) == Ok(key));
        }
        if let (Ok(signature), Ok(key)) = (Signature::parse(text), PublicKey::parse(KEY)) {
            assert!(signature.verify(b"something else", &key).is_err());
        }
    });
    /// Debian's kernel modules: what needs what.
    modules = |bytes| with_text(bytes, |text| {
        let index = crate::image::initrd::modules::Index::parse(text, text, text, text);
        _ = index.order(&["a", "ext4"]);
    });
    /// `/proc/self/mountinfo`.
    mounts = crate::deliver::device::mounts::fuzz;
    /// What npm's registry says of a package.
    npm_document = crate::lock::npm::document::fuzz;
    /// npm's ranges of versions.
    npm_range = crate::lock::npm::range::fuzz;
    /// An npm tarball, as `lock` reads it.
    npm_tarball = crate::lock::npm::document::fuzz_tarball;
    /// npm's configuration.
    npmrc = crate::fetch::sources::npm::fuzz;
    /// An overlay.
    overlay = |bytes| PROJECT.with_borrow_mut(|project| {
        let project = project.get_or_insert_with(Project::new);
        _ = std::fs::write(project.dir.join("overlays/sample/overlay.toml"), bytes);
        if let Err(error) = crate::appliance::load(&project.dir.join("appliance.toml")) {
            _ = error.to_string();
        }
    });
    /// The Packages index.
    packages = |bytes| with_text(bytes, |text| {
        let Ok(all) = packages::parse(text) else { return };
        for package in all {
            assert!(package.path.starts_with("pool/") && !package.path.contains("/../"));
            for field in [package.depends, package.conflicts, package.provides] {
                _ = relation::parse_field(field);
            }
        }
    });
    /// PAM's profiles.
    pam = crate::compose::finish::pam::fuzz;
    /// pip's configuration.
    pip_configuration = crate::fetch::sources::pip::fuzz;
    /// The defaults inside pip's and npm's own files.
    pip_defaults = crate::fetch::sources::defaults::fuzz;
    /// A Python index's project page, as HTML and as JSON.
    project_page = crate::fetch::simple::fuzz;
    /// RECORD of a wheel.
    record = crate::compose::wheels::archive::fuzz;
    /// Relations between packages.
    relation = |bytes| with_text(bytes, |text| _ = relation::parse_field(text));
    /// A suite's Release file.
    release = |bytes| with_text(bytes, |text| {
        let Ok(release) = Release::parse(text) else { return };
        _ = release.check(Expected { codename: "trixie", now: NOW, not_before: Some(0) });
        _ = release.file("main/binary-amd64/Packages.xz");
    });
    /// What the store keeps of a step.
    result = crate::store::results::fuzz;
    /// A maintainer script.
    script = |bytes| with_text(bytes, |text| {
        split(text).digest(None);
        for stage in [Stage::Preinst, Stage::Postinst] {
            _ = evaluate("package", stage, text, 1);
        }
    });
    /// Secrets in any file.
    secrets = |bytes| {
        let canaries = crate::scan::Canaries::default();
        for finding in scan::contents(bytes, &canaries) {
            assert!(finding.at <= bytes.len());
        }
        for path in ["etc/shadow", "etc/passwd", "etc/gshadow", "srv/.htpasswd"] {
            scan::by_path(path, bytes);
        }
    };
    /// Lines of units and configuration with quotes.
    quoted = crate::compose::actions::fuzz;
    /// Sizes and durations of options.
    quantities = crate::appliance::units::fuzz;
    /// OpenSSH's public keys.
    ssh_key = |bytes| with_text(bytes, |text| _ = crate::appliance::check_key(text));
    /// `SHA256SUMS`.
    sums = |bytes| with_text(bytes, |text| {
        let Some(sums) = crate::image::sums::parse(text) else { return };
        assert_eq!(crate::image::sums::parse(&crate::image::sums::text(&sums)), Some(sums));
    });
    /// A tar archive of files that are nobody's in particular: an npm package, an archive by its address.
    tar = |bytes| packing(|pack| {
        let mut tree = Tree::new();
        let mut reader = bytes.take(1 << 20);
        if unpack::unpack(&mut reader, "", unpack::Source::Files, &mut tree, pack).is_ok() {
            assert_eq!(tree.check_links(), Ok(()));
        }
    });
    /// A test of an image.
    test = crate::vm::spec::fuzz;
    /// A tree's encoding.
    tree = |bytes| with_text(bytes, |text| {
        let Ok(tree) = Tree::decode(text) else { return };
        assert_eq!(Tree::decode(&tree.encode()).as_ref(), Ok(&tree));
    });
    /// Paths in archives.
    tree_path = |bytes| with_text(bytes, |text| {
        let Ok(Some(path)) = TreePath::from_archive(text) else { return };
        assert_eq!(path.as_str().parse::<TreePath>().as_ref(), Ok(&path));
        let part = |part: &str| matches!(part, "" | "." | "..");
        assert!(!path.as_str().split('/').any(part), "{path}");
        _ = text.parse::<Digest>();
    });
    /// What a box says while it is updated.
    update = crate::deliver::update::wire::fuzz;
    /// What a box says of itself before that.
    update_facts = |bytes| with_text(bytes, |text| _ = crate::deliver::preview::Facts::told(text, "id"));
    /// Debian's versions and their order.
    version = |bytes| with_text(bytes, |text| {
        let (a, b) = text.split_once('\n').unwrap_or((text, "1.0-1"));
        let (Ok(a), Ok(b)) = (Version::parse(a), Version::parse(b)) else { return };
        assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        assert_eq!(a.cmp(&a), std::cmp::Ordering::Equal);
    });
    /// METADATA of a wheel, and a requirement.
    wheel_metadata = crate::lock::pypi::metadata::fuzz;
    /// A wheel's file name.
    wheel_name = crate::lock::pypi::wheel::fuzz;
    /// A zip archive.
    zip = crate::zipped::fuzz;
}

/// The time of all checks.
const NOW: i64 = 1_795_040_263;

/// minisign's example.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fn with_text(bytes: &[u8], use_it: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        use_it(text);
    }
}

/// A store that goes when its thread does.
struct Scratch {
    store: Store,
    _dir: tempfile::TempDir,
}

/// The sample project, to be changed.
struct Project {
    dir: PathBuf,
    _own: tempfile::TempDir,
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
    static PROJECT: RefCell<Option<Project>> = const { RefCell::new(None) };
}

/// In memory, where there is such a folder.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

impl Project {
    fn new() -> Self {
        let own = folder();
        let dir = own.path().to_owned();
        copy(Path::new("tests/samples/project"), &dir).expect("the sample project is there");
        Self { dir, _own: own }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        match path.is_dir() {
            true => copy(&path, &to.join(name))?,
            false => _ = std::fs::copy(&path, to.join(name))?,
        }
    }
    Ok(())
}

/// Something that has contents to keep; they go again.
fn packing(work: impl FnOnce(&mut PackWriter)) {
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_with(|| {
            let dir = folder();
            let store = Store::open(dir.path()).expect("a store");
            Scratch { store, _dir: dir }
        });
        let made = scratch.store.tree(Digest::of(b"fuzzing"), |pack| {
            work(pack);
            let what = "what was tried".to_owned();
            Err::<Tree, _>(StoreError::Damaged { what, why: "it is not kept".to_owned() })
        });
        assert!(made.is_err());
    });
}
