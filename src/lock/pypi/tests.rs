use std::io::{Cursor, Write};
use std::sync::Arc;

use super::super::online::tests::Net;
use super::*;
use crate::digest::Digest;
use crate::fetch::Archive;
use crate::fetch::testserver::{Reply, TestServer};

/// A wheel that needs what `requires` says.
fn wheel(project: &str, version: &str, requires: &[&str]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let name = format!("{}-{version}.dist-info/METADATA", project.replace('-', "_"));
    zip.start_file(name, options).expect("start");
    let mut text = format!("Name: {project}\nVersion: {version}\nProvides-Extra: more\n");
    requires.iter().for_each(|line| text += &format!("Requires-Dist: {line}\n"));
    zip.write_all(text.as_bytes()).expect("write");
    zip.finish().expect("finish").into_inner()
}

/// An index of `(project, version, requirements)`; a version may carry `!attribute` for its link.
fn index(releases: &[(&str, &str, &[&str])]) -> TestServer {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (project, version, requires) in releases {
        let (version, attributes) = version.split_once('!').unwrap_or((version, ""));
        let file = format!("/files/{}-{version}-py3-none-any.whl", project.replace('-', "_"));
        let bytes = wheel(project, version, requires);
        let link = format!("<a href='..{file}#sha256={}' {attributes}>x</a>\n", Digest::of(&bytes));
        files.entry(format!("/{project}/")).or_default().extend(link.bytes());
        files.insert(file, bytes);
    }
    let files = Arc::new(files);
    TestServer::start(move |asked| match files.get(&asked.path) {
        Some(bytes) => Reply::ok(bytes.clone()),
        None => Reply::status(404),
    })
}

fn resolve_with(
    server: &TestServer,
    requirements: &[&str],
    prefer: &[(&str, &str)],
) -> Result<Vec<String>, PypiError> {
    let net = Net::new(&[(Archive::Pypi, &server.base)]);
    let requirements = requirements.iter().map(|text| text.to_string()).collect();
    let locked = |(name, version): &(&str, &str)| {
        let (name, version) = ((*name).to_owned(), (*version).to_owned());
        let (env, file, digest) = ("env".to_owned(), "another.whl".to_owned(), Digest::of(b""));
        (name.clone(), Wheel { env, name, version, file, size: 1, digest })
    };
    let prefer = prefer.iter().map(locked).collect();
    let wheels = resolve_python(&net.online(), "env", &requirements, &prefer, true)?;
    assert!(wheels.iter().all(|wheel| net.store.has_blob(&wheel.digest)));
    Ok(wheels.iter().map(|wheel| format!("{} {}", wheel.name, wheel.version)).collect())
}

fn resolve(server: &TestServer, requirements: &[&str]) -> Result<Vec<String>, PypiError> {
    resolve_with(server, requirements, &[])
}

#[test]
fn the_newest_versions_that_fit_together_are_taken() {
    let server = index(&[
        ("app", "1", &["lib>=1,<3", "other; python_version < '3'"]),
        ("lib", "2", &["base>=2"]),
        ("lib", "2.5", &["base>=9"]),
        ("lib", "3", &[]),
        ("base", "2", &[]),
        ("base", "10!data-requires-python='&lt;3.13'", &[]),
        ("base", "9!data-yanked=''", &[]),
        ("base", "3rc1", &[]),
    ]);
    let got = resolve(&server, &["App"]).expect("resolves");
    assert_eq!(got, ["app 1", "base 2", "lib 2"], "2.5 needs what there is not, so it goes back");
    assert_eq!(resolve(&server, &["base>=3rc0"]).expect("asked for"), ["base 3rc1"]);
}

#[test]
fn extras_add_their_requirements_and_unknown_ones_are_refused() {
    let server = index(&[
        ("app", "1", &["lib; extra == 'more'", "base[more]"]),
        ("base", "1", &["deep; extra == 'more'"]),
        ("lib", "1", &[]),
        ("deep", "1", &[]),
    ]);
    assert_eq!(resolve(&server, &["app"]).expect("plain"), ["app 1", "base 1", "deep 1"]);
    let more = resolve(&server, &["app[more]"]).expect("with the extra");
    assert_eq!(more, ["app 1", "base 1", "deep 1", "lib 1"]);
    let error = resolve(&server, &["app[nope]"]).expect_err("unknown").to_string();
    assert!(error.contains("app 1 has no extra 'nope'"), "{error}");
}

#[test]
fn versions_of_the_previous_lock_stay_while_they_fit() {
    let server =
        index(&[("app", "1", &["lib"]), ("lib", "1", &[]), ("lib", "2", &[]), ("lib", "3", &[])]);
    let kept = [("lib", "2")];
    assert_eq!(resolve_with(&server, &["app"], &kept).expect("kept"), ["app 1", "lib 2"]);
    assert_eq!(resolve_with(&server, &["app", "lib>2"], &kept).expect("moved"), ["app 1", "lib 3"]);
    assert_eq!(resolve(&server, &["app"]).expect("updated"), ["app 1", "lib 3"]);
}

#[test]
fn what_cannot_be_resolved_is_explained() {
    let server = index(&[
        ("app", "1", &["lib<2"]),
        ("tool", "1", &["lib>=2"]),
        ("lib", "1", &[]),
        ("lib", "2", &[]),
        ("odd", "1", &["!!"]),
    ]);
    for (requirements, parts) in [
        (&["app", "tool"][..], &["app", "tool", "lib <2", "lib >=2"][..]),
        (&["nowhere"], &["nowhere"]),
        (&["lib>5"], &["lib >5"]),
        (&["odd"], &["'!!'"]),
        (&["lib @ https://example.org/lib.whl"], &["an address instead of a version"]),
        (&["lib>>1"], &["'lib>>1'"]),
    ] {
        let error = resolve(&server, requirements).expect_err("cannot be").to_string();
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}

#[test]
fn a_failing_index_or_a_wheel_of_wrong_bytes_is_not_taken_for_a_conflict() {
    let broken = TestServer::start(|_| Reply::status(500));
    let error = resolve(&broken, &["app"]).expect_err("down").to_string();
    assert!(error.contains("/app/: HTTP status 500"), "{error}");
    let digest = Digest::of(b"right");
    let wrong = TestServer::start(move |asked| match asked.path.ends_with(".whl") {
        true => Reply::ok(wheel("app", "1", &[])),
        false => Reply::ok(format!("<a href='app-1-py3-none-any.whl#sha256={digest}'>x</a>")),
    });
    let error = resolve(&wrong, &["app"]).expect_err("wrong").to_string();
    assert!(error.contains("wrong bytes"), "{error}");
}
