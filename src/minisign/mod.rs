//! Keys and signatures in the formats of minisign (<https://jedisct1.github.io/minisign/>), so that its programs can
//! make and check ours, and the other way round.
//!
//! All three files are a line of comment and a line of base64, a signature two of each:
//!
//! ```text
//! public key   "Ed"  key id (8 bytes)  Ed25519 public key (32)
//! secret key   "Ed"  0 0  "B2"  zeros (48)  key id (8)  Ed25519 seed (32), public key (32)  checksum (32)
//! signature    "ED"  key id (8)  Ed25519 signature of the BLAKE2b-512 of what is signed (64)
//!              then, of that signature and the trusted comment together, another (64)
//! ```
//!
//! The secret key is the form without a password (`minisign -G -W`): the file's mode protects it. What is signed is hashed
//! first, always; signatures of the older kind are not taken. The Ed25519 and BLAKE2b are those that checking Debian's
//! signatures brings along anyway.

mod file;
mod signature;

pub use file::{KeyError, KeyFile};
pub use signature::{Signature, SignatureError};

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

const KEY: &[u8] = b"Ed";
const CHECKSUM: &[u8] = b"B2";
const NO_PASSWORD: &[u8] = &[0, 0];
/// Bytes of a secret key, as written.
const SECRET: usize = 158;

/// Names a key; how its file is found among several. Chance made it, it proves nothing.
pub type KeyId = [u8; 8];

/// Whoever has it can check signatures; written `RW...`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: VerifyingKey,
}

/// A text is no public key of minisign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a public key of minisign: 56 characters that begin with \"RW\"")]
pub struct NotAKey;

impl PublicKey {
    /// Reads `RW...`, and nothing else.
    ///
    /// # Errors
    /// It is none, or its point is not on the curve.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey)?;
        let rest = bytes.strip_prefix(KEY).ok_or(NotAKey)?;
        let (id, key) = rest.split_first_chunk::<8>().ok_or(NotAKey)?;
        let key = key.try_into().map_err(|_| NotAKey)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| NotAKey)?;
        // Anybody can sign for such a key.
        if key.is_weak() { Err(NotAKey) } else { Ok(Self { id: *id, key }) }
    }

    /// Reads the file that minisign makes, or `RW...` alone.
    ///
    /// # Errors
    /// It is none.
    pub fn parse_file(text: &str) -> Result<Self, NotAKey> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().ok_or(NotAKey)?;
        let key = if first.starts_with("untrusted comment:") { lines.next() } else { Some(first) };
        match lines.next() {
            None => Self::parse(key.unwrap_or_default().trim()),
            Some(_) => Err(NotAKey),
        }
    }

    /// Whether the key made this signature of these very bytes: for formats that are not minisign's.
    pub fn verify_plain(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(bytes, &signature).is_ok()
    }

    /// Its number, as minisign shows it.
    pub fn number(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.id))
    }

    /// The file that minisign reads with `-p`.
    pub fn to_file(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{self}\n", self.number())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode([KEY, &self.id, self.key.as_bytes()].concat()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whoever has it can sign. It does not show itself.
pub struct SecretKey {
    id: KeyId,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// A text is no secret key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASecretKey {
    /// Or it was cut, or changed.
    #[error("it is not a secret key of minisign, or damaged")]
    Damaged,
    /// minisign's usual form.
    #[error("it is protected by a password; `minisign -C -W -s FILE` takes that off")]
    Password,
}

impl SecretKey {
    /// A new one, by the operating system's chance.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        let (mut id, mut seed) = (KeyId::default(), [0; 32]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut seed)?;
        Ok(Self { id, key: SigningKey::from_bytes(&seed) })
    }

    /// The half that others may have.
    pub fn public(&self) -> PublicKey {
        PublicKey { id: self.id, key: self.key.verifying_key() }
    }

    /// Reads the two lines of a file.
    ///
    /// # Errors
    /// It is none, or has a password.
    pub fn parse(file: &str) -> Result<Self, NotASecretKey> {
        let line = file.lines().nth(1).ok_or(NotASecretKey::Damaged)?;
        let bytes = STANDARD.decode(line.trim()).map_err(|_| NotASecretKey::Damaged)?;
        let bytes: [u8; SECRET] = bytes.try_into().map_err(|_| NotASecretKey::Damaged)?;
        if &bytes[..2] != KEY || &bytes[4..6] != CHECKSUM {
            return Err(NotASecretKey::Damaged);
        }
        if &bytes[2..4] != NO_PASSWORD {
            return Err(NotASecretKey::Password);
        }
        // The checksum is that of the form with a password; minisign itself looks at it only there. That the public
        // half belongs to the seed says more.
        let id = bytes[54..62].try_into().map_err(|_| NotASecretKey::Damaged)?;
        let pair = bytes[62..126].try_into().map_err(|_| NotASecretKey::Damaged)?;
        let key = SigningKey::from_keypair_bytes(pair).map_err(|_| NotASecretKey::Damaged)?;
        Ok(Self { id, key })
    }

    /// The file; secret.
    fn to_file(&self) -> String {
        let pair = self.key.to_keypair_bytes();
        let sum = Blake2b::<U32>::digest([KEY, &self.id, &pair].concat());
        let all = [KEY, NO_PASSWORD, CHECKSUM, &[0; 48], &self.id, &pair, &sum].concat();
        let comment = "untrusted comment: chatimg owner's secret key, keep it to yourself";
        format!("{comment}\n{}\n", STANDARD.encode(all))
    }

    /// Signs bytes as they are: for formats that are not minisign's, and say themselves what they are.
    pub fn sign_plain(&self, bytes: &[u8]) -> [u8; 64] {
        self.sign_bytes(bytes)
    }

    fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        // Of minisign's own page.
        let text = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let key = PublicKey::parse(text).expect("a key");
        assert_eq!((key.to_string().as_str(), key.number().as_str()), (text, "E7620F1842B4E81F"));
        for file in [key.to_file(), text.to_owned(), format!("{text}\n")] {
            assert_eq!(PublicKey::parse_file(&file), Ok(key), "{file}");
        }
        assert_eq!(PublicKey::parse_file(&format!("{text}\n{text}\n")), Err(NotAKey));
        for bad in [
            "",
            "RW",
            &text[1..],
            &text[..55],
            &format!("{text}A"),
            &format!(" {text}"),
            &format!("{text}\n"),
            &text.replacen("RW", "RU", 1),
        ] {
            assert_eq!(PublicKey::parse(bad), Err(NotAKey), "{bad}");
        }
    }

    #[test]
    fn a_key_that_anybody_can_sign_for_is_none() {
        // The neutral point of the curve.
        let weak = [KEY, &[7; 8], &[1], &[0; 31]].concat();
        assert_eq!(PublicKey::parse(&STANDARD.encode(weak)), Err(NotAKey));
    }

    #[test]
    fn a_secret_key_is_read_as_it_is_written() {
        let key = SecretKey::new().expect("chance");
        let file = key.to_file();
        let read = SecretKey::parse(&file).expect("a key");
        assert_eq!(read.public(), key.public());
        assert!(!format!("{key:?}").contains(file.lines().nth(1).expect("a key")));
        assert_ne!(SecretKey::new().expect("chance").public(), key.public());
    }

    #[test]
    fn other_secret_keys_are_refused() {
        let file = SecretKey::new().expect("chance").to_file();
        let line = file.lines().nth(1).expect("the key");
        let mut bytes = STANDARD.decode(line).expect("base64");
        let text = |bytes: &[u8]| format!("untrusted comment: x\n{}\n", STANDARD.encode(bytes));
        let error = |file: &str| SecretKey::parse(file).expect_err("refused");
        assert_eq!(error(&text(&bytes[1..])), NotASecretKey::Damaged);
        assert_eq!(error(line), NotASecretKey::Damaged);
        bytes[100] ^= 1;
        assert_eq!(
            error(&text(&bytes)),
            NotASecretKey::Damaged,
            "the halves do not belong together"
        );
        bytes[2..4].copy_from_slice(b"Sc");
        assert_eq!(error(&text(&bytes)), NotASecretKey::Password);
    }
}
