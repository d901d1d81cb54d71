//! For tests: an archive in memory, signed by keys made on the spot, always the same ones;
//! and .debs ([`deb`]).

pub mod deb;

use std::collections::BTreeMap;
use std::io::Write;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::index::{IndexSource, SourceError};
use super::keyring::Keyring;
use crate::digest::Digest;
use crate::lock::DebArchive;

/// The time of all tests, in 2096: rPGP dates new certificates by the real clock, and they must not
/// be of the future.
pub const NOW: i64 = 4_000_000_000;

/// A certificate with a signing subkey.
pub struct Signer(SignedSecretKey);

impl Signer {
    pub fn new(seed: u64) -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .created_at(Timestamp::from_secs(1_700_000_000))
            .build()
            .unwrap();
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .created_at(Timestamp::from_secs(1_700_000_000))
            .primary_user_id(format!("Test {seed} <test@example.org>"))
            .subkey(subkey)
            .build()
            .unwrap();
        Self(params.generate(StdRng::seed_from_u64(seed)).unwrap())
    }

    pub fn armored(&self) -> String {
        self.0.to_public_key().to_armored_string(ArmorOptions::default()).unwrap()
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::from_armored(&[&self.armored()]).unwrap()
    }

    pub fn key_id(&self) -> String {
        format!("{:X}", self.0.secret_subkeys[0].fingerprint())
    }

    /// `text`, clear-signed by the subkey.
    pub fn sign(&self, text: &str) -> String {
        self.sign_at(text, NOW)
    }

    pub fn sign_at(&self, text: &str, at: i64) -> String {
        clear_sign(&self.0.secret_subkeys[0].key, text, at)
    }

    /// `text`, clear-signed by the primary key, which may only certify.
    pub fn sign_by_primary(&self, text: &str) -> String {
        clear_sign(&self.0.primary_key, text, NOW)
    }

    /// With another binding of the subkey.
    pub fn rebound(mut self, signs: bool, countersigned: bool, lifetime: Option<u32>) -> Self {
        let mut flags = KeyFlags::default();
        flags.set_sign(signs);
        let mut parts = vec![part(SubpacketData::KeyFlags(flags))];
        if let Some(lifetime) = lifetime {
            parts.push(part(SubpacketData::KeyExpirationTime(Duration::from_secs(lifetime))));
        }
        if countersigned {
            parts.push(part(SubpacketData::EmbeddedSignature(Box::new(self.countersignature()))));
        }
        let binding = self.bind(SignatureType::SubkeyBinding, parts);
        self.0.secret_subkeys[0].signatures = vec![binding];
        self
    }

    /// With the subkey withdrawn.
    pub fn revoked(mut self) -> Self {
        let revocation = self.bind(SignatureType::SubkeyRevocation, Vec::new());
        self.0.secret_subkeys[0].signatures.push(revocation);
        self
    }

    /// `self`, but with the signing subkey of `other`, bound as well as it can be without its
    /// consent.
    pub fn adopting(mut self, other: &Self) -> Self {
        self.0.secret_subkeys = other.0.secret_subkeys.clone();
        self.rebound(true, false, None)
    }

    fn bind(&self, typ: SignatureType, mut parts: Vec<Subpacket>) -> Signature {
        let (primary, subkey) = (&self.0.primary_key, &self.0.secret_subkeys[0].key);
        let mut config = SignatureConfig::v4(typ, primary.algorithm(), HashAlgorithm::Sha256);
        parts.push(time(1_700_000_000));
        config.hashed_subpackets = parts;
        let (public, signee) = (primary.public_key(), subkey.public_key());
        config.sign_subkey_binding(primary, public, &Password::empty(), signee).unwrap()
    }

    fn countersignature(&self) -> Signature {
        let (primary, subkey) = (&self.0.primary_key, &self.0.secret_subkeys[0].key);
        let mut config = SignatureConfig::v4(
            SignatureType::KeyBinding,
            subkey.algorithm(),
            HashAlgorithm::Sha256,
        );
        config.hashed_subpackets = vec![time(1_700_000_000)];
        let (public, signee) = (subkey.public_key(), primary.public_key());
        config.sign_primary_key_binding(subkey, public, &Password::empty(), signee).unwrap()
    }
}

fn clear_sign(key: &impl SigningKey, text: &str, at: i64) -> String {
    let mut config =
        SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets =
        vec![time(at), part(SubpacketData::IssuerFingerprint(key.fingerprint()))];
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

fn time(at: i64) -> Subpacket {
    part(SubpacketData::SignatureCreationTime(Timestamp::from_secs(at as u32)))
}

fn part(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).unwrap()
}

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
