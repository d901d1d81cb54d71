use serde_json::{Value, json};

use super::super::online::tests::Net;
use super::*;
use crate::fetch::testserver::{Reply, TestServer};

/// A registry of `(name, version, manifest)`; each tarball holds its own name.
fn registry(packages: Vec<(&'static str, &'static str, Value)>) -> TestServer {
    TestServer::start(move |asked| {
        let path = asked.path.trim_start_matches('/').replace("%2F", "/");
        if let Some(file) = path.strip_prefix("tarballs/") {
            return Reply::ok(file);
        }
        let mut document = json!({"dist-tags": {}, "versions": {}});
        for (name, version, manifest) in packages.iter().filter(|(name, ..)| *name == path) {
            let file = format!("{}-{version}.tgz", name.replace('/', "+"));
            let mut manifest = manifest.clone();
            let integrity = format!("sha512-{}", base64(&Sha512::digest(&file)));
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
    let prefer =
        prefer.iter().map(|(name, v)| (name.to_string(), [v.to_string()].into())).collect();
    let tarballs = resolve_npm(&net.online(), &requests, &prefer)?;
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
            let integrity = format!("sha512-{}", base64(&Sha512::digest("right")));
            let dist = json!({"tarball": tarball, "integrity": integrity});
            Reply::ok(json!({"versions": {"1.0.0": {"dist": dist}}}).to_string())
        }
        _ => Reply::ok("wrong"),
    });
    let error = resolve_with(&server, &[("app", "*")], &[]).expect_err("wrong").to_string();
    assert!(error.contains("is not what the registry announces"), "{error}");
}

#[test]
fn base64_is_rfc_4648() {
    for (plain, text) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
    {
        assert_eq!(base64(plain.as_bytes()), text);
    }
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}
