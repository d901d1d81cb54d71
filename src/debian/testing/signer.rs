//! Certificates and clear-signed texts, written byte by byte by RFC 9580: independent of what reads them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::NOW;
use crate::debian::keyring::Keyring;

/// When all keys were made, and bound.
pub const MADE: u32 = 1_700_000_000;

/// A certificate with a signing subkey. All keys are Ed25519 in the older form (algorithm 22), which Debian's is.
pub struct Signer {
    user: String,
    pub primary: Pair,
    pub subkey: Pair,
    /// Of the key alone.
    pub direct: Vec<Vec<u8>>,
    pub certifications: Vec<Vec<u8>>,
    pub bindings: Vec<Vec<u8>>,
}

/// A key and its packet's body.
pub struct Pair {
    seed: [u8; 32],
    key: Ed25519KeyPair,
    body: Vec<u8>,
}

/// A part of a signature: its type (with 0x80: critical), what it says.
pub type Part = (u8, Vec<u8>);

/// What a signature shall be like.
pub struct Form {
    pub typ: u8,
    pub hash: u8,
    pub hashed: Vec<Part>,
    pub loose: Vec<Part>,
}

impl Pair {
    fn new(seed: [u8; 32]) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let curve = [9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
        let mut body = vec![4];
        body.extend(MADE.to_be_bytes());
        body.push(22);
        body.extend(curve);
        body.extend(integer(&[&[0x40], key.public_key().as_ref()].concat()));
        Self { seed, key, body }
    }

    fn hashed(&self) -> Vec<u8> {
        [&[0x99, 0, self.body.len() as u8][..], &self.body].concat()
    }

    pub fn fingerprint(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed()).as_ref().to_vec()
    }

    /// The body of a signature packet.
    pub fn sign(&self, form: &Form, message: &[&[u8]]) -> Vec<u8> {
        let (hashed, loose) = (parts(&form.hashed), parts(&form.loose));
        let mut body = vec![4, form.typ, 22, form.hash];
        body.extend((hashed.len() as u16).to_be_bytes());
        body.extend(hashed);
        let end = (body.len() as u32).to_be_bytes();
        // Of another hash than this one only the number is of interest.
        let digest = digest(&SHA256, &[&message.concat()[..], &body, &[4, 255], &end].concat());
        let value = self.key.sign(digest.as_ref());
        body.extend((loose.len() as u16).to_be_bytes());
        body.extend(loose);
        body.extend(&digest.as_ref()[..2]);
        body.extend(value.as_ref().chunks(32).flat_map(integer));
        body
    }
}

impl Form {
    /// With SHA-256, made at that time, and these parts.
    pub fn new(typ: u8, at: i64, more: impl IntoIterator<Item = Part>) -> Self {
        let time = (2, (at as u32).to_be_bytes().to_vec());
        let hashed = [time].into_iter().chain(more).collect();
        Self { typ, hash: 8, hashed, loose: Vec::new() }
    }
}

impl Signer {
    pub fn new(seed: u8) -> Self {
        let signer = Self {
            user: format!("Test {seed} <test@example.org>"),
            primary: Pair::new([seed; 32]),
            subkey: Pair::new([seed ^ 0x80; 32]),
            direct: Vec::new(),
            certifications: Vec::new(),
            bindings: Vec::new(),
        };
        signer.certified([(27, vec![1])]).rebound(true, true, None)
    }

    /// With a certification that says this.
    pub fn certified(mut self, says: impl IntoIterator<Item = Part>) -> Self {
        let form = Form::new(0x13, MADE.into(), says);
        let length = (self.user.len() as u32).to_be_bytes();
        let of = [&self.primary.hashed()[..], &[0xb4], &length, self.user.as_bytes()].concat();
        self.certifications = vec![self.primary.sign(&form, &[&of])];
        self
    }

    /// With a word of the key about itself.
    pub fn saying(mut self, form: &Form) -> Self {
        self.direct.push(self.primary.sign(form, &[&self.primary.hashed()]));
        self
    }

    pub fn armored(&self) -> String {
        armor("PUBLIC KEY BLOCK", &self.certificate())
    }

    pub fn certificate(&self) -> Vec<u8> {
        let one = |tag, body: &[u8]| packet(tag, body);
        let signatures = |bodies: &[Vec<u8>]| bodies.iter().flat_map(|it| packet(2, it)).collect();
        let (direct, certifications, bindings): (Vec<u8>, Vec<u8>, Vec<u8>) = (
            signatures(&self.direct),
            signatures(&self.certifications),
            signatures(&self.bindings),
        );
        let (primary, user) = (one(6, &self.primary.body), one(13, self.user.as_bytes()));
        [primary, direct, user, certifications, one(14, &self.subkey.body), bindings].concat()
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::from_armored(&[&self.armored()]).unwrap()
    }

    pub fn key_id(&self) -> String {
        self.subkey.fingerprint().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// `text`, clear-signed by the subkey.
    pub fn sign(&self, text: &str) -> String {
        self.sign_at(text, NOW)
    }

    pub fn sign_at(&self, text: &str, at: i64) -> String {
        clear(text, &[sign_text(&self.subkey, text, Form::new(1, at, []))])
    }

    /// `text`, clear-signed by the primary key, which may only certify.
    pub fn sign_by_primary(&self, text: &str) -> String {
        clear(text, &[sign_text(&self.primary, text, Form::new(1, NOW, []))])
    }

    /// With another binding of the subkey.
    pub fn rebound(mut self, signs: bool, countersigned: bool, lifetime: Option<u32>) -> Self {
        let mut form = Form::new(0x18, MADE.into(), [(27, vec![if signs { 2 } else { 0 }])]);
        form.hashed.extend(lifetime.map(|it| (9, it.to_be_bytes().to_vec())));
        if countersigned {
            let back = self.subkey.sign(&Form::new(0x19, MADE.into(), []), &[&self.both()]);
            form.loose.push((32, back));
        }
        self.bindings = vec![self.bind(&form)];
        self
    }

    /// With the subkey withdrawn.
    pub fn revoked(mut self) -> Self {
        self.bindings.push(self.bind(&Form::new(0x28, MADE.into(), [])));
        self
    }

    /// `self`, but with the signing subkey of `other`, bound as well as it can be without its
    /// consent.
    pub fn adopting(mut self, other: &Self) -> Self {
        self.subkey = Pair::new(other.subkey.seed);
        self.rebound(true, false, None)
    }

    pub fn bind(&self, form: &Form) -> Vec<u8> {
        self.primary.sign(form, &[&self.both()])
    }

    fn both(&self) -> Vec<u8> {
        [self.primary.hashed(), self.subkey.hashed()].concat()
    }
}

/// A signature packet's body of `text`, with who made it.
pub fn sign_text(by: &Pair, text: &str, mut form: Form) -> Vec<u8> {
    form.hashed.push((33, [&[4], &by.fingerprint()[..]].concat()));
    let lines: Vec<_> = text.split('\n').map(|line| line.trim_end_matches([' ', '\t'])).collect();
    by.sign(&form, &[lines.join("\r\n").as_bytes()])
}

/// `text` with the escapes of a clear-signed one, and these signatures.
pub fn clear(text: &str, signatures: &[Vec<u8>]) -> String {
    let escaped = |line: &str| match line.starts_with('-') {
        true => format!("- {line}\n"),
        false => format!("{line}\n"),
    };
    let text: String = text.split('\n').map(escaped).collect();
    let packets: Vec<u8> = signatures.iter().flat_map(|body| packet(2, body)).collect();
    let block = armor("SIGNATURE", &packets);
    format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}{block}")
}

/// Base64 with its two lines.
pub fn armor(kind: &str, bytes: &[u8]) -> String {
    let base64 = STANDARD.encode(bytes);
    let lines: Vec<_> =
        base64.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN PGP {kind}-----\n\n{}\n-----END PGP {kind}-----\n", lines.join("\n"))
}

/// In the new form, with a length of four bytes.
pub fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[0xc0 | tag, 255][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn parts(parts: &[Part]) -> Vec<u8> {
    let one = |(typ, data): &Part| {
        [&[255][..], &(data.len() as u32 + 1).to_be_bytes(), &[*typ], data].concat()
    };
    parts.iter().flat_map(one).collect()
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let bytes = &bytes[zeros..];
    let bits = bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    [&(bits as u16).to_be_bytes()[..], bytes].concat()
}
