//! What proves an image: `chatimg sign`, `verify`, `sbom` on a small image, of which every file is damaged at many places; the
//! signatures checked by minisign and OpenSSL; the bills of materials of the real image.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;
use crate::small::Fixture;
use chatimg::appliance::Disks;
use chatimg::digest::Digest;
use chatimg::evidence::{self, compare};
use chatimg::minisign::SecretKey;
use chatimg::sbom;
use serde_json::Value;

/// A finished image with this text in a file, in `images` of a folder.
fn build(dir: &Path, text: &str, disks: Disks) -> PathBuf {
    build_of(dir, &[("etc/sample", text)], disks)
}

fn build_of(dir: &Path, files: &[(&str, &str)], disks: Disks) -> PathBuf {
    let mut fixture = Fixture::at(dir, files).expect("a small root");
    let Fixture { store, lock, root, .. } = &fixture;
    let beside = sbom::documents(store, "sample", lock, root).expect("bills");
    (fixture.disks, fixture.beside) = (disks, beside.to_vec());
    fixture.build(&dir.join("images")).expect("an image").dir
}

/// Turns one bit of a file, and back when dropped.
struct Flipped {
    file: File,
    at: u64,
    bit: u8,
}

impl Flipped {
    fn new(path: &Path, at: u64, bit: u8) -> Self {
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("mode");
        let file = File::options().read(true).write(true).open(path).expect("opens");
        let mut flipped = Self { file, at, bit };
        flipped.turn();
        flipped
    }

    fn turn(&mut self) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, self.at).expect("reads");
        self.file.write_all_at(&[byte[0] ^ 1 << self.bit], self.at).expect("writes");
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        self.turn();
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).expect("lists").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Gives a file of an image other contents.
fn replace(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("mode");
    fs::write(path, bytes).expect("writes");
}

/// Places of a file: its ends, and others that chance could have taken.
fn places(size: u64, count: u64) -> BTreeSet<u64> {
    let middle = (1..count).map(|n| size / count * n + (n * 7919) % (size / count).max(1));
    middle.chain([0, size - 1]).map(|at| at.min(size - 1)).collect()
}

#[test]
fn no_bit_of_a_signed_image_can_change_unseen() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Single);
    let key = SecretKey::new().expect("key");
    evidence::sign(&image, &key).expect("signs");
    evidence::sign_update(&image, &key).expect("signs");
    let public = key.public();
    let verified = evidence::verify(&image, Some(&public)).expect("whole");
    assert_eq!(verified.signed_by, Some(public.number()));
    let files = names(&image);
    assert_eq!(files.len(), 10, "{files:?}");
    let mut flips = 0;
    for name in &files {
        let path = image.join(name);
        let size = fs::metadata(&path).expect("file").len();
        let large = size > 1 << 20;
        for (index, at) in places(size, if large { 5 } else { 150 }).into_iter().enumerate() {
            let bit = u8::try_from(index % 8).expect("small");
            let _flipped = Flipped::new(&path, at, bit);
            let error = evidence::verify(&image, Some(&public));
            let error = error.expect_err(&format!("{name}: bit {bit} of byte {at}")).to_string();
            assert!(!large || error.contains(name), "{error}");
            flips += 1;
        }
    }
    assert!(flips > 400, "{flips}");
    evidence::verify(&image, Some(&public)).expect("whole again");
    // A copy of what a disk holds need not be there.
    for name in files.into_iter().filter(|name| name != "root.img") {
        let path = image.join(&name);
        fs::rename(&path, image.join("gone")).expect("renames");
        evidence::verify(&image, Some(&public)).expect_err(&name);
        fs::rename(image.join("gone"), &path).expect("renames");
    }
}

#[test]
fn no_bit_of_an_image_that_nobody_signed_can_change_unseen() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Single);
    assert_eq!(evidence::verify(&image, None).expect("whole").signed_by, None);
    let other = SecretKey::new().expect("key");
    let error = evidence::verify(&image, Some(&other.public())).expect_err("not signed");
    assert!(error.to_string().contains("chatimg sign"), "{error}");
    for name in names(&image) {
        let path = image.join(&name);
        let size = fs::metadata(&path).expect("file").len();
        for at in places(size, if size > 1 << 20 { 4 } else { 60 }) {
            let _flipped = Flipped::new(&path, at, 3);
            evidence::verify(&image, None).expect_err(&format!("{name}: byte {at}"));
        }
    }
    evidence::verify(&image, None).expect("whole again");
}

/// The sums are made anew, so that nothing else gives it away.
#[test]
fn a_root_image_that_the_disks_do_not_hold_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Mirror);
    let key = SecretKey::new().expect("key");
    let write = |name: &str, text: &str| replace(&image.join(name), text.as_bytes());
    let read = |name: &str| fs::read_to_string(image.join(name)).expect("reads");
    let (manifest, sums) = (read("manifest.json"), read("SHA256SUMS"));
    let said: Value = serde_json::from_str(&manifest).expect("JSON");
    for (field, to) in [
        ("file", Value::from("disk-2.img")),
        ("start", Value::from(0)),
        ("size", Value::from(4096)),
        ("sha256", Digest::of(b"another").to_string().into()),
    ] {
        let mut other = said.clone();
        other["root"][field] = to;
        let other = other.to_string();
        let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
        write("manifest.json", &other);
        write("SHA256SUMS", &sums.replace(&digest(&manifest), &digest(&other)));
        for error in [
            evidence::verify(&image, None).expect_err(field),
            evidence::sign(&image, &key).expect_err(field),
        ] {
            let error = error.to_string();
            assert!(error.contains("its root image is not what the disks hold"), "{error}");
        }
    }
    write("manifest.json", &manifest);
    write("SHA256SUMS", &sums);
    evidence::verify(&image, None).expect("whole");
}

/// An image that was signed for a box alone is no signed one, and what the box is told is true all the same.
#[test]
fn what_is_made_for_a_box_is_verified_with_the_image() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Mirror);
    let key = SecretKey::new().expect("key");
    evidence::sign_update(&image, &key).expect("signs");
    assert_eq!(evidence::verify(&image, None).expect("whole").signed_by, None);
    for name in ["root.img", "update.json"] {
        let _flipped = Flipped::new(&image.join(name), 100, 3);
        let error = evidence::verify(&image, None).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = evidence::verify(&image, Some(&key.public())).expect_err("not signed").to_string();
    assert!(error.contains("chatimg sign"), "{error}");
}

#[test]
fn a_signature_of_another_key_or_image_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let (one, two) = (build(dir.path(), "x", Disks::Mirror), build(dir.path(), "y", Disks::Mirror));
    let (key, other) = (SecretKey::new().expect("key"), SecretKey::new().expect("key"));
    evidence::sign(&one, &key).expect("signs");
    evidence::sign(&two, &key).expect("signs");
    let error = evidence::verify(&one, Some(&other.public())).expect_err("another key").to_string();
    assert!(error.contains(&other.public().number()), "{error}");
    let error = evidence::verify(&one, None).expect_err("no key").to_string();
    assert!(error.contains("--key"), "{error}");
    // The whole of the other's evidence, and each part alone.
    for name in [
        "SHA256SUMS",
        "SHA256SUMS.minisig",
        "provenance.dsse.json",
        "update.json",
        "update.json.minisig",
    ] {
        let kept = fs::read(one.join(name)).expect("reads");
        replace(&one.join(name), &fs::read(two.join(name)).expect("reads"));
        evidence::verify(&one, Some(&key.public())).expect_err(name);
        replace(&one.join(name), &kept);
    }
    evidence::verify(&one, Some(&key.public())).expect("whole");
    // Signed anew with another key, it is that one's.
    evidence::sign(&one, &other).expect("signs");
    evidence::verify(&one, Some(&other.public())).expect("whole");
    // What is damaged is not signed.
    let _flipped = Flipped::new(&one.join("disk-2.img"), 500 << 20, 0);
    let error = evidence::sign(&one, &key).expect_err("damaged").to_string();
    assert!(error.contains("disk-2.img"), "{error}");
}

#[test]
fn two_images_are_compared_by_their_trees() {
    let dir = tempfile::tempdir().expect("folder");
    let module = |text: &str| format!("\x7fELF\0{text}");
    let image = |text: &str, driver: &str| {
        let (path, contents) = ("usr/lib/modules/6.1/k/ext4.ko", module(driver));
        build_of(dir.path(), &[("etc/sample", text), (path, &contents)], Disks::Single)
    };
    let (one, two) = (image("a\nx\n", "same"), image("a\nchanged\n", "sane"));
    assert_eq!(compare(&one, &one).expect("compares"), []);
    let lines: Vec<_> =
        compare(&one, &two).expect("compares").iter().map(ToString::to_string).collect();
    let has = |start: &str, end: &str| {
        assert!(
            lines.iter().any(|line| line.starts_with(start) && line.ends_with(end)),
            "{start} ... {end}: {lines:#?}"
        );
    };
    has("root file system: /etc/sample: sha256 ", ", size 4 became 10, from line 2 on (byte 2)");
    has("root file system: /usr/lib/modules/6.1/k/ext4.ko: sha256 ", ", from byte 7 on");
    has("initrd: /lib/modules/ext4.ko: its contents differ ", "from byte 7 on");
    has("disk.img: chatimg-bootenv: ", "differ");
    // What follows from the id comes after what may be the cause, and a slot is told by its tree.
    let at = |words: &str| lines.iter().position(|line| line.contains(words));
    assert!(
        at("/boot/chatimg-id") > at("/etc/sample") && at("chatimg-root").is_none(),
        "{lines:#?}"
    );
    assert_eq!(lines.iter().filter(|line| line.contains("/usr/lib/modules")).count(), 1);
}

#[test]
fn others_programs_check_the_signatures() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Single);
    let key = SecretKey::new().expect("key");
    evidence::sign(&image, &key).expect("signs");
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "--strict", "SHA256SUMS"])
        .current_dir(&image)
        .status();
    assert!(sums.expect("sha256sum").success());
    assert_eq!(fs::read_to_string(image.join("SHA256SUMS")).expect("sums").lines().count(), 4);
    for file in ["SHA256SUMS", "update.json"] {
        let output = Command::new("minisign")
            .args(["-V", "-m", file, "-P", &key.public().to_string()])
            .current_dir(&image)
            .output();
        let output = output.expect("minisign; .ci/run installs it");
        assert!(output.status.success(), "{output:?}");
        assert!(project::text(&output.stdout).contains("Trusted comment: image "), "{output:?}");
    }
    // The envelope, as its specification has it, by OpenSSL.
    let text = fs::read_to_string(image.join("provenance.dsse.json")).expect("envelope");
    let envelope: Value = serde_json::from_str(&text).expect("JSON");
    let script = "import base64, json, sys; e = json.load(open(sys.argv[1])); b = base64.b64decode(e['payload']); \
        t = e['payloadType'].encode(); d = sys.argv[2]; \
        open(d + '/pae', 'wb').write(b'DSSEv1 %d %s %d %s' % (len(t), t, len(b), b)); \
        open(d + '/sig', 'wb').write(base64.b64decode(e['signatures'][0]['sig'])); \
        k = base64.b64decode(sys.argv[3])[10:]; \
        open(d + '/key.der', 'wb').write(bytes.fromhex('302a300506032b6570032100') + k); \
        open(d + '/statement', 'wb').write(b)";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(image.join("provenance.dsse.json"))
        .arg(dir.path())
        .arg(key.public().to_string())
        .status();
    assert!(python.expect("python3").success());
    let openssl = Command::new("openssl")
        .args([
            "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key.der",
            "-in", "pae", "-sigfile", "sig",
        ])
        .current_dir(dir.path())
        .output();
    let openssl = openssl.expect("openssl");
    assert!(openssl.status.success(), "{openssl:?}");
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    let statement: Value =
        serde_json::from_slice(&fs::read(dir.path().join("statement")).expect("statement"))
            .expect("JSON");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let image = build(dir.path(), "x", Disks::Single);
    let chatimg = |args: &[&str]| {
        let mut command = Command::new(project::chatimg());
        command.args(args).current_dir(dir.path()).env("CHATIMG_STORE", dir.path().join("store"));
        let output =
            command.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME").output().expect("runs");
        (output.status.code(), project::text(&output.stdout) + &project::text(&output.stderr))
    };
    let image = image.to_str().expect("UTF-8");
    let (code, text) = chatimg(&["sign", image]);
    assert!(code == Some(1) && text.contains("chatimg key new"), "{text}");
    assert_eq!(chatimg(&["key", "new"]).0, Some(0));
    let key = dir.path().join(".config/chatimg/owner.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("mode");
    let (code, text) = chatimg(&["sign", image]);
    assert!(code == Some(1) && text.contains("others can read it"), "{text}");
    assert!(!Path::new(image).join("SHA256SUMS.minisig").exists());
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("mode");
    let (code, text) = chatimg(&["sign", image]);
    assert!(code == Some(0), "{text}");
    // The owner's own key is the one to believe; it needs no name.
    let (code, text) = chatimg(&["verify", "--files-only", image]);
    assert!(code == Some(0) && text.contains("every file is whole (signed with key "), "{text}");
    let public = key.with_extension("pub");
    let (code, text) =
        chatimg(&["verify", "--files-only", "--key", public.to_str().expect("UTF-8"), image]);
    assert!(code == Some(0), "{text}");
    for (format, field) in [("spdx", "spdxVersion"), ("cyclonedx", "specVersion")] {
        let (code, text) = chatimg(&["sbom", "--format", format, image]);
        let bill: Value = serde_json::from_str(&text).expect("JSON");
        assert!(code == Some(0) && bill[field].is_string(), "{text}");
    }
    // No secret half anywhere.
    let secret = fs::read_to_string(&key).expect("key");
    let secret = secret.lines().nth(1).expect("key").as_bytes();
    for name in names(Path::new(image)).into_iter().filter(|name| !name.ends_with(".img")) {
        let bytes = fs::read(Path::new(image).join(&name)).expect("reads");
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{name}");
    }
}

/// What Debian's python3-jsonschema says of a bill, by the schema of its authors (`tests/schemas/README.md`).
fn complaints(format: &str, bill: &Path) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let schemas: &[&str] = match format {
        "spdx" => &["spdx-2.3"],
        _ => &["cyclonedx-bom-1.6", "cyclonedx-spdx", "cyclonedx-jsf-0.82"],
    };
    let mut files = schemas.iter().map(|name| dir.join(format!("{name}.schema.json")));
    let output = Command::new("/usr/bin/python3")
        .arg(dir.join("validate.py"))
        .arg(files.next().expect("a schema"))
        .arg(bill)
        .args(files)
        .output()
        .expect("python3");
    let words = project::text(&output.stderr);
    assert!(words.is_empty(), "{words}\nis the package python3-jsonschema installed?");
    project::text(&output.stdout)
}

/// Bills of the image that `chatimg build` made, and of a root without packages.
#[test]
fn the_bills_are_valid_by_the_schemas_of_their_authors() {
    let dir = tempfile::tempdir().expect("folder");
    let small = build(dir.path(), "x", Disks::Single);
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/current");
    for (format, name) in [("spdx", sbom::SPDX), ("cyclonedx", sbom::CYCLONEDX)] {
        for image in [&small, &real] {
            assert_eq!(complaints(format, &image.join(name)), "", "{name} of {}", image.display());
        }
        // The schemas are looked at: of three mistakes each is told.
        let text =
            fs::read_to_string(real.join(name)).expect("run `cargo run --release -- build` first");
        let mut bill: Value = serde_json::from_str(&text).expect("JSON");
        let list = if format == "spdx" { "packages" } else { "components" };
        bill[list][0]["name"] = Value::Null;
        bill[list][1]["licenses"] = serde_json::json!([{"license": {"id": "none of SPDX's"}}]);
        bill["invented"] = true.into();
        let broken = dir.path().join("broken.json");
        fs::write(&broken, bill.to_string()).expect("write");
        let found = complaints(format, &broken);
        let expected: &[&str] = match format {
            "spdx" => &["packages/0/name", "packages/1: ", "(top): "],
            _ => &["components/0/name", "components/1/licenses", "(top): "],
        };
        for words in expected {
            assert!(found.contains(words), "{words}: {found}");
        }
    }
}

/// The image that `chatimg build` made.
#[test]
fn the_bills_of_the_real_image_name_every_input() {
    let project = project::Project::open();
    let image = project.dir.join("images/current");
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(image.join(name));
        let text = text.unwrap_or_else(|e| panic!("{e}\nrun `cargo run --release -- build` first"));
        serde_json::from_str(&text).expect("JSON")
    };
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let words = |list: &[Value], key: &str| -> BTreeSet<String> {
        list.iter().filter_map(|entry| Some(entry[key].as_str()?.to_owned())).collect()
    };
    let (spdx, cyclonedx) = (read(sbom::SPDX), read(sbom::CYCLONEDX));
    let (packages, components) = (list(&spdx["packages"]), list(&cyclonedx["components"]));
    let digests =
        |hashes: &Value, key: &str| hashes[0][key].as_str().unwrap_or_default().to_owned();
    let in_spdx: BTreeSet<_> =
        packages.iter().map(|p| digests(&p["checksums"], "checksumValue")).collect();
    let in_cyclonedx: BTreeSet<_> =
        components.iter().map(|c| digests(&c["hashes"], "content")).collect();
    let lock = &project.lock;
    let debs = lock.debs_of(chatimg::lock::Group::Image);
    let digests = debs.iter().map(|deb| (deb.name.clone(), deb.digest));
    let digests = digests.chain(lock.wheels.iter().map(|wheel| (wheel.name.clone(), wheel.digest)));
    let digests = digests.chain(lock.npm.iter().map(|npm| (npm.name.clone(), npm.digest)));
    for (name, digest) in digests.chain(lock.urls.iter().map(|url| (url.name.clone(), url.digest)))
    {
        assert!(
            in_spdx.contains(&digest.to_string()) && in_cyclonedx.contains(&digest.to_string()),
            "{name}"
        );
    }
    // Every relation is between parts that are there.
    let ids = words(&packages, "SPDXID");
    assert_eq!(ids.len(), packages.len());
    for relation in list(&spdx["relationships"]) {
        let ends = [&relation["spdxElementId"], &relation["relatedSpdxElement"]];
        let known = |end: &&Value| {
            *end == "SPDXRef-DOCUMENT" || ids.contains(end.as_str().unwrap_or_default())
        };
        assert!(ends.iter().all(known), "{relation}");
    }
    let refs = words(&components, "bom-ref");
    assert_eq!(refs.len(), components.len());
    for dependency in list(&cyclonedx["dependencies"]) {
        let known = |end: &Value| refs.contains(end.as_str().unwrap_or_default());
        assert!(dependency["ref"] == "image" || known(&dependency["ref"]), "{dependency}");
        assert!(list(&dependency["dependsOn"]).iter().all(known), "{dependency}");
    }
    let depends = |from: &str, to: &str| {
        list(&cyclonedx["dependencies"])
            .iter()
            .any(|d| d["ref"] == from && list(&d["dependsOn"]).contains(&to.into()))
    };
    assert!(
        depends("deb-openssh-server", "deb-libc6")
            && depends("python-synapse-treq", "python-synapse-twisted")
    );
    // Licences are known of nearly all, and each reference of SPDX is told.
    let declared: Vec<_> = packages.iter().filter_map(|p| p["licenseDeclared"].as_str()).collect();
    let known = declared.iter().filter(|licence| **licence != "NOASSERTION").count();
    assert!(known * 4 > declared.len() * 3, "{known} of {}", declared.len());
    let told = words(&list(&spdx["hasExtractedLicensingInfos"]), "licenseId");
    for word in declared.iter().flat_map(|licence| licence.split([' ', '(', ')'])) {
        assert!(!word.starts_with("LicenseRef-") || told.contains(word), "{word}");
    }
    // Scanners look for holes by the source's name; GRUB and busybox are no packages of the root file system.
    for (name, source) in [("grub-pc-bin", "grub2"), ("busybox-static", "busybox")] {
        let found = components.iter().find(|it| it["name"] == name).expect(name);
        let purl = found["purl"].as_str().expect("purl");
        assert!(purl.contains(&format!("upstream={source}%40")), "{purl}");
    }
    let bash = components.iter().find(|c| c["bom-ref"] == "deb-bash").expect("bash");
    assert!(bash["purl"].as_str().expect("purl").starts_with("pkg:deb/debian/bash@"), "{bash}");
    assert!(bash["purl"].as_str().expect("purl").contains("&distro=debian-13"), "{bash}");
    assert_eq!(
        bash["licenses"][0]["expression"].as_str().map(|text| text.contains("GPL-3.0-or-later")),
        Some(true)
    );
}
