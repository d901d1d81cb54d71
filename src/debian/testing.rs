//! For tests: an archive in memory, signed by keys made on the spot, always the same ones;
//! and .debs ([`deb`]).

pub mod deb;
pub mod signer;

use std::collections::BTreeMap;
use std::io::Write;

pub use signer::Signer;

use super::index::{IndexSource, SourceError};
use crate::digest::Digest;
use crate::lock::DebArchive;

/// The time of all tests, in 2096.
pub const NOW: i64 = 4_000_000_000;

/// Archives in memory, by archive and path.
#[derive(Clone, Default)]
pub struct Memory(pub BTreeMap<(DebArchive, String), Vec<u8>>);

impl IndexSource for Memory {
    fn get(
        &self,
        archive: DebArchive,
        _place: usize,
        path: &str,
        max_size: u64,
    ) -> Result<Vec<u8>, SourceError> {
        let found = self.0.get(&(archive, path.to_owned()));
        let bytes = found.ok_or_else(|| SourceError::NotFound("memory".to_owned()))?;
        match bytes.len() as u64 <= max_size {
            true => Ok(bytes.clone()),
            false => Err(SourceError::TooBig(max_size)),
        }
    }
}

/// One suite, to be published.
#[derive(Clone)]
pub struct TestSuite {
    pub archive: DebArchive,
    pub name: &'static str,
    /// In the Release file.
    pub codename: String,
    pub date: i64,
    pub valid_until: Option<i64>,
    pub packages: String,
}

impl TestSuite {
    /// The three suites of trixie with these `Packages` texts, as they should be.
    pub fn all(texts: [&str; 3]) -> [Self; 3] {
        let names = super::index::TRIXIE;
        std::array::from_fn(|at| Self {
            archive: names[at].archive,
            name: names[at].name,
            codename: names[at].name.to_owned(),
            date: NOW - 86_400,
            valid_until: Some(NOW + 86_400),
            packages: texts[at].to_owned(),
        })
    }

    pub fn path(&self) -> (DebArchive, String) {
        (self.archive, format!("dists/{}/InRelease", self.name))
    }

    pub fn by_hash(&self) -> (DebArchive, String) {
        let digest = Digest::of(&xz(self.packages.as_bytes()));
        let folder = "main/binary-amd64/by-hash/SHA256";
        (self.archive, format!("dists/{}/{folder}/{digest}", self.name))
    }

    pub fn release(&self) -> String {
        let (plain, packed) = (self.packages.as_bytes(), xz(self.packages.as_bytes()));
        let until = self.valid_until.map(|time| format!("Valid-Until: {}\n", rfc(time)));
        format!(
            "Suite: stable\nCodename: {}\nDate: {}\n{}Acquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages\n {} {} \
             main/binary-amd64/Packages.xz\n",
            self.codename,
            rfc(self.date),
            until.unwrap_or_default(),
            Digest::of(plain),
            plain.len(),
            Digest::of(&packed),
            packed.len(),
        )
    }

    /// Puts the suite into `memory`.
    pub fn publish(&self, signer: &Signer, memory: &mut Memory) {
        memory.0.insert(self.path(), signer.sign(&self.release()).into_bytes());
        memory.0.insert(self.by_hash(), xz(self.packages.as_bytes()));
    }
}

fn rfc(seconds: i64) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] UTC"
    );
    date.format(format).unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A stanza: `name version`, then further fields as they are.
pub fn stanza(name: &str, version: &str, fields: &str) -> String {
    let digest = Digest::of(format!("{name} {version}").as_bytes());
    let separator = if fields.is_empty() { "" } else { "\n" };
    let file = format!("{name}_{}_amd64.deb", version.replace(':', "%3a"));
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}{separator}\
         Filename: pool/main/{name}/{file}\nSize: 1000\nSHA256: {digest}\n\n"
    )
}
