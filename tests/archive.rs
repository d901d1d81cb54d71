//! `chatimg archive` as a user runs it, on a small project of this project's lock: without a network, killed, on a full disk, over HTTP; and what
//! `chatimg verify` says of an image that comes out otherwise.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::complete;
use crate::project::{self, text};

/// A small project, and a folder for what is made of it.
struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        complete::make(&root.path().join("project"));
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn archive(&self) -> String {
        self.path("archive").to_str().expect("UTF-8").to_owned()
    }

    /// With this project's store, where all inputs are.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(project::chatimg());
        command
            .args(args)
            .current_dir(self.path("project"))
            .env("CHATIMG_STORE", project::store_dir());
        command
    }

    fn works(&self, args: &[&str]) -> String {
        works(self.command(args).output().expect("runs"))
    }

    /// The same with an empty store and in a network without any interface.
    fn alone(&self, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", project::chatimg()]).args(args);
        command.current_dir(self.path("project")).env("CHATIMG_STORE", self.path("store"));
        // Whatever this machine's own mirrors are.
        for name in ["CHATIMG_DEBIAN", "CHATIMG_DEBIAN_SECURITY", "CHATIMG_PYPI", "CHATIMG_NPM"] {
            command.env(name, self.path("gone"));
        }
        command.env("HOME", self.path("home")).env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Lines of the index: digest and name.
    fn index(&self) -> Vec<(String, String)> {
        let index = fs::read_to_string(self.path("archive/index.tsv")).expect("index");
        let columns = |line: &str| {
            let columns: Vec<_> = line.split('\t').collect();
            (columns[0].to_owned(), format!("{} {}", columns[3], columns[4]))
        };
        index.lines().skip(1).map(columns).collect()
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.path("archive/sha256").join(&digest[..2]).join(digest)
    }
}

fn works(output: Output) -> String {
    let words = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{words}");
    words
}

fn fails(mut command: Command) -> String {
    let output = command.output().expect("runs");
    let words = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    words
}

/// sha256sum's opinion.
fn sums_hold(archive: &Path) {
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(archive);
    assert_eq!(works(command.output().expect("sha256sum")), "");
}

#[test]
fn what_an_archive_lacks_is_named_without_a_network_and_mended() {
    let bench = Bench::new();
    let archive = bench.archive();
    let said = bench.works(&["archive", &archive]);
    assert!(said.contains("wrote ") && said.contains("it serves 1 lock: "), "{said}");
    sums_hold(Path::new(&archive));
    let said = bench.works(&["archive", &archive]);
    assert!(said.contains(": nothing to write; "), "{said}");
    let said = works(bench.alone(&["archive", "--check", &archive]).output().expect("runs"));
    assert!(said.contains("all are there and whole"), "{said}");

    let of = |name: &str| {
        let found = bench.index().into_iter().find(|(_, label)| label.starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is in the index"))
    };
    let (damaged, missing) = (of("base-files "), of("mdadm "));
    let mut bytes = fs::read(bench.blob(&damaged.0)).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(bench.blob(&damaged.0), bytes).expect("damages");
    fs::remove_file(bench.blob(&missing.0)).expect("loses");
    fs::create_dir_all(bench.path("home/.config/chatimg")).expect("folder");
    let config = format!("[sources]\narchive = \"{archive}\"\n");
    fs::write(bench.path("home/.config/chatimg/config.toml"), config).expect("config");
    let said = fails(bench.alone(&["build"]));
    for (digest, label) in [&damaged, &missing] {
        assert!(
            said.contains(&format!("fetching {label} (SHA-256 {digest}): no place has it")),
            "{said}"
        );
        assert!(said.contains(&bench.blob(digest).display().to_string()), "{said}");
    }
    for words in
        ["wrong bytes, with SHA-256 ", "archive in ", "chatimg archive --check DIR", "/gone/pool/"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!bench.path("project/images/current").exists());
    let said = fails(bench.alone(&["archive", "--check", &archive]));
    for ((_, label), words) in
        [(&damaged, "damaged, its SHA-256 is "), (&missing, "missing; it is deb ")]
    {
        let line =
            said.lines().find(|line| line.contains(&format!("deb {label}, which small.example-")));
        assert!(line.is_some_and(|line| line.contains(words)), "{label}: {said}");
    }
    assert!(said.contains("2 damaged or missing; `chatimg archive "), "{said}");

    let said = bench.works(&["archive", &archive]);
    assert!(
        said.contains("base-files") && said.contains("was damaged, and was written anew"),
        "{said}"
    );
    assert!(said.contains("wrote 2 inputs, "), "{said}");
    sums_hold(Path::new(&archive));
    works(bench.alone(&["build"]).output().expect("runs"));
}

/// Ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn an_archive_is_filled_from_another_one_over_http_and_shared_by_projects() {
    let bench = Bench::new();
    bench.works(&["archive", "--inputs-only", &bench.archive()]);
    assert!(!bench.path("archive/projects").exists() && !bench.path("archive/programs").exists());
    let code = "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler); \
                print(s.server_port, flush=True); s.serve_forever()";
    let mut server = Command::new("python3");
    server
        .args(["-c", code])
        .current_dir(bench.archive())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Server(server.spawn().expect("python3"));
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().expect("piped")).read_line(&mut port).expect("a port");

    let mut command = bench.command(&["archive", bench.path("second").to_str().expect("UTF-8")]);
    command
        .env("CHATIMG_STORE", bench.path("store"))
        .env("CHATIMG_ARCHIVE", format!("http://127.0.0.1:{}/", port.trim()));
    for name in ["CHATIMG_DEBIAN", "CHATIMG_DEBIAN_SECURITY", "CHATIMG_PYPI", "CHATIMG_NPM"] {
        command.env(name, bench.path("gone"));
    }
    let said = works(command.output().expect("runs"));
    assert!(said.contains("fetched "), "{said}");
    sums_hold(&bench.path("second"));

    // Another project of the same inputs, and this one with one input less.
    let second = bench.path("second");
    let second = second.to_str().expect("UTF-8");
    let appliance = bench.path("project/appliance.toml");
    let other =
        fs::read_to_string(&appliance).expect("reads").replace("small.example", "other.example");
    fs::write(&appliance, other).expect("writes");
    let said = bench.works(&["archive", second]);
    assert!(
        said.contains("wrote project and index, ") && said.contains("it serves 2 locks: "),
        "{said}"
    );
    sums_hold(Path::new(second));
    let said = bench.works(&["archive", "--check", second]);
    assert!(said.contains("of 2 locks, "), "{said}");
    // A lock that answers something else is of no use to anybody.
    let overlay = bench.path("project/overlays/web/overlay.toml");
    let more =
        fs::read_to_string(&overlay).expect("reads").replace("\"mdadm\"]", "\"mdadm\", \"tmux\"]");
    fs::write(&overlay, more).expect("writes");
    let said = fails(bench.command(&["archive", second]));
    assert!(said.contains("Debian package tmux") && said.contains("run `chatimg lock`"), "{said}");
}

#[test]
fn a_killed_run_leaves_an_archive_that_the_next_one_finishes() {
    let bench = Bench::new();
    let archive = bench.archive();
    for millis in [5, 20, 45, 80, 150, 300] {
        let mut command = bench.command(&["archive", &archive]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        std::thread::sleep(Duration::from_millis(millis));
        _ = child.kill();
        child.wait().expect("ends");
        // Whatever has its name is whole.
        let blobs = fs::read_dir(bench.path("archive/sha256")).into_iter().flatten().flatten();
        for blob in blobs.flat_map(|dir| fs::read_dir(dir.path()).expect("lists").flatten()) {
            let digest = chatimg::digest::Digest::of(&fs::read(blob.path()).expect("reads"));
            assert_eq!(digest.to_string(), blob.file_name().to_string_lossy(), "after {millis} ms");
        }
    }
    // A full disk is said, and what is there stays; in a mount namespace of its own.
    let script = "mount -t tmpfs -o size=20m none \"$0\" && \"$@\"; code=$?; ls \"$0\"; exit $code";
    fs::create_dir(bench.path("small")).expect("folder");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(bench.path("small"));
    command.arg(project::chatimg()).arg("archive").arg(bench.path("small"));
    command.current_dir(bench.path("project")).env("CHATIMG_STORE", project::store_dir());
    let said = fails(command);
    assert!(said.contains("No space left on device") && said.contains("free some space"), "{said}");
    assert!(said.contains("sha256") && !said.contains("SHA256SUMS"), "{said}");

    bench.works(&["archive", &archive]);
    sums_hold(Path::new(&archive));
    let left: Vec<_> =
        fs::read_dir(&archive).expect("lists").flatten().map(|it| it.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    assert!(bench.works(&["archive", "--check", &archive]).contains("all are there and whole"));
}

#[test]
fn verify_tells_what_differs_and_where() {
    let bench = Bench::new();
    let store = bench.path("store");
    let with_store = |args: &[&str]| {
        let mut command = bench.command(args);
        command.env("CHATIMG_STORE", &store).env("CHATIMG_ARCHIVE", bench.archive());
        command
    };
    bench.works(&["archive", &bench.archive()]);
    works(with_store(&["build"]).output().expect("runs"));
    let said = works(with_store(&["verify"]).output().expect("runs"));
    assert!(said.contains("it is the same to the last bit"), "{said}");

    // The image is whole and agrees with itself, but it is not what the project makes.
    let change = |path: &str, from: &str, to: &str| {
        let path = bench.path("project/overlays/web").join(path);
        let text = fs::read_to_string(&path).expect("reads");
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).expect("writes");
    };
    change("files/usr/lib/chatimg/a.py", "'z'", "'zz'");
    change("client/app.js", "a: 2", "a: 3");
    fs::write(bench.path("project/overlays/web/files/etc/added"), "more\n").expect("writes");
    let said = fails(with_store(&["verify"]));
    for words in [
        "every file is whole",
        "root file system: /usr/lib/chatimg/a.py: sha256 ",
        ", size 35 became 36, from line 1 on (byte 31)",
        "root file system: /etc/added: only the new build has it",
        "root file system: /srv/client/app-",
        "the new build is in ",
        "were they changed since?",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("/usr/bin/") && !said.contains("chatimg-root-"), "{said}");
    let kept = said.split("the new build is in ").nth(1).and_then(|rest| rest.split(',').next());
    let kept = bench.path("project").join(kept.expect("a path"));
    assert!(kept.join("manifest.json").is_file());
    // It is kept to be looked at, and no image of this project.
    let said = works(with_store(&["gc", "--keep", "0"]).output().expect("runs"));
    assert!(kept.is_dir() && !said.contains(".verify-"), "{said}");
}
