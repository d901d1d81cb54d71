//! Whether one signature counts: made by a pinned key that may sign, bound to its certificate,
//! neither expired nor revoked.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Tag, Timestamp};

/// How far the signer's clock may be ahead of ours.
const CLOCK_TOLERANCE: i64 = 24 * 60 * 60;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Made by somebody else.
    #[error("not a pinned key")]
    UnknownKey,
    /// The arithmetic fails.
    #[error("the text is not what this key signed")]
    BadSignature,
    /// The key's time is over.
    #[error("the key has expired")]
    KeyExpired,
    /// The owner withdrew the key.
    #[error("the key was revoked")]
    KeyRevoked,
    /// The certificate does not vouch for the key as a signing key.
    #[error("its certificate does not allow the key to sign")]
    NotASigningKey,
    /// MD5, SHA-1 and the like.
    #[error("its hash is too weak")]
    WeakHash,
    /// A signature over something else than a text, or of an unknown form.
    #[error("not a signature of a text")]
    NotOfText,
    /// It demands that we understand something which we do not.
    #[error("it has a critical part unknown to us")]
    UnknownCritical,
    /// Its own time is over, or not come.
    #[error("it is not valid at this time; is this machine's clock right?")]
    OutOfTime,
}

/// The fingerprint of the key behind a good `signature` of `text`.
pub(super) fn judge(
    certificates: &[SignedPublicKey],
    signature: &Signature,
    text: &[u8],
    now: i64,
) -> Result<String, Refusal> {
    check_form(signature, now)?;
    let mut refusal = Refusal::UnknownKey;
    for certificate in certificates {
        let primary = &certificate.primary_key;
        if names(signature, primary) {
            let verdict = primary_may_sign(certificate, now)
                .and_then(|()| signature.verify(primary, text).map_err(|_| Refusal::BadSignature));
            match verdict {
                Ok(()) => return Ok(format!("{:X}", primary.fingerprint())),
                Err(reason) => refusal = reason,
            }
        }
        for subkey in certificate.public_subkeys.iter().filter(|sub| names(signature, &sub.key)) {
            let verdict = subkey_may_sign(certificate, subkey, now).and_then(|()| {
                signature.verify(&subkey.key, text).map_err(|_| Refusal::BadSignature)
            });
            match verdict {
                Ok(()) => return Ok(format!("{:X}", subkey.key.fingerprint())),
                Err(reason) => refusal = reason,
            }
        }
    }
    Err(refusal)
}

/// Fingerprints of all keys of the ring.
pub(super) fn fingerprints(certificates: &[SignedPublicKey]) -> Vec<String> {
    let of = |certificate: &SignedPublicKey| {
        let primary = format!("{:X}", certificate.primary_key.fingerprint());
        let subkeys =
            certificate.public_subkeys.iter().map(|sub| format!("{:X}", sub.key.fingerprint()));
        std::iter::once(primary).chain(subkeys).collect::<Vec<_>>()
    };
    certificates.iter().flat_map(of).collect()
}

/// The issuer a signature names is a hint only: the arithmetic decides.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|&id| *id == key.fingerprint())
        || signature.issuer_key_id().iter().any(|&id| *id == key.legacy_key_id())
}

/// rPGP's `verify` takes any type, time and hash; a clear-signed text allows few.
fn check_form(signature: &Signature, now: i64) -> Result<(), Refusal> {
    let config = signature.config().ok_or(Refusal::NotOfText)?;
    if !matches!(config.typ(), SignatureType::Text | SignatureType::Binary) {
        return Err(Refusal::NotOfText);
    }
    if !is_strong(config.hash_alg) {
        return Err(Refusal::WeakHash);
    }
    if config.hashed_subpackets().any(is_unknown_critical) {
        return Err(Refusal::UnknownCritical);
    }
    let created = signature.created().map(seconds).ok_or(Refusal::OutOfTime)?;
    let lifetime = signature.signature_expiration_time().map(|time| i64::from(time.as_secs()));
    let expired = lifetime.is_some_and(|lifetime| lifetime > 0 && created + lifetime <= now);
    match expired || created > now.saturating_add(CLOCK_TOLERANCE) {
        true => Err(Refusal::OutOfTime),
        false => Ok(()),
    }
}

pub(super) fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

fn is_unknown_critical(part: &Subpacket) -> bool {
    use SubpacketData::{
        IntendedRecipientFingerprint, IssuerFingerprint, IssuerKeyId, PolicyURI,
        SignatureCreationTime, SignatureExpirationTime, SignersUserID,
    };
    part.is_critical
        && !matches!(
            part.data,
            SignatureCreationTime(_)
                | SignatureExpirationTime(_)
                | IssuerKeyId(_)
                | IssuerFingerprint(_)
                | SignersUserID(_)
                | PolicyURI(_)
                | IntendedRecipientFingerprint(_)
        )
}

/// The primary key's own newest word about itself: not over, not withdrawn, and signing among its
/// purposes.
fn primary_may_sign(certificate: &SignedPublicKey, now: i64) -> Result<(), Refusal> {
    let flags = primary_is_good(certificate, now)?;
    flags.sign().then_some(()).ok_or(Refusal::NotASigningKey)
}

fn primary_is_good(certificate: &SignedPublicKey, now: i64) -> Result<KeyFlags, Refusal> {
    let (key, details) = (&certificate.primary_key, &certificate.details);
    if details.revocation_signatures.iter().any(|revocation| revocation.verify_key(key).is_ok()) {
        return Err(Refusal::KeyRevoked);
    }
    // Other people's signatures fail to verify with this key, and so drop out.
    let of_users = details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(key, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(own)
    });
    let direct =
        details.direct_signatures.iter().filter(|signature| signature.verify_key(key).is_ok());
    let newest = newest(of_users.chain(direct), now).ok_or(Refusal::NotASigningKey)?;
    check_lifetime(key, newest, now)?;
    Ok(newest.key_flags())
}

/// The primary key's newest word about the subkey, which the subkey must have countersigned (else
/// anybody could adopt another's signing key).
fn subkey_may_sign(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: i64,
) -> Result<(), Refusal> {
    primary_is_good(certificate, now)?;
    let primary = &certificate.primary_key;
    let (revocations, bindings): (Vec<_>, Vec<_>) = (subkey.signatures.iter())
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
        .partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err(Refusal::KeyRevoked);
    }
    let newest = newest(bindings.into_iter(), now).ok_or(Refusal::NotASigningKey)?;
    check_lifetime(&subkey.key, newest, now)?;
    let countersigned = newest
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    match countersigned && newest.key_flags().sign() {
        true => Ok(()),
        false => Err(Refusal::NotASigningKey),
    }
}

fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>, now: i64) -> Option<&'s Signature> {
    signatures
        .filter(|signature| signature.created().is_some_and(|time| seconds(time) <= now))
        .max_by_key(|signature| signature.created().map(seconds))
}

fn check_lifetime(key: &impl KeyDetails, binding: &Signature, now: i64) -> Result<(), Refusal> {
    let lifetime = binding.key_expiration_time().map(|time| i64::from(time.as_secs()));
    let over = lifetime
        .is_some_and(|lifetime| lifetime > 0 && seconds(key.created_at()) + lifetime <= now);
    if over { Err(Refusal::KeyExpired) } else { Ok(()) }
}

fn seconds(time: Timestamp) -> i64 {
    i64::from(time.as_secs())
}
