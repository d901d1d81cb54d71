//! Signatures.

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::key::{Numbers, algorithm};
use super::{Malformed, PublicKey, Reader, new_length};

/// What a signature is of (section 5.2.1).
pub(in super::super) mod typ {
    use std::ops::RangeInclusive;

    pub(in super::super::super) const TEXT: u8 = 0x01;
    pub(in super::super::super) const CERTIFICATIONS: RangeInclusive<u8> = 0x10..=0x13;
    pub(in super::super::super) const SUBKEY: u8 = 0x18;
    pub(in super::super::super) const COUNTERSIGNED: u8 = 0x19;
    pub(in super::super::super) const DIRECT: u8 = 0x1f;
    pub(in super::super::super) const KEY_REVOKED: u8 = 0x20;
    pub(in super::super::super) const SUBKEY_REVOKED: u8 = 0x28;
}

/// Parts of a signature (section 5.2.3.7).
pub(in super::super) mod part {
    pub(in super::super::super) const CREATED: u8 = 2;
    pub(in super::super::super) const LIFETIME: u8 = 3;
    pub(in super::super::super) const KEY_LIFETIME: u8 = 9;
    pub(in super::super::super) const ISSUER: u8 = 16;
    pub(in super::super::super) const POLICY: u8 = 26;
    pub(in super::super::super) const KEY_FLAGS: u8 = 27;
    pub(in super::super::super) const SIGNERS_USER: u8 = 28;
    pub(in super::super::super) const EMBEDDED: u8 = 32;
    pub(in super::super::super) const ISSUER_FINGERPRINT: u8 = 33;
    pub(in super::super::super) const RECIPIENT: u8 = 35;
}

/// A key may sign data.
const MAY_SIGN: u8 = 0x02;

/// A signature of version 4.
#[derive(Clone, Debug)]
pub(in super::super) struct Signature {
    pub(in super::super) typ: u8,
    algorithm: u8,
    hash: u8,
    /// From the version to the last hashed part.
    hashed: Vec<u8>,
    parts: Vec<Part>,
    /// Of the digest.
    first: [u8; 2],
    value: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Part {
    typ: u8,
    critical: bool,
    is_hashed: bool,
    data: Vec<u8>,
}

impl Signature {
    /// `None`: it is of another version, which says nothing to us.
    pub(in super::super) fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(body);
        if reader.byte()? != 4 {
            return Ok(None);
        }
        let (typ, algorithm, hash) = (reader.byte()?, reader.byte()?, reader.byte()?);
        let length = reader.length(2)?;
        let mut parts = parts(reader.take(length)?, true)?;
        let hashed = body[..6 + length].to_vec();
        let length = reader.length(2)?;
        parts.extend(self::parts(reader.take(length)?, false)?);
        let first = reader.take(2)?.try_into().map_err(|_| Malformed("it is cut"))?;
        let value = match algorithm {
            algorithm::RSA | algorithm::RSA_SIGN_ONLY => reader.integer()?.to_vec(),
            algorithm::EDDSA_LEGACY => {
                let mut value = padded(reader.integer()?, 32)?;
                value.extend(padded(reader.integer()?, 32)?);
                value
            }
            algorithm::ED25519 => reader.take(64)?.to_vec(),
            _ => reader.rest().to_vec(),
        };
        reader.end()?;
        Ok(Some(Self { typ, algorithm, hash, hashed, parts, first, value }))
    }

    /// SHA-2 of 256 bits or more.
    pub(in super::super) fn has_strong_hash(&self) -> bool {
        hash(self.hash).is_some()
    }

    /// Whether a signature of this algorithm could be checked.
    pub(in super::super) const fn has_known_algorithm(&self) -> bool {
        use algorithm::{ED25519, EDDSA_LEGACY, RSA, RSA_SIGN_ONLY};
        matches!(self.algorithm, RSA | RSA_SIGN_ONLY | EDDSA_LEGACY | ED25519)
    }

    /// Seconds since 1970.
    pub(in super::super) fn created(&self) -> Option<i64> {
        self.seconds(part::CREATED)
    }

    /// Whether it is over, or not yet valid. `early`: how far its maker's clock may be ahead.
    pub(in super::super) fn is_out_of_time(&self, now: i64, early: i64) -> bool {
        let Some(created) = self.created() else { return true };
        let lifetime = self.seconds(part::LIFETIME).unwrap_or_default();
        let expired = lifetime > 0 && created + lifetime <= now;
        expired || created > now.saturating_add(early)
    }

    /// How many seconds the key lives, if not for ever.
    pub(in super::super) fn key_lifetime(&self) -> Option<i64> {
        self.seconds(part::KEY_LIFETIME).filter(|&lifetime| lifetime > 0)
    }

    /// Whether it says that the key is there to sign data.
    pub(in super::super) fn lets_sign(&self) -> bool {
        let flags = self.hashed_part(part::KEY_FLAGS).and_then(|flags| flags.first());
        flags.is_some_and(|flags| flags & MAY_SIGN != 0)
    }

    /// Signatures inside this one, wherever: they speak for themselves.
    pub(in super::super) fn embedded(&self) -> impl Iterator<Item = Self> {
        self.all(part::EMBEDDED).filter_map(|data| Self::parse(data).ok().flatten())
    }

    /// Fingerprints of who made it, as it says.
    pub(in super::super) fn issuer_fingerprints(&self) -> impl Iterator<Item = &[u8]> {
        self.all(part::ISSUER_FINGERPRINT).filter_map(|data| data.strip_prefix(&[4]))
    }

    /// Key ids of who made it, as it says.
    pub(in super::super) fn issuer_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.all(part::ISSUER)
    }

    /// What it says about its maker is a hint only: the arithmetic decides.
    pub(in super::super) fn names(&self, key: &PublicKey) -> bool {
        self.issuer_fingerprints().any(|it| it == key.fingerprint())
            || self.issuer_ids().any(|it| it == key.id())
    }

    /// Whether it must not count for who does not understand other parts than these.
    pub(in super::super) fn demands_more_than(&self, known: &[u8]) -> bool {
        self.parts.iter().any(|part| part.is_hashed && part.critical && !known.contains(&part.typ))
    }

    /// Whether `key` signed these bytes, one after the other.
    pub(in super::super) fn is_of(&self, key: &PublicKey, bytes: &[&[u8]]) -> bool {
        let Some((hash, rsa)) = hash(self.hash) else { return false };
        let Ok(length) = u32::try_from(self.hashed.len()) else { return false };
        let message =
            [&bytes.concat()[..], &self.hashed, &[4, 0xff], &length.to_be_bytes()].concat();
        let digest = digest(hash, &message);
        if self.algorithm != key.algorithm || !digest.as_ref().starts_with(&self.first) {
            return false;
        }
        match &key.numbers {
            Numbers::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                let value = padded(&self.value, modulus.len());
                value.is_ok_and(|value| key.verify(rsa, &message, &value).is_ok())
            }
            // It is the digest that is signed (sections 5.2.3.3 and 5.2.3.4).
            Numbers::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(digest.as_ref(), &self.value).is_ok()
            }
            Numbers::Unknown => false,
        }
    }

    /// Whether `key` says this about itself.
    pub(in super::super) fn is_of_key(&self, key: &PublicKey) -> bool {
        self.is_of(key, &[&key.hashed])
    }

    /// Whether `key` says that it is this user's.
    pub(in super::super) fn is_of_user(&self, key: &PublicKey, user: &[u8]) -> bool {
        let Ok(length) = u32::try_from(user.len()) else { return false };
        self.is_of(key, &[&key.hashed, &[0xb4], &length.to_be_bytes(), user])
    }

    /// Whether `by`, which is one of the two, says this about a primary key and its subkey.
    pub(in super::super) fn is_of_both(
        &self,
        by: &PublicKey,
        primary: &PublicKey,
        subkey: &PublicKey,
    ) -> bool {
        self.is_of(by, &[&primary.hashed, &subkey.hashed])
    }

    fn seconds(&self, typ: u8) -> Option<i64> {
        let data = self.hashed_part(typ)?;
        <[u8; 4]>::try_from(data).ok().map(|bytes| i64::from(u32::from_be_bytes(bytes)))
    }

    /// Only what is hashed is said by who signed.
    fn hashed_part(&self, typ: u8) -> Option<&[u8]> {
        let part = self.parts.iter().find(|part| part.is_hashed && part.typ == typ);
        part.map(|part| part.data.as_slice())
    }

    fn all(&self, typ: u8) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter(move |part| part.typ == typ).map(|part| part.data.as_slice())
    }
}

fn hash(number: u8) -> Option<(&'static Algorithm, &'static RsaParameters)> {
    match number {
        8 => Some((&SHA256, &RSA_PKCS1_2048_8192_SHA256)),
        9 => Some((&SHA384, &RSA_PKCS1_2048_8192_SHA384)),
        10 => Some((&SHA512, &RSA_PKCS1_2048_8192_SHA512)),
        _ => None,
    }
}

/// With leading zeros.
fn padded(number: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let zeros = length.checked_sub(number.len()).ok_or(Malformed("a number is too long"))?;
    Ok([&vec![0; zeros], number].concat())
}

fn parts(bytes: &[u8], is_hashed: bool) -> Result<Vec<Part>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut parts: Vec<Part> = Vec::new();
    while !reader.is_empty() {
        let length = part_length(&mut reader)?;
        let (first, data) =
            reader.take(length)?.split_first().ok_or(Malformed("a part is empty"))?;
        let (typ, critical, data) = (first & 0x7f, first & 0x80 != 0, data.to_vec());
        let times = [part::CREATED, part::LIFETIME, part::KEY_LIFETIME];
        if times.contains(&typ) && data.len() != 4 {
            return Err(Malformed("a time is none"));
        }
        let once = times.contains(&typ) || typ == part::KEY_FLAGS;
        if once && parts.iter().any(|part| part.typ == typ) {
            return Err(Malformed("it says something twice"));
        }
        parts.push(Part { typ, critical, is_hashed, data });
    }
    Ok(parts)
}

/// As of a packet, but that 224 to 254 begin two bytes, too (section 5.2.3.7).
fn part_length(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let mut ahead = Reader::new(reader.0);
    match ahead.byte()? {
        high @ 224..=254 => {
            reader.byte()?;
            Ok(((usize::from(high) - 192) << 8) + reader.length(1)? + 192)
        }
        _ => new_length(reader),
    }
}
