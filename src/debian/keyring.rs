//! Who may sign an archive: pinned OpenPGP certificates, and the check of a clear-signed index
//! against them.
//!
//! ```text
//! -----BEGIN PGP SIGNED MESSAGE-----
//! Hash: SHA256
//!                                      (empty line)
//! text, lines starting with "-" escaped as "- -"
//! -----BEGIN PGP SIGNATURE-----
//! base64 of one or more signature packets
//! -----END PGP SIGNATURE-----
//! ```
//!
//! Source: RFC 9580, sections 5.2 and 7. Invariants: the text handed out is the text that was
//! hashed, never the file's own bytes; nothing stands before, after or between the parts; one good
//! signature by a pinned, unexpired, unrevoked signing key is needed and enough.
//! [`openpgp`](super::openpgp) checks single signatures; which key counts, and when, is decided
//! here.

mod signer;

use super::openpgp::{Certificate, Malformed, Signature, dearmor, packets, tag};
use crate::lock::DebArchive;

pub use signer::Refusal;

/// The keys that sign trixie and trixie-updates, and the one that signs trixie-security, as in Debian's own
/// `debian-archive-keyring`.
const DEBIAN: [(DebArchive, &str); 3] = [
    (DebArchive::Debian, include_str!("../../keys/debian-archive-trixie-automatic.asc")),
    (
        DebArchive::DebianSecurity,
        include_str!("../../keys/debian-archive-trixie-security-automatic.asc"),
    ),
    (DebArchive::Debian, include_str!("../../keys/debian-archive-trixie-stable.asc")),
];

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";
const BEGIN_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END_KEY: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Checking one is slow enough that a file must not ask for thousands.
const MAX_SIGNATURES: usize = 16;

/// Pinned certificates, and what each may sign: a key that got into wrong hands gives away one archive only.
#[derive(Clone, Debug)]
pub struct Keyring {
    certificates: Vec<Certificate>,
    /// Of each; `None`: anything.
    signs: Vec<Option<DebArchive>>,
}

/// A message that was signed by a pinned key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed text, with `\n` line ends.
    pub text: String,
    /// Fingerprint of the key that signed it.
    pub signer: String,
}

/// Why a message or a keyring is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A certificate of the keyring itself.
    #[error("reading certificate {number} of the archive keyring: {problem}")]
    Certificate {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Not one clear-signed message and nothing else.
    #[error("it is not one clear-signed message: {0}")]
    NotClearSigned(String),
    /// No signature counts.
    #[error(
        "no pinned key signed it. Its signatures: {}; pinned keys: {}",
        list(.found), .pinned.join(", ")
    )]
    NoGoodSignature {
        /// Key ids of the signatures, and what is wrong with each.
        found: Vec<(String, Refusal)>,
        /// Fingerprints of the keyring's signing keys.
        pinned: Vec<String>,
    },
}

fn list(found: &[(String, Refusal)]) -> String {
    let one = |(key, refusal): &(String, Refusal)| format!("{key} ({refusal})");
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Keyring {
    /// The keys of Debian 13 (trixie) that this program carries.
    pub fn debian() -> Result<Self, KeyringError> {
        let ring = Self::from_armored(&DEBIAN.map(|(_, text)| text))?;
        Ok(Self { signs: DEBIAN.map(|(archive, _)| Some(archive)).into(), ..ring })
    }

    /// The keys that may sign the indexes of an archive.
    #[must_use]
    pub fn of(&self, archive: DebArchive) -> Self {
        let both = self.certificates.iter().zip(&self.signs);
        let may = both.filter(|(_, signs)| signs.is_none_or(|signs| signs == archive));
        let (certificates, signs) = may.map(|(it, signs)| (it.clone(), *signs)).unzip();
        Self { certificates, signs }
    }

    /// The same keys, for one archive only.
    #[must_use]
    pub fn only(self, archive: DebArchive) -> Self {
        let signs = vec![Some(archive); self.certificates.len()];
        Self { signs, ..self }
    }

    /// The keys of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.certificates.extend(other.certificates);
        self.signs.extend(other.signs);
        self
    }

    /// Reads ASCII-armoured certificates, one each.
    pub fn from_armored(texts: &[&str]) -> Result<Self, KeyringError> {
        let read = |(number, text): (usize, &&str)| {
            let bytes = dearmor(text, BEGIN_KEY, END_KEY);
            match bytes.and_then(|bytes| Certificate::parse(&bytes)) {
                Ok(mut found) if found.len() == 1 => Ok(found.remove(0)),
                Ok(_) => Err(KeyringError::Certificate { number, problem: "not one".to_owned() }),
                Err(Malformed(why)) => {
                    Err(KeyringError::Certificate { number, problem: why.to_owned() })
                }
            }
        };
        let certificates: Vec<_> = (1..).zip(texts).map(read).collect::<Result<_, _>>()?;
        let signs = vec![None; certificates.len()];
        Ok(Self { certificates, signs })
    }

    /// The text of a clear-signed `message`, if a key of this ring that is good at `now` (seconds
    /// since 1970) signed it.
    pub fn verify(&self, message: &[u8], now: i64) -> Result<Verified, KeyringError> {
        let framed = check_frame(message).map_err(KeyringError::NotClearSigned)?;
        let (text, block) = split(framed).map_err(KeyringError::NotClearSigned)?;
        let malformed = |Malformed(why): Malformed| {
            KeyringError::NotClearSigned(format!("its signature block: {why}"))
        };
        let bytes = dearmor(block, BEGIN_SIGNATURE, END_SIGNATURE).map_err(malformed)?;
        let packets = packets(&bytes).map_err(malformed)?;
        if packets.iter().any(|packet| packet.0 != tag::SIGNATURE) {
            return Err(malformed(Malformed("it has something else than signatures")));
        }
        if !(1..=MAX_SIGNATURES).contains(&packets.len()) {
            let problem = format!("{} signatures, expected 1 to {MAX_SIGNATURES}", packets.len());
            return Err(KeyringError::NotClearSigned(problem));
        }
        let signed = text.replace('\n', "\r\n");
        let mut found = Vec::new();
        let signatures: Result<Vec<_>, _> =
            packets.iter().map(|(_, body)| Signature::parse(body)).collect();
        for signature in signatures.map_err(malformed)? {
            let Some(signature) = signature else {
                found.push((UNNAMED.to_owned(), Refusal::NotOfText));
                continue;
            };
            match signer::judge(&self.certificates, &signature, signed.as_bytes(), now) {
                Ok(signer) => return Ok(Verified { text, signer }),
                Err(refusal) => found.push((issuer(&signature), refusal)),
            }
        }
        Err(KeyringError::NoGoodSignature {
            found,
            pinned: signer::fingerprints(&self.certificates),
        })
    }
}

const UNNAMED: &str = "an unnamed key";

/// What the signature says about its key, for people.
fn issuer(signature: &Signature) -> String {
    let id = signature.issuer_fingerprints().chain(signature.issuer_ids()).next();
    id.map_or_else(|| UNNAMED.to_owned(), hex)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The text that is signed, and the block of signatures. In the text escapes are undone, blanks at the ends of lines are gone
/// (they are not hashed, so they say nothing), as is the last line's end, which is not its own.
fn split(framed: &str) -> Result<(String, &str), String> {
    let at = framed.rfind(BEGIN_SIGNATURE).ok_or("no signature in it")?;
    let (message, block) = framed.split_at(at);
    let (headers, text) = message.split_once("\n\n").ok_or("no empty line before its text")?;
    let mut headers = headers.lines();
    _ = headers.next();
    if let Some(other) = headers.find(|header| !header.starts_with("Hash: ")) {
        return Err(format!("an unknown header: {}", other.escape_debug()));
    }
    let text = text.strip_suffix('\n').ok_or("its text does not end with a line's end")?;
    let line = |line: &str| {
        let line = line.strip_prefix("- ").unwrap_or(line);
        line.trim_end_matches([' ', '\t']).to_owned()
    };
    Ok((text.split('\n').map(line).collect::<Vec<_>>().join("\n"), block))
}

/// Refuses everything that readers of such files could understand in two ways.
fn check_frame(message: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(message).map_err(|error| error.to_string())?;
    if let Some(odd) = text.chars().find(|&c| c.is_control() && c != '\n' && c != '\t') {
        return Err(format!("control character {odd:?}"));
    }
    let dashed: Vec<&str> = text.lines().filter(|line| is_dashed(line)).collect();
    match dashed[..] {
        [BEGIN_MESSAGE, BEGIN_SIGNATURE, END_SIGNATURE] => {}
        [] => return Err("no signature in it".to_owned()),
        _ => return Err(format!("unexpected armour lines: {}", dashed.join(" / ").escape_debug())),
    }
    if !text.starts_with(BEGIN_MESSAGE) {
        return Err("text before the signed part".to_owned());
    }
    match text.trim_end_matches('\n').ends_with(END_SIGNATURE) {
        true => Ok(text),
        false => Err("text after the signature".to_owned()),
    }
}

/// A line that must be armour, as the text's own would be escaped.
fn is_dashed(line: &str) -> bool {
    line.starts_with('-') && !line.starts_with("- ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
