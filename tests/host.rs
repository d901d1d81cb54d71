//! Every rule of `host.toml` by example, see `tests/host/README.md`; and that no secret is told.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chatimg::host::{MAGIC, Settings};

/// What no output may hold: samples have these for secrets.
const CANARIES: [&str; 2] = ["CANARY", "4711"];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host")
}

fn private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with the sample as `host.toml`, and the files that samples name.
fn folder(text: &str, mode: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    private(&dir.path().join("host.toml"), text, mode);
    private(&dir.path().join("word"), "CANARY-CANARY-CANARY-CANARY\n", 0o600);
    private(&dir.path().join("lines"), "CANARY\nCANARY\n", 0o600);
    dir
}

/// The JSON and the warnings, or the message without the folder's name.
fn outcome(text: &str) -> Result<String, String> {
    let dir = folder(text, 0o600);
    let plain = |text: String| {
        let text = text.replace(&format!("{}/", dir.path().display()), "");
        format!("{}\n", text.trim_end())
    };
    let settings =
        Settings::load(&dir.path().join("host.toml")).map_err(|error| plain(error.to_string()))?;
    let encoded = String::from_utf8(settings.encode()).unwrap();
    let json = encoded.splitn(3, '\n').last().unwrap();
    let warnings: String =
        settings.warnings().iter().map(|warning| format!("\n{warning}\n")).collect();
    Ok(plain(format!("{json}\n{warnings}")))
}

fn check(folder: &str, valid: bool, at_least: usize) {
    let update = std::env::var_os("UPDATE").is_some();
    let files = fs::read_dir(samples().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> = files.collect();
    let (mut wrong, mut count) = (String::new(), 0);
    for path in &files {
        if path.extension().is_some_and(|end| end == "txt") {
            assert!(files.contains(&path.with_extension("toml")), "{}: no sample", path.display());
            continue;
        }
        count += 1;
        let outcome = outcome(&fs::read_to_string(path).unwrap());
        let name = path.display();
        assert_eq!(outcome.is_ok(), valid, "{name}: {outcome:?}");
        let (Ok(actual) | Err(actual)) = outcome;
        if !valid {
            for canary in CANARIES {
                assert!(!actual.contains(canary), "{name}: {actual}");
            }
        }
        let expectation = path.with_extension("txt");
        if update {
            fs::write(&expectation, &actual).unwrap();
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if actual != expected {
            let _ = writeln!(wrong, "{name}\nexpected:\n{expected}\nactual:\n{actual}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= at_least, "only {count} samples in {folder}");
}

#[test]
fn invalid_samples_are_refused_with_these_words() {
    check("invalid", false, 80);
}

#[test]
fn valid_samples_give_these_settings() {
    check("valid", true, 10);
}

#[test]
fn the_encoded_form_has_its_digest_and_length() {
    let dir = folder("hostname = 'chat1'\n[secrets]\nsmtp-password = 'CANARY'", 0o600);
    let settings = Settings::load(&dir.path().join("host.toml")).unwrap();
    assert!(!format!("{settings:?}").contains("CANARY"));
    let encoded = settings.encode();
    let rest = encoded.strip_prefix(MAGIC.as_bytes()).unwrap();
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
    let json = &rest[end + 1..];
    let expected = format!("{} {}", chatimg::digest::Digest::of(json), json.len());
    assert_eq!(rest[..end], *expected.as_bytes());
    assert_eq!(json, br#"{"hostname":"chat1","secrets":{"smtp-password":"CANARY"}}"#);
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let inline = "[secrets]\nsmtp-password = 'CANARY'";
    let load = |dir: &tempfile::TempDir| {
        Settings::load(&dir.path().join("host.toml")).map_err(|error| error.to_string())
    };
    let message = load(&folder(inline, 0o640)).unwrap_err();
    assert!(
        message.contains("host.toml:2:17: others can read this secret (mode 0640)"),
        "{message}"
    );
    assert!(message.contains("chmod 600 ") && !message.contains("CANARY"), "{message}");
    let in_file = folder("[secrets]\nsmtp-password = { file = 'word' }", 0o644);
    assert!(load(&in_file).is_ok());
    private(&in_file.path().join("word"), "CANARY", 0o604);
    let message = load(&in_file).unwrap_err();
    assert!(message.contains("word (mode 0604)") && !message.contains("CANARY"), "{message}");
    let open = folder(inline, 0o644);
    assert!(Settings::load_open(&open.path().join("host.toml")).is_ok());
    assert!(load(&folder("hostname = 'chat1'", 0o644)).is_ok());
}

#[test]
fn too_much_is_refused() {
    let keys = "'k@example.org',".repeat(70_000);
    let text = format!("mail={{host='a',from='b@c'}}\n[alerts]\nmail-to = [{keys}]");
    let dir =
        folder(&text[..1 << 20].rsplit_once(',').map(|(t, _)| format!("{t}]")).unwrap(), 0o600);
    let message = Settings::load(&dir.path().join("host.toml")).unwrap_err().to_string();
    assert!(message.contains("larger than 1 MiB"), "{message}");
}

/// Each slip of one key, anywhere in the file: the message may be any, but tells no secret.
#[test]
fn no_slip_of_a_key_makes_a_message_tell_a_secret() {
    const TEXT: &str = "hostname = 'chat1' # CANARYCANARY\n\
        [mail]\nhost = 'a.b'\nfrom = 'b@c'\nuser = 'box'\n\
        [secrets]\nsmtp-password = \"CANARYCANARY # CANARYCANARY\"\n\
        cloudflare-token = 'CANARYCANARYCANARYCANARY'\n\
        alerts-webhook = \"https://CANARYCANARY.b/CANARYCANARY\"\n";
    let dir = folder(TEXT, 0o600);
    let path = dir.path().join("host.toml");
    Settings::load(&path).unwrap();
    let mut refused = 0;
    for at in 0..TEXT.len() {
        let (before, after) = (&TEXT[..at], &TEXT[at + 1..]);
        for new in ["", "\n", "\"", "'", "\"\"\"", "#", "=", "[", "]", ".", ",", "{", "x", " "] {
            fs::write(&path, format!("{before}{new}{after}")).unwrap();
            let Err(error) = Settings::load(&path) else { continue };
            let message = error.to_string();
            assert!(!message.contains("CANARY"), "{new:?} at {at}: {message}");
            refused += 1;
        }
        fs::write(&path, before).unwrap();
        if let Err(error) = Settings::load(&path) {
            assert!(!error.to_string().contains("CANARY"), "cut at {at}: {error}");
        }
    }
    assert!(refused > 2000, "{refused}");
}

fn chatimg(args: &[&str], dir: &Path) -> Output {
    // Neither a store nor an appliance is there.
    Command::new(env!("CARGO_BIN_EXE_chatimg"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn the_command_line_tells_no_secret() {
    let right = fs::read_to_string(samples().join("valid/password-unused.toml")).unwrap();
    let dir = folder(&right, 0o600);
    let output = chatimg(&["host", "check"], dir.path());
    let (said, warned) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{warned}");
    assert_eq!(said, "host.toml is right, with secrets: smtp-password\n");
    assert!(
        warned.contains("nothing uses this password") && !warned.contains("CANARY"),
        "{warned}"
    );
    let output = chatimg(&["host", "encode"], dir.path());
    let settings = Settings::load(&dir.path().join("host.toml")).unwrap();
    assert_eq!(output.stdout, settings.encode());
    for sample in fs::read_dir(samples().join("invalid")).unwrap() {
        let path = sample.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            private(&dir.path().join("host.toml"), &fs::read_to_string(&path).unwrap(), 0o600);
            for verb in ["check", "encode"] {
                let output = chatimg(&["host", verb], dir.path());
                let all = [output.stdout, output.stderr].concat();
                let all = String::from_utf8_lossy(&all);
                assert_eq!(output.status.code(), Some(1), "{}", path.display());
                assert!(all.contains("host.toml:"), "{all}");
                assert!(CANARIES.iter().all(|canary| !all.contains(canary)), "{all}");
            }
        }
    }
}

#[test]
fn the_example_is_right() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/host.example.toml");
    let settings = Settings::load_open(&example).unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.warnings().is_empty(), "{:?}", settings.warnings());
    assert!(!settings.has_update_keys(), "who copies it trusts no stranger's images");
}
