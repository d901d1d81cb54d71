//! A project, an image of it that was built as ever, and an archive: to build it once more in other circumstances.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::complete;
use crate::project::{self, text};

/// reprotest's fourteen in its order, and one more: what the files lie on. `docs/evidence.md` has how.
pub const VARIATIONS: [&str; 15] = [
    "environment",
    "build_path",
    "kernel",
    "aslr",
    "num_cpus",
    "time",
    "user_group",
    "fileordering",
    "domain_host",
    "home",
    "locales",
    "exec_path",
    "timezone",
    "umask",
    "file_system",
];
/// What programs listen to, not only ours.
const ENVIRONMENT: [(&str, &str); 15] = [
    ("REPROTEST_CAPTURE_ENVIRONMENT", "i_capture_the_environment"),
    ("COLUMNS", "40"),
    ("DEB_BUILD_OPTIONS", "parallel=7"),
    ("GLIBC_TUNABLES", "glibc.malloc.perturb=85"),
    ("LOGNAME", "somebody"),
    ("MAKEFLAGS", "-j7"),
    ("NODE_PATH", "/nonexistent"),
    ("OPENSSL_CONF", "/nonexistent"),
    ("PERL_HASH_SEED", "4711"),
    ("PYTHONHASHSEED", "4711"),
    ("PYTHONOPTIMIZE", "2"),
    ("SOURCE_DATE_EPOCH", "1"),
    ("USER", "somebody"),
    ("XZ_OPT", "-0"),
    ("ZSTD_CLEVEL", "1"),
];
/// It has other weekdays, another decimal point and another capital of "i".
const LOCALE: &str = "tr_TR";

/// What `inside.py` found, by the variation's name.
pub type Facts = BTreeMap<String, Value>;

/// An image, and what it takes to build it once more.
pub struct Bench {
    root: tempfile::TempDir,
    project: PathBuf,
    program: PathBuf,
    image: PathBuf,
    /// Whether not all of it goes through disorderfs.
    large: bool,
    /// Whether there is memory for all that a build makes. On a disk each build waits for what others write there.
    on_tmpfs: bool,
    /// Without any variation.
    usual: Facts,
}

impl Bench {
    /// The small project, with a script that dpkg runs in a cell; built here, without any variation.
    pub fn of_small_project() -> Self {
        let mut bench = Self::new(3 << 30);
        let path = |name: &str| bench.root.path().join(name);
        complete::make(&bench.project);
        complete::add_script(&bench.project);
        archive(&bench.project, &path("archive"));
        fs::copy(project::chatimg(), &bench.program).expect("copy");
        let (here, images) = (bench.place(&[]), path("images"));
        fs::create_dir(&here).expect("folder");
        let mut copy = Command::new("cp");
        works(&copy.arg("-a").args([&bench.project, &here]).output().expect("cp"));
        let mut build = Command::new("sh");
        build.args(["-c", "umask 022; exec \"$@\"", "sh"]).arg(&bench.program);
        build.arg("build").arg("--appliance").arg(here.join("project/appliance.toml"));
        build.current_dir(&here).env_clear().envs(bench.variables(&[]));
        let said = works(&build.output().expect("runs"));
        assert!(said.contains("running scripts of 1 package: peek"), "{said}");
        fs::rename(here.join("project/images"), &images).expect("moves");
        fs::remove_dir_all(here).expect("removes");
        bench.image = images.join("current").canonicalize().expect("an image");
        bench.with_usual()
    }

    /// This project, as its archive has it, and its newest image.
    pub fn of_this_project() -> Self {
        let mut bench = Self { large: true, ..Self::new(10 << 30) };
        let archived = bench.root.path().join("archive");
        archive(&own(""), &archived);
        // As projects/*.txt says.
        let found = |kind: &str, end: &str| {
            let mut names = fs::read_dir(archived.join(kind)).expect("lists").flatten();
            names
                .find_map(|it| it.path().to_str().filter(|it| it.ends_with(end)).map(str::to_owned))
                .expect(kind)
        };
        fs::create_dir(&bench.project).expect("folder");
        let unpack = "umask 022; tar -xf \"$1\" -C \"$3\" --strip-components=1 && gzip -dc \"$2\" > \"$4\" && chmod 755 \"$4\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", unpack, "sh", &found("projects", ".tar"), &found("programs", ".gz")])
            .args([&bench.project, &bench.program]);
        works(&command.output().expect("runs"));
        let image = own("images/current").canonicalize();
        bench.image = image.expect("run `cargo run --release -- build` first");
        let words = fs::read_to_string(found("projects", ".txt")).expect("words");
        assert!(words.contains(bench.id()), "{words}");
        bench.with_usual()
    }

    /// Without project, program and image; `memory`: what a build takes on tmpfs, in bytes.
    fn new(memory: u64) -> Self {
        wants(&["unshare", "setpriv", "setarch", "taskset", "disorderfs", "faketime", "localedef"]);
        let root = folder();
        let path = |name: &str| root.path().join(name);
        for name in ["home", "locales", "own"] {
            fs::create_dir(path(name)).expect("folder");
            fs::set_permissions(path(name), PermissionsExt::from_mode(0o755)).expect("mode");
        }
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022; exec \"$@\"", "sh", "localedef", "--no-archive"]);
        command.args(["-i", LOCALE, "-f", "UTF-8"]);
        command.arg(path("locales").join(format!("{LOCALE}.UTF-8")));
        works(&command.output().expect("localedef"));
        let (project, program) = (path("project"), path("chatimg"));
        let (image, usual) = Default::default();
        let on_tmpfs = available() >= memory;
        Self { root, project, program, image, large: false, on_tmpfs, usual }
    }

    fn with_usual(mut self) -> Self {
        let (usual, output) = self.run(&[], &["/bin/true".into()]);
        works(&output);
        self.usual = usual;
        self
    }

    /// The image's.
    pub fn id(&self) -> &str {
        self.image.file_name().and_then(|name| name.to_str()).expect("an id")
    }

    /// Why this machine cannot vary something; `None`: it can.
    pub fn cannot_vary(&self, variation: &str) -> Option<&'static str> {
        match variation {
            "num_cpus" if self.usual["num_cpus"] == 1 => Some("there is one processor only"),
            "fileordering" if !Path::new("/dev/fuse").exists() => Some("there is no /dev/fuse"),
            "file_system" if !self.on_tmpfs => Some("there is not enough memory for a tmpfs"),
            "file_system" if kind_of(self.root.path()) == "tmpfs" => {
                Some("there is nothing but tmpfs; name a folder on a disk as TMPDIR")
            }
            _ => None,
        }
    }

    /// Builds the image again with these variations, and no others; the error says what went wrong.
    pub fn same_with(&self, variations: &[&str]) -> Result<(), String> {
        let place = self.place(variations);
        let command = [
            self.program.clone().into_os_string(),
            "verify".into(),
            "--appliance".into(),
            place.join("project/appliance.toml").into(),
            place.join("image").into(),
        ];
        let (facts, output) = self.run(variations, &command);
        let said = text(&output.stdout) + &text(&output.stderr);
        let names: BTreeSet<_> = self.usual.keys().chain(facts.keys()).collect();
        let other: BTreeSet<&str> = names
            .into_iter()
            .filter(|name| facts.get(*name) != self.usual.get(*name))
            .map(String::as_str)
            .collect();
        if other != variations.iter().copied().collect() {
            return Err(format!(
                "other than usual was {other:?}: {facts:?}\nusually: {:?}",
                self.usual
            ));
        }
        if facts["network"] != serde_json::json!(["lo"]) {
            return Err(format!("there is a network: {facts:?}"));
        }
        let id = self.id();
        let end =
            format!("image {id}: built again from its lock, it is the same to the last bit\n");
        let whole = said.contains(&format!("image {id}: every file is whole"));
        match output.status.success() && whole && text(&output.stdout).ends_with(&end) {
            true => Ok(()),
            false => Err(said),
        }
    }

    /// Where the build finds itself.
    fn place(&self, variations: &[&str]) -> PathBuf {
        let other = variations.contains(&"build_path");
        self.root.path().join(if other { "a folder that is called otherwise" } else { "here" })
    }

    /// What is found inside, and what the command says after that.
    fn run(&self, variations: &[&str], command: &[OsString]) -> (Facts, Output) {
        let own = tempfile::tempdir_in(self.root.path().join("own")).expect("temporary folder");
        fs::set_permissions(own.path(), PermissionsExt::from_mode(0o755)).expect("mode");
        let place = self.place(variations);
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--uts"]);
        if !nix::unistd::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let mut words = variations.to_vec();
        if self.on_tmpfs && !variations.contains(&"file_system") {
            words.push("tmpfs");
        }
        if self.large {
            words.push("large");
        }
        unshare.arg("sh").arg(self::own("tests/variations/elsewhere.sh")).arg(words.join(" "));
        unshare.args([own.path(), &place, &self.project, &self.image]).arg(faketime());
        unshare.args(["/usr/bin/python3", "-IS", "-c", include_str!("inside.py")]).arg(own.path());
        unshare.args(command).env_clear().envs(self.variables(variations));
        let mut output = unshare.output().expect("unshare");
        let rest = output.stdout.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let after = output.stdout.split_off(rest);
        let facts = serde_json::from_slice(&std::mem::replace(&mut output.stdout, after));
        let facts = facts.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        (facts, output)
    }

    fn variables(&self, variations: &[&str]) -> BTreeMap<&'static str, OsString> {
        let path = |name: &str| self.root.path().join(name).into_os_string();
        let mut all = BTreeMap::from([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("HOME", path("home")),
            ("TZ", "GMT+12".into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("LANGUAGE", "en_US:en".into()),
            // Without certificates nobody could be asked, anyway.
            ("SSL_CERT_FILE", "/nonexistent".into()),
            ("SSL_CERT_DIR", "/nonexistent".into()),
            ("CHATIMG_ARCHIVE", path("archive")),
            ("CHATIMG_STORE", self.place(variations).join("store").into()),
        ]);
        for variation in variations {
            match *variation {
                "environment" => {
                    all.extend(ENVIRONMENT.map(|(name, value)| (name, OsString::from(value))));
                }
                "home" => _ = all.insert("HOME", "/nonexistent/second-build".into()),
                "exec_path" => all.entry("PATH").or_default().push(":/i_capture_the_path"),
                "timezone" => _ = all.insert("TZ", "GMT-14".into()),
                "locales" => all.extend([
                    ("LC_ALL", format!("{LOCALE}.UTF-8").into()),
                    ("LANGUAGE", format!("{LOCALE}:fr").into()),
                    ("LOCPATH", path("locales")),
                ]),
                _ => {}
            }
        }
        all
    }
}

/// A folder that others can look into; on a disk, if there is one.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    let dir = match &*kind_of(dir.path()) {
        "tmpfs" => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary folder"),
        _ => dir,
    };
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    dir
}

/// A folder's file system.
fn kind_of(dir: &Path) -> String {
    let mut command = Command::new("stat");
    command.args(["--file-system", "--format=%T"]).arg(dir);
    works(&command.output().expect("stat")).trim().to_owned()
}

/// Bytes of memory that are free, or can be.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("MemAvailable") << 10
}

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn works(output: &Output) -> String {
    let words = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{words}");
    words
}

/// `chatimg archive` of a project, readable by all.
fn archive(project: &Path, dir: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$@\"", "sh", project::chatimg(), "archive"]).arg(dir);
    command.current_dir(project).env("CHATIMG_STORE", project::store_dir());
    works(&command.output().expect("runs"));
}

/// Fails where a program is missing that `.ci/run` installs.
fn wants(programs: &[&str]) {
    let path = std::env::var_os("PATH").expect("PATH");
    for name in programs {
        let found = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        assert!(found, "{name} is not installed; `.ci/run` lists what the tests want");
    }
}

/// libfaketime for programs with threads, as faketime(1) has it.
fn faketime() -> String {
    let code = "import glob; print(glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')[0])";
    let output = Command::new("/usr/bin/python3").args(["-c", code]).output().expect("python3");
    works(&output).trim().to_owned()
}
