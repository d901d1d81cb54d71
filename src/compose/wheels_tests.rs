//! What wheels may hold, and what is refused.

use std::io::{Cursor, Write};

use super::archive::{base64_url, parse_row};
use super::*;

/// A wheel of these files and its METADATA, with a right RECORD but for the rows of `lies`.
fn wheel(files: &[(&str, &str)], lies: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let mut record = String::new();
    let metadata = [("x-1.dist-info/METADATA", "Name: x\nVersion: 1\n")];
    let own = files.iter().all(|(name, _)| *name != metadata[0].0);
    for (name, contents) in files.iter().chain(metadata.iter().filter(|_| own)) {
        zip.start_file(*name, options).expect("member");
        zip.write_all(contents.as_bytes()).expect("contents");
        let right = base64_url(Digest::of(contents.as_bytes()).as_bytes());
        let digest = lies.iter().find(|lie| lie.0 == *name).map_or(right.as_str(), |lie| lie.1);
        if digest != "unlisted" {
            record.push_str(&format!("{name},sha256={digest},{}\n", contents.len()));
        }
        if digest == "twice" {
            record.push_str(&format!("{name},sha256={right},{}\n", contents.len()));
        }
    }
    zip.start_file("x-1.dist-info/RECORD", options).expect("member");
    zip.write_all(record.as_bytes()).expect("contents");
    zip.finish().expect("archive").into_inner()
}

/// What `look` sees of a wheel.
fn with<T>(bytes: &[u8], look: impl FnOnce(&Archive<'_>) -> T) -> Result<T, WheelError> {
    let dir = tempfile::tempdir().expect("folder");
    let store = Store::open(dir.path()).expect("store");
    let locked = Wheel {
        env: "env".to_owned(),
        name: "x".to_owned(),
        version: "1".to_owned(),
        file: "x-1-py3-none-any.whl".to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
    };
    let mut seen = None;
    made(&store, Digest::of(b"test"), |pack| {
        seen = Some(look(&Archive::read(&locked, Cursor::new(bytes), pack)?));
        Ok(Tree::new())
    })?;
    Ok(seen.expect("it was looked at"))
}

fn refusal(files: &[(&str, &str)], lies: &[(&str, &str)]) -> String {
    match with(&wheel(files, lies), |_| ()) {
        Ok(()) => panic!("{files:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_good_wheel_is_read_whole() {
    // The comma makes the row ambiguous unless it is quoted, which this writer does not do.
    assert!(with(&wheel(&[("x/__init__.py", ""), ("x,y.txt", "1")], &[]), |_| ()).is_err());
    let bytes = wheel(&[("x/__init__.py", "a = 1\n"), ("x/lib.so", "\x7fELF")], &[]);
    let look = |archive: &Archive<'_>| {
        assert_eq!(archive.dist_info, "x-1.dist-info");
        let source = &archive.files["x/__init__.py"];
        assert!(matches!(source, Contents::Packed(file) if file.digest == Digest::of(b"a = 1\n")));
        let library = &archive.files["x/lib.so"];
        assert!(matches!(library, Contents::Packed(file) if file.digest == Digest::of(b"\x7fELF")));
    };
    with(&bytes, look).expect("good");
}

#[test]
fn paths_that_leave_the_environment_are_refused() {
    for name in ["../x.py", "/etc/passwd", "a/../../b", "a\\b", "./a"] {
        assert!(refusal(&[(name, "")], &[]).contains(name), "{name}");
    }
}

#[test]
fn record_must_list_every_file_with_its_digest() {
    assert!(refusal(&[("x.py", "")], &[("x.py", "AAAA")]).contains("x.py: RECORD has sha256=AAAA"));
    assert!(refusal(&[("x.py", "")], &[("x.py", "unlisted")]).contains("does not list it"));
    assert!(refusal(&[("x.py", "")], &[("x.py", "twice")]).contains("x.py: RECORD lists it twice"));
    assert!(refusal(&[("y-1.dist-info/METADATA", "")], &[]).contains("there are 2"));
}

#[test]
fn a_wheel_is_of_the_project_and_version_that_is_locked() {
    let of = |text| refusal(&[("x-1.dist-info/METADATA", text)], &[]);
    assert!(of("Name: y\nVersion: 1\n").contains("does not name x, but \"y\""));
    assert!(of("Name: x\nVersion: 0.9\n").contains("is not of version 1, but of \"0.9\""));
    assert!(of("Name: x\nVersion: 1\nName: y\n").contains("does not name x, but \"y\""));
    assert!(of("").contains("does not name x"));
}

#[test]
fn record_rows_may_be_quoted() {
    let row = parse_row("\"a, \"\"b\"\".py\",sha256=x,1").expect("a row");
    assert_eq!(row, ("a, \"b\".py".to_owned(), "sha256=x".to_owned()));
}

#[test]
fn base64_is_that_of_rfc_4648_section_5() {
    for (bytes, text) in
        [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (&[251, 255], "-_8")]
    {
        assert_eq!(base64_url(bytes), text);
    }
}

#[test]
fn entry_points_become_programs_and_code_in_them_does_not() {
    let entry = |line: &str| {
        let text = format!("[other]\na = b:c\n[console_scripts]\n{line}\n");
        let files = [("x-1.dist-info/entry_points.txt", text.as_str())];
        with(&wheel(&files, &[]), |archive| entry_points(archive, "opt/x")).expect("good")
    };
    let scripts = entry("run = x.cli:App.main [extra]").expect("good");
    assert_eq!(scripts.len(), 1);
    assert_eq!(scripts[0].0, "run");
    assert!(scripts[0].1.starts_with("#!/opt/x/bin/python3\nimport sys\nfrom x.cli import App\n"));
    assert!(scripts[0].1.contains("sys.exit(App.main())"));
    for bad in ["run", "run = x", "../run = x:y", "run = x:y;import os"] {
        assert!(entry(bad).is_err(), "{bad}");
    }
}
