//! Signatures.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use ed25519_dalek::Signature as Raw;

use super::{KeyId, PublicKey, SecretKey};

const HASHED: &[u8] = b"ED";
const COMMENT: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

/// A signature of some bytes, and of a comment.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    id: KeyId,
    bytes: [u8; 64],
    comment: String,
    global: [u8; 64],
}

/// A signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Or it was cut.
    #[error("it is not a signature of minisign")]
    Damaged,
    /// It cannot be of a large file's hash.
    #[error("it is a signature of minisign's old kind; sign with -H")]
    Legacy,
    /// Another key made it.
    #[error("another key made it")]
    Key,
    /// Or its comment.
    #[error("what it signs was changed")]
    Wrong,
}

impl SecretKey {
    /// Signs bytes together with a comment of one line.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Signature {
        let comment: String =
            comment.chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c }).collect();
        let bytes = self.sign_bytes(&Blake2b512::digest(bytes));
        let global = self.sign_bytes(&[&bytes, comment.as_bytes()].concat());
        Signature { id: self.id, bytes, comment, global }
    }
}

impl Signature {
    /// Reads the four lines of a file.
    ///
    /// # Errors
    /// It is none, or of the old kind.
    pub fn parse(file: &str) -> Result<Self, SignatureError> {
        let mut lines = file.lines();
        let mut line = || lines.next().ok_or(SignatureError::Damaged);
        let decode = |line: &str| STANDARD.decode(line).map_err(|_| SignatureError::Damaged);
        if !line()?.starts_with(COMMENT) {
            return Err(SignatureError::Damaged);
        }
        let first = decode(line()?)?;
        let comment = line()?.strip_prefix(TRUSTED).ok_or(SignatureError::Damaged)?.to_owned();
        let global = decode(line()?)?.try_into().map_err(|_| SignatureError::Damaged)?;
        if first.starts_with(b"Ed") {
            return Err(SignatureError::Legacy);
        }
        let rest = first.strip_prefix(HASHED).ok_or(SignatureError::Damaged)?;
        let (id, bytes) = rest.split_first_chunk().ok_or(SignatureError::Damaged)?;
        let bytes = bytes.try_into().map_err(|_| SignatureError::Damaged)?;
        Ok(Self { id: *id, bytes, comment, global })
    }

    /// Checks that `key` signed exactly these bytes, and the comment.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, bytes: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
        if self.id != key.id {
            return Err(SignatureError::Key);
        }
        let holds = |bytes: &[u8], signature: &[u8; 64]| {
            let strict = key.key.verify_strict(bytes, &Raw::from_bytes(signature));
            strict.map_err(|_| SignatureError::Wrong)
        };
        holds(&Blake2b512::digest(bytes), &self.bytes)?;
        holds(&[&self.bytes, self.comment.as_bytes()].concat(), &self.global)
    }

    /// What was signed beside the bytes; not to be believed before [`Signature::verify`].
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

/// The file's text.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{COMMENT}signature from chatimg owner's key")?;
        writeln!(f, "{}", STANDARD.encode([HASHED, &self.id, &self.bytes].concat()))?;
        writeln!(f, "{TRUSTED}{}", self.comment)?;
        writeln!(f, "{}", STANDARD.encode(self.global))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By minisign itself: the test vector of the crate minisign-verify.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const HASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1556193335\tfile:test\n\
        y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==";

    #[test]
    fn what_minisign_signed_holds() {
        let key = PublicKey::parse(KEY).expect("a key");
        let signature = Signature::parse(HASHED).expect("a signature");
        assert_eq!(signature.verify(b"test", &key), Ok(()));
        assert_eq!(signature.comment(), "timestamp:1556193335\tfile:test");
        assert_eq!(signature.verify(b"Test", &key), Err(SignatureError::Wrong));
        let other = HASHED.replace("file:test", "file:tost");
        let other = Signature::parse(&other).expect("a signature");
        assert_eq!(other.verify(b"test", &key), Err(SignatureError::Wrong), "the comment");
        // Only the first line is free.
        assert_eq!(
            signature.to_string().lines().skip(1).collect::<Vec<_>>().join("\n"),
            HASHED.lines().skip(1).collect::<Vec<_>>().join("\n")
        );
    }

    #[test]
    fn what_is_signed_here_holds_for_this_key_alone() {
        let key = SecretKey::new().expect("chance");
        let text = key.sign(b"bytes", "two\nlines").to_string();
        let signature = Signature::parse(&text).expect("a signature");
        assert_eq!(signature.comment(), "two lines");
        assert_eq!(signature.verify(b"bytes", &key.public()), Ok(()));
        let other = SecretKey::new().expect("chance").public();
        assert_eq!(signature.verify(b"bytes", &other), Err(SignatureError::Key));
        let disguised = PublicKey { id: key.public().id, ..other };
        assert_eq!(signature.verify(b"bytes", &disguised), Err(SignatureError::Wrong));
        assert_eq!(text, key.sign(b"bytes", "two\nlines").to_string(), "no chance in it");
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let lines: Vec<&str> = HASHED.lines().collect();
        let old = HASHED.replacen("RUQf", "RWQf", 1);
        assert_eq!(Signature::parse(&old), Err(SignatureError::Legacy));
        for bad in [
            "",
            &lines[1..].join("\n"),
            &lines[..3].join("\n"),
            &HASHED.replacen("RUQf", "QUQf", 1),
            &HASHED.replace("trusted comment: time", "comment: time"),
            &HASHED.replace("EBg==", ""),
        ] {
            assert_eq!(Signature::parse(bad), Err(SignatureError::Damaged), "{bad}");
        }
    }
}
