//! Keys and certificates.

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{Malformed, Reader, Signature, packets, tag, typ};

/// 1.3.6.1.4.1.11591.15.1
const ED25519_CURVE: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// Algorithms of keys (section 9.1).
pub(super) mod algorithm {
    pub(in super::super) const RSA: u8 = 1;
    pub(in super::super) const RSA_SIGN_ONLY: u8 = 3;
    pub(in super::super) const EDDSA_LEGACY: u8 = 22;
    pub(in super::super) const ED25519: u8 = 27;
}

/// A public key of version 4.
#[derive(Clone)]
pub(in super::super) struct PublicKey {
    pub(super) algorithm: u8,
    pub(super) numbers: Numbers,
    /// Seconds since 1970.
    pub(in super::super) created: i64,
    /// The packet's body as a signature's hash takes it.
    pub(super) hashed: Vec<u8>,
    fingerprint: [u8; 20],
}

#[derive(Clone)]
pub(super) enum Numbers {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    Ed25519([u8; 32]),
    /// Of other algorithms, whose signatures are refused.
    Unknown,
}

impl PublicKey {
    pub(in super::super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if reader.byte()? != 4 {
            return Err(Malformed("its key is not of version 4"));
        }
        let created = i64::from(reader.number(4)?);
        let algorithm = reader.byte()?;
        let numbers = match algorithm {
            algorithm::RSA | algorithm::RSA_SIGN_ONLY => Numbers::Rsa {
                modulus: reader.integer()?.to_vec(),
                exponent: reader.integer()?.to_vec(),
            },
            algorithm::EDDSA_LEGACY => {
                let length = reader.length(1)?;
                let curve = reader.take(length)?;
                let point = reader.integer()?;
                match (curve, point.strip_prefix(&[0x40]).map(<[u8; 32]>::try_from)) {
                    (ED25519_CURVE, Some(Ok(point))) => Numbers::Ed25519(point),
                    (ED25519_CURVE, _) => return Err(Malformed("its point is none")),
                    _ => Numbers::Unknown,
                }
            }
            algorithm::ED25519 => Numbers::Ed25519(
                reader.take(32)?.try_into().map_err(|_| Malformed("its point is none"))?,
            ),
            _ => {
                reader.rest();
                Numbers::Unknown
            }
        };
        reader.end()?;
        let length = u16::try_from(body.len()).map_err(|_| Malformed("its key is too long"))?;
        let hashed = [&[0x99], &length.to_be_bytes()[..], body].concat();
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed);
        let fingerprint = fingerprint.as_ref().try_into().expect("SHA-1 has 20 bytes");
        Ok(Self { algorithm, numbers, created, hashed, fingerprint })
    }

    /// A name only: SHA-1 does not keep it from being another key's, too.
    pub(in super::super) const fn fingerprint(&self) -> &[u8; 20] {
        &self.fingerprint
    }

    /// Its last eight bytes.
    pub(in super::super) fn id(&self) -> &[u8] {
        &self.fingerprint[12..]
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A primary key, what it says about itself and its subkeys, and what others say.
#[derive(Clone, Debug)]
pub(in super::super) struct Certificate {
    pub(in super::super) primary: PublicKey,
    /// Of the key alone.
    pub(in super::super) direct: Vec<Signature>,
    /// Names, with the signatures of each.
    pub(in super::super) users: Vec<(Vec<u8>, Vec<Signature>)>,
    pub(in super::super) subkeys: Vec<Subkey>,
}

/// A key that a certificate speaks for.
#[derive(Clone, Debug)]
pub(in super::super) struct Subkey {
    pub(in super::super) key: PublicKey,
    pub(in super::super) signatures: Vec<Signature>,
}

impl Certificate {
    /// Reads one certificate or several. Signatures of other versions are left out, as they could not count.
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut certificates: Vec<Self> = Vec::new();
        // Where signatures belong to: nothing of what is said of an attribute (a picture) counts.
        let mut attribute = Vec::new();
        let mut at = tag::KEY;
        for (tag, body) in packets(bytes)? {
            if tag == tag::KEY {
                let primary = PublicKey::parse(body)?;
                let (direct, users, subkeys) = (Vec::new(), Vec::new(), Vec::new());
                certificates.push(Self { primary, direct, users, subkeys });
                at = tag;
                continue;
            }
            let last = certificates.last_mut().ok_or(Malformed("it begins with no key"))?;
            match tag {
                tag::USER => last.users.push((body.to_vec(), Vec::new())),
                tag::SUBKEY => {
                    let key = PublicKey::parse(body)?;
                    last.subkeys.push(Subkey { key, signatures: Vec::new() });
                }
                tag::ATTRIBUTE => {}
                tag::SIGNATURE => {
                    let signatures = match at {
                        tag::KEY => &mut last.direct,
                        tag::USER => &mut last.users.last_mut().expect("it was pushed").1,
                        tag::SUBKEY => &mut last.subkeys.last_mut().expect("so was it").signatures,
                        _ => &mut attribute,
                    };
                    signatures.extend(Signature::parse(body)?);
                    continue;
                }
                _ => return Err(Malformed("it has a packet that is no part of a certificate")),
            }
            at = tag;
        }
        Ok(certificates)
    }
}

impl Subkey {
    /// What is said about it, by type.
    pub(in super::super) fn said(&self, typ: u8) -> impl Iterator<Item = &Signature> {
        self.signatures.iter().filter(move |signature| signature.typ == typ)
    }
}

impl Certificate {
    /// What the key says about itself alone, by type.
    pub(in super::super) fn said(&self, typ: u8) -> impl Iterator<Item = &Signature> {
        self.direct.iter().filter(move |signature| signature.typ == typ)
    }

    /// What is said about its names.
    pub(in super::super) fn certifications(&self) -> impl Iterator<Item = (&[u8], &Signature)> {
        self.users.iter().flat_map(|(user, signatures)| {
            let certify = |signature: &&Signature| typ::CERTIFICATIONS.contains(&signature.typ);
            signatures.iter().filter(certify).map(|signature| (user.as_slice(), signature))
        })
    }
}
