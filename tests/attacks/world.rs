//! What an archive, an index, a registry and a web site hold, all at one address: good at first, then as an attacker
//! wants it.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chatimg::digest::Digest;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::make::{Tar, control, deb, pack};
use crate::signer::{Form, Signer, clear, sign_text};
use crate::testserver::{Asked, Reply};

/// Signs the main archive, and security.
pub(crate) const KEYS: [u8; 2] = [1, 2];

/// Computes an answer.
pub(crate) type Answer = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A Debian package.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) version: String,
    pub(crate) arch: String,
    /// Further lines of its stanza.
    pub(crate) more: String,
    pub(crate) bytes: Vec<u8>,
}

/// A suite with its index.
#[derive(Clone)]
pub(crate) struct Suite {
    /// `debian` or `security`: where it lies.
    pub(crate) folder: &'static str,
    pub(crate) name: &'static str,
    pub(crate) codename: String,
    pub(crate) date: i64,
    pub(crate) valid: Option<i64>,
    pub(crate) architectures: String,
    pub(crate) packages: BTreeMap<String, Package>,
    /// Who signs it.
    pub(crate) key: u8,
    /// Put into each stanza.
    pub(crate) stanza: String,
}

/// A wheel, and what the index says of it.
#[derive(Clone)]
pub(crate) struct Wheel {
    pub(crate) project: &'static str,
    pub(crate) version: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The METADATA that the index shows, if it does.
    pub(crate) metadata: Option<String>,
}

/// A version of an npm package.
#[derive(Clone)]
pub(crate) struct Tarball {
    pub(crate) name: String,
    pub(crate) version: String,
    /// What the registry says of it, but for where it is.
    pub(crate) said: Value,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct World {
    /// `http://127.0.0.1:PORT/`
    pub(crate) base: String,
    pub(crate) now: i64,
    pub(crate) suites: [Suite; 3],
    pub(crate) wheels: Vec<Wheel>,
    pub(crate) npm: Vec<Tarball>,
    pub(crate) tags: BTreeMap<&'static str, Value>,
    pub(crate) page: Vec<u8>,
    /// Instead of what is there.
    pub(crate) instead: BTreeMap<String, Answer>,
    /// For all paths that begin so, and where nothing else is.
    pub(crate) below: BTreeMap<String, Answer>,
}

/// A package's file, with some contents to tell it from others.
pub(crate) fn package(name: &str, version: &str, arch: &str) -> Vec<u8> {
    let text = format!("Package: {name}\nVersion: {version}\nArchitecture: {arch}\n");
    let data = Tar::new().dir("./").file(&format!("./usr/share/{name}"), version).end();
    deb(".gz", &control(&text), &data)
}

impl Package {
    pub(crate) fn new(name: &str, version: &str, more: &str) -> Self {
        let (version, arch, more) = (version.to_owned(), "amd64".to_owned(), more.to_owned());
        Self { bytes: package(name, &version, &arch), version, arch, more }
    }
}

/// METADATA of a release.
pub(crate) fn metadata(project: &str, version: &str, requires: &[&str]) -> String {
    let lines: String = requires.iter().map(|it| format!("Requires-Dist: {it}\n")).collect();
    format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{lines}")
}

/// A wheel with this METADATA.
pub(crate) fn wheel(project: &str, version: &str, metadata: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let name = format!("{project}-{version}.dist-info/METADATA");
    let sum = URL_SAFE_NO_PAD.encode(Digest::of(metadata.as_bytes()).as_bytes());
    let record = format!("{name},sha256={sum},{}\n", metadata.len());
    for (name, text) in
        [(name, metadata), (format!("{project}-{version}.dist-info/RECORD"), record.as_str())]
    {
        zip.start_file(name, options).expect("a member");
        zip.write_all(text.as_bytes()).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}

impl Wheel {
    pub(crate) fn new(project: &'static str, version: &'static str, requires: &[&str]) -> Self {
        let text = metadata(project, version, requires);
        let bytes = wheel(project, version, &text);
        Self { project, version, bytes, metadata: Some(text) }
    }

    fn file(&self) -> String {
        format!("{}-{}-py3-none-any.whl", self.project, self.version)
    }
}

/// An npm tarball with this package.json.
pub(crate) fn tarball(json: &Value) -> Vec<u8> {
    pack(".gz", &Tar::new().file("package/package.json", &json.to_string()).end())
}

impl Tarball {
    pub(crate) fn new(name: &str, version: &str, needs: Value) -> Self {
        let json = json!({"name": name, "version": version, "dependencies": needs});
        let bytes = tarball(&json);
        Self { name: name.to_owned(), version: version.to_owned(), said: json, bytes }
    }

    pub(crate) fn path(&self) -> String {
        format!("/npm/{}/-/{}-{}.tgz", self.name, self.name, self.version)
    }

    pub(crate) fn integrity(&self) -> String {
        format!("sha512-{}", STANDARD.encode(sha2::Sha512::digest(&self.bytes)))
    }

    /// With its place.
    pub(crate) fn manifest(&self, base: &str) -> Value {
        let mut said = self.said.clone();
        let address = format!("{}{}", base.trim_end_matches('/'), self.path());
        said["dist"] = json!({"tarball": address, "integrity": self.integrity()});
        said
    }
}

impl Suite {
    pub(crate) fn text(&self) -> String {
        let one = |(name, it): (&String, &Package)| {
            let path = format!("pool/main/{name}/{name}_{}_{}.deb", it.version, it.arch);
            let separator = if it.more.is_empty() { "" } else { "\n" };
            format!(
                "Package: {name}\nVersion: {}\nArchitecture: {}\n{}{separator}{}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
                it.version,
                it.arch,
                it.more,
                self.stanza,
                it.bytes.len(),
                Digest::of(&it.bytes),
            )
        };
        self.packages.iter().map(one).collect()
    }

    pub(crate) fn release(&self) -> String {
        let (plain, packed) = (self.text(), pack(".xz", self.text().as_bytes()));
        let until = self.valid.map(|time| format!("Valid-Until: {}\n", rfc(time)));
        let rows = [("Packages", plain.as_bytes()), ("Packages.xz", &packed[..])];
        let rows: String = rows
            .iter()
            .map(|(name, bytes)| {
                format!(" {} {} main/binary-amd64/{name}\n", Digest::of(bytes), bytes.len())
            })
            .collect();
        format!(
            "Suite: stable\nCodename: {}\nDate: {}\n{}Acquire-By-Hash: yes\nArchitectures: {}\nComponents: main\nSHA256:\n{rows}",
            self.codename,
            rfc(self.date),
            until.unwrap_or_default(),
            self.architectures,
        )
    }

    pub(crate) fn in_release(&self) -> String {
        format!("/{}/dists/{}/InRelease", self.folder, self.name)
    }

    pub(crate) fn by_hash(&self) -> String {
        let digest = Digest::of(&self.packed());
        format!("/{}/dists/{}/main/binary-amd64/by-hash/SHA256/{digest}", self.folder, self.name)
    }

    pub(crate) fn packed(&self) -> Vec<u8> {
        pack(".xz", self.text().as_bytes())
    }

    /// `text`, signed by the subkey of a signer with this form.
    pub(crate) fn signed(&self, signer: &Signer, form: Form) -> String {
        let text = self.release();
        clear(&text, &[sign_text(&signer.subkey, &text, form)])
    }
}

impl World {
    /// All is well. `names`: Debian packages to have.
    pub(crate) fn good<'a>(base: &str, now: i64, names: impl IntoIterator<Item = &'a str>) -> Self {
        let all = |names: Vec<(&str, Package)>| -> BTreeMap<String, Package> {
            names.into_iter().map(|(name, it)| (name.to_owned(), it)).collect()
        };
        let mut main: Vec<_> =
            names.into_iter().map(|name| (name, Package::new(name, "1.0-1", ""))).collect();
        main.push(("server", Package::new("server", "1.0-1", "Depends: library (>= 1)")));
        main.push(("library", Package::new("library", "1.0-1", "")));
        let suite = |folder, name: &'static str, key, valid, packages| Suite {
            folder,
            name,
            codename: name.to_owned(),
            date: now - 86_400,
            valid,
            architectures: "all amd64".to_owned(),
            packages,
            key,
            stanza: String::new(),
        };
        let week = Some(now + 6 * 86_400);
        let newer = |name, version| all(vec![(name, Package::new(name, version, ""))]);
        Self {
            base: base.to_owned(),
            now,
            suites: [
                suite("debian", "trixie", KEYS[0], None, all(main)),
                suite("debian", "trixie-updates", KEYS[0], week, newer("zone-data", "1.0-1")),
                suite("security", "trixie-security", KEYS[1], week, newer("library", "1.1-1")),
            ],
            wheels: vec![
                Wheel::new("app", "1.0", &["lib"]),
                Wheel::new("app", "1.1", &["lib"]),
                Wheel { metadata: None, ..Wheel::new("lib", "1.0", &[]) },
            ],
            npm: vec![
                Tarball::new("widget", "1.1.0", json!({"gear": "^2"})),
                Tarball::new("widget", "1.0.0", json!({"gear": "^2"})),
                Tarball::new("gear", "2.0.0", json!({})),
            ],
            tags: BTreeMap::new(),
            page: b"the page\n".to_vec(),
            instead: BTreeMap::new(),
            below: BTreeMap::new(),
        }
    }

    /// This answer instead of what is at a path.
    pub(crate) fn put(
        &mut self,
        path: impl Into<String>,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) {
        self.instead.insert(path.into(), Arc::new(answer));
    }

    /// These bytes instead of what is at a path.
    pub(crate) fn bytes(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.put(path, move |_| Reply::ok(bytes.clone()));
    }

    /// The path of a package's file.
    pub(crate) fn pool(&self, name: &str) -> String {
        let found = |suite: &Suite| {
            let it = suite.packages.get(name)?;
            let (folder, version, arch) = (suite.folder, &it.version, &it.arch);
            Some(format!("/{folder}/pool/main/{name}/{name}_{version}_{arch}.deb"))
        };
        self.suites.iter().rev().find_map(found).expect("a package")
    }

    /// Digests of all files that may come into a store.
    pub(crate) fn good_digests(&self) -> Vec<Digest> {
        let debs = self.suites.iter().flat_map(|it| it.packages.values().map(|it| &it.bytes));
        let rest =
            self.wheels.iter().map(|it| &it.bytes).chain(self.npm.iter().map(|it| &it.bytes));
        debs.chain(rest).chain([&self.page]).map(|bytes| Digest::of(bytes)).collect()
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.path.as_str();
        if let Some(answer) = self.instead.get(path) {
            return answer(asked);
        }
        if let Some(bytes) = self.file(path) {
            return Reply::ok(bytes);
        }
        let below = self.below.iter().find(|(start, _)| path.starts_with(start.as_str()));
        below.map_or_else(|| Reply::status(404), |(_, answer)| answer(asked))
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        for suite in &self.suites {
            if path == suite.in_release() {
                let signer = Signer::new(suite.key);
                return Some(signer.sign_at(&suite.release(), self.now).into_bytes());
            }
            if path == suite.by_hash() {
                return Some(suite.packed());
            }
            for (name, it) in &suite.packages {
                let file = format!(
                    "/{}/pool/main/{name}/{name}_{}_{}.deb",
                    suite.folder, it.version, it.arch
                );
                if path == file {
                    return Some(it.bytes.clone());
                }
            }
        }
        if let Some(project) = path.strip_prefix("/pypi/").and_then(|it| it.strip_suffix('/')) {
            return self.project(project);
        }
        if let Some(file) = path.strip_prefix("/files/") {
            let (file, shown) = match file.strip_suffix(".metadata") {
                Some(file) => (file, true),
                None => (file, false),
            };
            let wheel = self.wheels.iter().find(|it| it.file() == file)?;
            return match shown {
                true => wheel.metadata.clone().map(String::into_bytes),
                false => Some(wheel.bytes.clone()),
            };
        }
        if let Some(tarball) = self.npm.iter().find(|it| it.path() == path) {
            return Some(tarball.bytes.clone());
        }
        match path.strip_prefix("/npm/") {
            Some(name) => self.packument(name),
            None => (path == "/url/page.txt").then(|| self.page.clone()),
        }
    }

    /// PEP 503.
    fn project(&self, project: &str) -> Option<Vec<u8>> {
        let of = |it: &&Wheel| it.project == project;
        let link = |it: &Wheel| {
            let shown = it.metadata.as_ref().map(|text| {
                format!(" data-core-metadata='sha256={}'", Digest::of(text.as_bytes()))
            });
            let (file, digest) = (it.file(), Digest::of(&it.bytes));
            let shown = shown.unwrap_or_default();
            format!("<a href='../../files/{file}#sha256={digest}'{shown}>{file}</a>\n")
        };
        let links: String = self.wheels.iter().filter(of).map(link).collect();
        (!links.is_empty()).then(|| links.into_bytes())
    }

    fn packument(&self, name: &str) -> Option<Vec<u8>> {
        let of = |it: &&Tarball| it.name == name;
        let versions: serde_json::Map<_, _> = self
            .npm
            .iter()
            .filter(of)
            .map(|it| (it.version.clone(), it.manifest(&self.base)))
            .collect();
        let tags = self.tags.get(name).cloned().unwrap_or_else(|| json!({}));
        let document = json!({"name": name, "dist-tags": tags, "versions": versions});
        (!versions.is_empty()).then(|| document.to_string().into_bytes())
    }
}

fn rfc(seconds: i64) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] UTC"
    );
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a date");
    date.format(format).expect("it is written")
}
