//! No circumstance of a build gets into the image: all variations of reprotest at once, and years later, from an archive alone, on this
//! project's image, by `chatimg verify`.

mod project;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use project::text;

/// More than 398 days ahead, and seconds since 1970 have no place in 31 bits any more.
const DATE: &str = "2039-01-20 03:14:08";

/// A folder that others can look into.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    dir
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
    works(
        &command
            .current_dir(project)
            .env("CHATIMG_STORE", project::store_dir())
            .output()
            .expect("runs"),
    );
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Fails where a program is missing that `.ci/run` installs.
fn wants(programs: &[&str]) {
    let path = std::env::var_os("PATH").expect("PATH");
    for name in programs {
        let found = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        assert!(found, "{name} is not installed; `.ci/run` lists what the tests want");
    }
}

#[test]
fn the_image_comes_out_of_an_archive_alone_years_later_elsewhere_to_the_last_bit() {
    wants(&["unshare", "setpriv", "setarch", "taskset", "disorderfs", "faketime", "tar", "gzip"]);
    let root = folder();
    let path = |name: &str| root.path().join(name);
    let archived = path("archive");
    archive(&own(""), &archived);
    // As projects/*.txt says.
    let found = |kind: &str, end: &str| {
        let mut names = fs::read_dir(archived.join(kind)).expect("lists").flatten();
        names
            .find_map(|it| it.path().to_str().filter(|it| it.ends_with(end)).map(str::to_owned))
            .expect(kind)
    };
    let folder = path("a folder that is called otherwise");
    fs::create_dir(&folder).expect("folder");
    let unpack = "tar -xf \"$1\" -C \"$3\" --strip-components=1 && gzip -dc \"$2\" > \"$3/chatimg\" && chmod 755 \"$3/chatimg\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", unpack, "sh", &found("projects", ".tar"), &found("programs", ".gz")])
        .arg(&folder);
    works(&command.output().expect("runs"));
    let words = fs::read_to_string(found("projects", ".txt")).expect("words");
    let image =
        own("images/current").canonicalize().expect("run `cargo run --release -- build` first");
    let id = image.file_name().expect("an id").to_str().expect("UTF-8");
    assert!(words.contains(id), "{words}");

    // Large files need not go through disorderfs, nor need those who may not write to the project.
    for name in ["images", "store"] {
        fs::create_dir(path(name)).expect("folder");
        fs::set_permissions(path(name), PermissionsExt::from_mode(0o777)).expect("mode");
    }
    std::os::unix::fs::symlink(path("images"), folder.join("images")).expect("link");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--uts"]);
    if !is_root() {
        command.arg("--map-root-user");
    }
    command
        .arg("sh")
        .arg(own("tests/variations/elsewhere.sh"))
        .arg(root.path())
        .arg(&folder)
        .arg(&image);
    let output = command
        .args([
            &faketime(),
            DATE,
            "sh",
            "-c",
            "date; uname -nr; id -u; tail -n +3 /proc/net/dev | cut -d: -f1; exec \"$@\"",
            "sh",
        ])
        .arg(path("project/chatimg"))
        .args(["verify", "--appliance"])
        .arg(path("project/appliance.toml"))
        .arg(path("image"))
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/i_capture_the_path"),
            ("HOME", "/nonexistent"),
        ])
        .envs([("TZ", "Pacific/Kiritimati"), ("LC_ALL", "tr_TR.UTF-8"), ("LANGUAGE", "tr_TR:fr")])
        .envs([("REPROTEST_CAPTURE_ENVIRONMENT", "i_capture_the_environment")])
        // Without certificates nobody could be asked, anyway.
        .envs([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")])
        .env("CHATIMG_ARCHIVE", &archived)
        .env("CHATIMG_STORE", path("store"))
        .output()
        .expect("unshare");
    let said = works(&output);
    let line =
        |number: usize| text(&output.stdout).lines().nth(number).unwrap_or_default().to_owned();
    assert!(line(0).contains("2039"), "{said}");
    assert!(line(1).starts_with("elsewhere.example 2.6."), "{said}");
    assert!(!is_root() || line(2) == "65533", "{said}");
    assert_eq!(line(3).trim(), "lo", "{said}");
    assert!(said.contains(&format!("image {id}: every file is whole")), "{said}");
    let end = format!("image {id}: built again from its lock, it is the same to the last bit\n");
    assert!(text(&output.stdout).ends_with(&end), "{said}");
    assert_eq!(
        fs::read_dir(path("images"))
            .expect("lists")
            .flatten()
            .filter(|it| it.path().is_dir())
            .count(),
        0
    );
}

/// libfaketime for programs with threads, as faketime(1) has it.
fn faketime() -> String {
    let code = "import glob; print(glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')[0])";
    let output = Command::new("/usr/bin/python3").args(["-c", code]).output().expect("python3");
    works(&output).trim().to_owned()
}
