//! What wheels may hold, and what is refused.

use std::io::Write;

use super::*;

/// A wheel of these files, with a right RECORD but for the rows of `lies`.
fn wheel(files: &[(&str, &str)], lies: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let mut record = String::new();
    for (name, contents) in files {
        zip.start_file(*name, options).expect("member");
        zip.write_all(contents.as_bytes()).expect("contents");
        let right = base64_url(Digest::of(contents.as_bytes()).as_bytes());
        let digest = lies.iter().find(|lie| lie.0 == *name).map_or(right.as_str(), |lie| lie.1);
        if digest != "unlisted" {
            record.push_str(&format!("{name},sha256={digest},{}\n", contents.len()));
        }
    }
    zip.start_file("x-1.dist-info/RECORD", options).expect("member");
    zip.write_all(record.as_bytes()).expect("contents");
    zip.finish().expect("archive").into_inner()
}

fn refusal(files: &[(&str, &str)], lies: &[(&str, &str)]) -> String {
    match Archive::read("x-1-py3-none-any.whl", wheel(files, lies)) {
        Ok(_) => panic!("{files:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_good_wheel_is_read_whole() {
    let archive = Archive::read("x.whl", wheel(&[("x/__init__.py", ""), ("x,y.txt", "1")], &[]));
    // The comma makes the row ambiguous unless it is quoted, which this writer does not do.
    assert!(archive.is_err());
    let archive =
        Archive::read("x.whl", wheel(&[("x/__init__.py", "a = 1\n")], &[])).expect("good");
    assert_eq!(archive.dist_info, "x-1.dist-info");
    assert_eq!(archive.files["x/__init__.py"], b"a = 1\n");
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
    assert!(refusal(&[("y-1.dist-info/METADATA", "")], &[]).contains("there are 2"));
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
        entry_points(&Archive::read("x.whl", wheel(&files, &[])).expect("good"), "opt/x")
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
