use serde_json::{Value, json};

use super::super::online::tests::Net;
use super::*;
use crate::debian::testing::deb::{Raw, Tar, pack};
use crate::digest::Digest;
use crate::fetch::testserver::{Reply, TestServer};

/// A tarball with this package.json.
fn packed(json: &Value) -> Vec<u8> {
    let tar = Tar::new().file("package/package.json", &json.to_string()).end();
    pack(".gz", &tar)
}

/// The tarball of a package whose manifest the registry has.
fn tarball_of(name: &str, version: &str, manifest: &Value) -> Vec<u8> {
    let mut json = json!({"name": name, "version": version});
    for key in ["dependencies", "optionalDependencies"] {
        if !manifest[key].is_null() {
            json[key] = manifest[key].clone();
        }
    }
    packed(&json)
}

/// A registry of `(name, version, manifest)`.
fn registry(packages: Vec<(&'static str, &'static str, Value)>) -> TestServer {
    TestServer::start(move |asked| {
        let path = asked.path.trim_start_matches('/').replace("%2F", "/");
        if let Some(file) = path.strip_prefix("tarballs/") {
            let is_it = |name: &str, version: &str| {
                format!("{}-{version}.tgz", name.replace('/', "+")) == file
            };
            let found = packages.iter().find(|(name, version, _)| is_it(name, version));
            let (name, version, manifest) = found.expect("one of ours");
            return Reply::ok(tarball_of(name, version, manifest));
        }
        let mut document = json!({"dist-tags": {}, "versions": {}});
        for (name, version, manifest) in packages.iter().filter(|(name, ..)| *name == path) {
            let file = format!("{}-{version}.tgz", name.replace('/', "+"));
            let mut manifest = manifest.clone();
            let bytes = tarball_of(name, version, &manifest);
            let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&bytes)));
            let tarball = format!("http://{}/tarballs/{file}", asked.headers["host"]);
            if manifest["dist"].is_null() {
                manifest["dist"] = json!({"tarball": tarball, "integrity": integrity});
            }
            if !manifest["tag"].is_null() {
                document["dist-tags"][manifest["tag"].as_str().expect("a tag")] = json!(version);
            }
            document["versions"][*version] = manifest;
        }
        match document["versions"].as_object().is_some_and(|versions| versions.is_empty()) {
            true => Reply::status(404),
            false => Reply::ok(document.to_string()),
        }
    })
}

fn resolve_with(
    server: &TestServer,
    requests: &[(&str, &str)],
    prefer: &[(&str, &str)],
) -> Result<Vec<String>, NpmError> {
    let net = Net::new(&[(Archive::Npm, &server.base)]);
    let requests =
        requests.iter().map(|(name, range)| (name.to_string(), range.to_string())).collect();
    let locked = |name: &str, version: &str| {
        let bytes = tarball_of(name, version, &json!({}));
        let tarball = NpmTarball {
            name: name.to_owned(),
            version: version.to_owned(),
            integrity: format!("sha512-{}", STANDARD.encode(Sha512::digest(&bytes))),
            size: bytes.len() as u64,
            digest: Digest::of(&bytes),
        };
        [(version.to_owned(), tarball)].into()
    };
    let prefer = prefer.iter().map(|(name, v)| (name.to_string(), locked(name, v))).collect();
    let tarballs = resolve_npm(&net.online(), &requests, &prefer, true)?;
    assert!(tarballs.iter().all(|tarball| net.store.has_blob(&tarball.digest)));
    Ok(tarballs.iter().map(|tarball| format!("{} {}", tarball.name, tarball.version)).collect())
}

#[test]
fn closures_may_hold_several_versions_of_one_package() {
    let server = registry(vec![
        (
            "app",
            "1.0.0",
            json!({"dependencies": {"@s/lib": "^1.1", "old": "*"}, "peerDependencies": {"peer": "*"}}),
        ),
        ("old", "2.0.0", json!({"dependencies": {"@s/lib": "~0.9", "app": "1"}})),
        ("@s/lib", "0.9.5", json!({})),
        ("@s/lib", "1.1.0", json!({"tag": "latest"})),
        ("@s/lib", "1.2.0", json!({})),
        ("@s/lib", "1.3.0-beta", json!({})),
    ]);
    let all = ["@s/lib 0.9.5", "@s/lib 1.1.0", "app 1.0.0", "old 2.0.0"];
    assert_eq!(resolve_with(&server, &[("app", "^1")], &[]).expect("resolves"), all);
    assert_eq!(resolve_with(&server, &[("@s/lib", "^1.2")], &[]).expect("newer"), ["@s/lib 1.2.0"]);
    assert_eq!(
        resolve_with(&server, &[("@s/lib", "latest")], &[]).expect("a tag"),
        ["@s/lib 1.1.0"]
    );
    let kept = resolve_with(&server, &[("@s/lib", "1")], &[("@s/lib", "1.2.0")]).expect("kept");
    assert_eq!(kept, ["@s/lib 1.2.0"]);
}

#[test]
fn deprecated_versions_come_last_and_foreign_optional_ones_not_at_all() {
    let server = registry(vec![
        (
            "app",
            "1.0.0",
            json!({
                "dependencies": {"native": "1", "wasm": "1", "lib": "1"},
                "optionalDependencies": {"native": "1", "wasm": "1"},
            }),
        ),
        ("native", "1.0.0", json!({"os": ["darwin"]})),
        ("wasm", "1.0.0", json!({"os": ["!win32"], "cpu": ["x64"]})),
        ("lib", "1.0.0", json!({})),
        ("lib", "1.1.0", json!({"deprecated": "broken"})),
    ]);
    let got = resolve_with(&server, &[("app", "1")], &[]).expect("resolves");
    assert_eq!(got, ["app 1.0.0", "lib 1.0.0", "wasm 1.0.0"]);
    let error = resolve_with(&server, &[("native", "1")], &[]).expect_err("foreign").to_string();
    assert!(error.contains("not for Linux"), "{error}");
}

#[test]
fn what_cannot_be_locked_is_explained() {
    let dist = json!({"tarball": "http://127.0.0.1:9/x", "integrity": "sha1-x"});
    let file = json!({"tarball": "file:///etc/passwd", "integrity": "sha512-x"});
    let server = registry(vec![
        ("app", "1.0.0", json!({"dependencies": {"lib": "git+https://example.org/lib"}})),
        ("tool", "1.0.0", json!({"dependencies": {"lib": "^7"}})),
        ("lib", "1.0.0", json!({})),
        ("weak", "1.0.0", json!({"dist": dist})),
        ("evil", "1.0.0", json!({"dist": file})),
    ]);
    for (name, part) in [
        ("app", "npm package lib (needed by app): 'git+https://example.org/lib' is not a range"),
        ("tool", "no version fits '^7'; there is 1.0.0"),
        ("nowhere", "404"),
        ("../x", "not a package name"),
        ("weak", "has no SHA-512"),
        ("evil", "no address of a tarball"),
    ] {
        let error = resolve_with(&server, &[(name, "*")], &[]).expect_err(name).to_string();
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn a_tarball_of_wrong_bytes_is_refused() {
    let server = TestServer::start(|asked| match asked.path.as_str() {
        "/app" => {
            let tarball = format!("http://{}/app.tgz", asked.headers["host"]);
            let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest("right")));
            let dist = json!({"tarball": tarball, "integrity": integrity});
            Reply::ok(json!({"versions": {"1.0.0": {"dist": dist}}}).to_string())
        }
        _ => Reply::ok("wrong"),
    });
    let error = resolve_with(&server, &[("app", "*")], &[]).expect_err("wrong").to_string();
    assert!(error.contains("is not what the registry announces"), "{error}");
}

#[test]
fn a_tarball_that_is_not_what_the_registry_says_is_refused() {
    let right = json!({"name": "app", "version": "1.0.0", "dependencies": {"lib": "1"}});
    let with = |key: &str, value: Value| {
        let mut json = right.clone();
        json[key] = value;
        packed(&json)
    };
    let disagree = "disagree about its dependency \"";
    for (bytes, words) in [
        (with("name", json!("other")), "it is \"other\" \"1.0.0\", not app 1.0.0".to_owned()),
        (with("version", json!("0.9.0")), "it is \"app\" \"0.9.0\"".to_owned()),
        (with("dependencies", json!({})), format!("{disagree}lib")),
        (with("dependencies", json!({"lib": "2"})), format!("{disagree}lib")),
        (with("dependencies", json!({"lib": "1", "more": "1"})), format!("{disagree}more")),
        (with("optionalDependencies", json!({"more": "1"})), format!("{disagree}more")),
        (pack(".gz", &Tar::new().file("package/x", "").end()), "it has no package.json".to_owned()),
        (b"no tarball".to_vec(), "gzip".to_owned()),
    ] {
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&bytes)));
        let server = TestServer::start(move |asked| match asked.path.as_str() {
            "/app" => {
                let tarball = format!("http://{}/app.tgz", asked.headers["host"]);
                let dist = json!({"tarball": tarball, "integrity": integrity});
                let version = json!({"dist": dist, "dependencies": {"lib": "1"}});
                Reply::ok(json!({"versions": {"1.0.0": version}}).to_string())
            }
            _ => Reply::ok(bytes.clone()),
        });
        let error = resolve_with(&server, &[("app", "*")], &[]).expect_err(&words).to_string();
        assert!(error.contains(&words), "{error}");
    }
}

/// Both names of an entry may say package.json, or another: that which is unpacked for an image counts.
#[test]
fn the_package_json_that_is_compared_is_the_one_that_is_unpacked() {
    let version = Version::parse("1.0.0").expect("a version");
    let manifest = r#"{"dist":{"tarball":""},"dependencies":{"lib":"1"}}"#.to_owned();
    let manifest =
        document::Raw::from(serde_json::value::RawValue::from_string(manifest).expect("JSON"));
    let manifest = Manifest::parse(&manifest).expect("a manifest");
    let said = r#"{"name":"app","version":"1.0.0","dependencies":{"lib":"1"}}"#;
    let other = r#"{"name":"app","version":"1.0.0"}"#;
    let (name, hidden) = ("package/package.json", "package/x");
    let as_name = |tar: Tar, name: &str| tar.pax(b'x', &[("path", name)]);
    let header = |kind, name: &'static str, body| Raw {
        kind,
        name: name.as_bytes(),
        body,
        ..Raw::default()
    };
    let disagree = "disagree about its dependency \"lib\"";
    for (tar, words) in [
        (as_name(Tar::new(), hidden).file(name, said).file(name, other), disagree),
        (Tar::new().long(b'L', hidden.as_bytes()).file(name, said).file(name, other), disagree),
        (as_name(Tar::new(), name).file(hidden, other).file(name, said), disagree),
        (Tar::new().file("./package//package.json", other).file(name, said), disagree),
        (Tar::new().symlink(name, "x").file(name, other), disagree),
        (as_name(Tar::new(), hidden).file(name, said), "it has no package.json"),
        (
            Tar::new()
                .raw(&header(b'x', "PaxHeader/package.json", b"11 mtime=1\n"))
                .file(hidden, said),
            "no package.json",
        ),
        (Tar::new().file("package/deep/package.json", said), "it has no package.json"),
    ] {
        let bytes = pack(".gz", &tar.end());
        let checked = document::check_tarball(&bytes[..], "app", &version, &manifest);
        let error = checked.expect_err(words);
        assert!(error.contains(words), "{words} is not in: {error}");
    }
    let good = as_name(Tar::new(), name).file(hidden, said).end();
    document::check_tarball(&pack(".gz", &good)[..], "app", &version, &manifest).expect("is well");
}

#[test]
fn a_registry_that_sets_its_latest_back_moves_nothing() {
    let server = registry(vec![
        ("app", "1.0.0", json!({"tag": "latest"})),
        ("app", "1.1.0", json!({"deprecated": "they say"})),
        ("app", "2.0.0", json!({"tag": "next"})),
    ]);
    let net = Net::new(&[(Archive::Npm, &server.base)]);
    let bytes = tarball_of("app", "1.1.0", &json!({}));
    let locked = NpmTarball {
        name: "app".to_owned(),
        version: "1.1.0".to_owned(),
        integrity: format!("sha512-{}", STANDARD.encode(Sha512::digest(&bytes))),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
    };
    let locked = [("app".to_owned(), [(locked.version.clone(), locked)].into())].into();
    let lock = |range: &str, keep| {
        let requests = [("app".to_owned(), range.to_owned())].into();
        let tarballs = resolve_npm(&net.online(), &requests, &locked, keep);
        tarballs.map(|all| all[0].version.clone()).map_err(|error| error.to_string())
    };
    for (range, keep, version) in [
        ("^1", true, "1.1.0"),
        ("^1", false, "1.1.0"),
        ("latest", true, "1.1.0"),
        ("next", false, "2.0.0"),
        ("<1.1", true, "1.0.0"),
    ] {
        assert_eq!(lock(range, keep).as_deref(), Ok(version), "{range}");
    }
    let error = lock("latest", false).expect_err("it goes back");
    assert!(error.contains("app would go back from 1.1.0, which is locked, to 1.0.0"), "{error}");
    assert!(error.contains("`chatimg lock --update app`"), "{error}");
}

#[test]
fn another_registry_is_asked_only_for_what_the_first_has_not() {
    let second = registry(vec![("app", "9.0.0", json!({})), ("lib", "1.0.0", json!({}))]);
    let first = TestServer::start(|asked| match asked.path.as_str() {
        "/app" => Reply::status(403),
        _ => Reply::status(404),
    });
    let net = Net::new(&[(Archive::Npm, &first.base), (Archive::Npm, &second.base)]);
    let lock = |name: &str| {
        let requests = [(name.to_owned(), "*".to_owned())].into();
        resolve_npm(&net.online(), &requests, &BTreeMap::new(), true)
    };
    assert_eq!(lock("lib").expect("the second has it")[0].version, "1.0.0");
    let error = lock("app").expect_err("the first does not answer").to_string();
    assert!(error.contains("HTTP status 403"), "{error}");
    assert!(!second.paths().iter().any(|path| path.contains("app")), "{:?}", second.paths());
}

#[test]
fn the_bytes_of_a_locked_version_never_change() {
    let server = registry(vec![("app", "1.0.0", json!({}))]);
    let net = Net::new(&[(Archive::Npm, &server.base)]);
    let requests = [("app".to_owned(), "1".to_owned())].into();
    let bytes = tarball_of("app", "1.0.0", &json!({}));
    let right = NpmTarball {
        name: "app".to_owned(),
        version: "1.0.0".to_owned(),
        integrity: format!("sha512-{}", STANDARD.encode(Sha512::digest(&bytes))),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
    };
    let lock = |locked: NpmTarball, keep| {
        let locked = [("app".to_owned(), [(locked.version.clone(), locked)].into())].into();
        resolve_npm(&net.online(), &requests, &locked, keep).map_err(|error| error.to_string())
    };
    lock(right.clone(), true).expect("the same");
    let other = Digest::of(b"what was locked");
    for keep in [true, false] {
        let error = lock(NpmTarball { digest: other, ..right.clone() }, keep).expect_err("other");
        assert!(error.contains("wrong bytes") && error.contains(&other.to_string()), "{error}");
        assert!(error.contains("`chatimg lock --update app`"), "{error}");
        let said = NpmTarball { integrity: "sha512-x".to_owned(), ..right.clone() };
        let error = lock(said, keep).expect_err("the registry says another one");
        assert!(error.contains("instead of sha512-x"), "{error}");
        let gone = NpmTarball { version: "1.7.0".to_owned(), ..right.clone() };
        let error = lock(gone, keep).expect_err("it goes back");
        assert!(
            error.contains("app is locked at 1.7.0") && error.contains("newest there is 1.0.0"),
            "{error}"
        );
    }
}
