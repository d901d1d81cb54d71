//! Whether one signature counts: made by a pinned key that may sign, bound to its certificate,
//! neither expired nor revoked.

use super::hex;
use crate::debian::openpgp::{Certificate, PublicKey, Signature, Subkey, part, typ};

/// How far the signer's clock may be ahead of ours.
const CLOCK_TOLERANCE: i64 = 24 * 60 * 60;

/// Parts of a signature of a text that we understand: all others make it void if they are critical.
const OF_TEXTS: [u8; 7] = [
    part::CREATED,
    part::LIFETIME,
    part::ISSUER,
    part::ISSUER_FINGERPRINT,
    part::SIGNERS_USER,
    part::POLICY,
    part::RECIPIENT,
];

/// The same of what a key says about itself and its subkeys: besides times, purposes and makers what it prefers to get, its
/// server, who else may revoke it, and whether this may be passed on or withdrawn; none of that gives a key more rights.
const OF_KEYS: [u8; 19] = [2, 3, 4, 7, 9, 11, 12, 16, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32, 33];

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
    /// MD5, SHA-1 and the like, or a new one.
    #[error("its hash is too weak, or unknown to us")]
    WeakHash,
    /// Of another kind than RSA and Ed25519.
    #[error("its algorithm is unknown to us")]
    UnknownAlgorithm,
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
    certificates: &[Certificate],
    signature: &Signature,
    text: &[u8],
    now: i64,
) -> Result<String, Refusal> {
    check_form(signature, now)?;
    let mut refusal = Refusal::UnknownKey;
    let mut check = |key: &PublicKey, may_sign: &dyn Fn() -> Result<(), Refusal>| {
        let good = || signature.created() >= Some(key.created) && signature.is_of(key, &[text]);
        if !signature.names(key) {
            return None;
        }
        match may_sign().and_then(|()| if good() { Ok(()) } else { Err(Refusal::BadSignature) }) {
            Ok(()) => Some(hex(key.fingerprint())),
            Err(reason) => {
                refusal = reason;
                None
            }
        }
    };
    for certificate in certificates {
        let primary = check(&certificate.primary, &|| primary_may_sign(certificate, now));
        let mut subkeys = certificate.subkeys.iter();
        let subkey =
            || subkeys.find_map(|it| check(&it.key, &|| subkey_may_sign(certificate, it, now)));
        if let Some(fingerprint) = primary.or_else(subkey) {
            return Ok(fingerprint);
        }
    }
    Err(refusal)
}

/// Fingerprints of all keys of the ring.
pub(super) fn fingerprints(certificates: &[Certificate]) -> Vec<String> {
    let of = |certificate: &Certificate| {
        let primary = hex(certificate.primary.fingerprint());
        let subkeys = certificate.subkeys.iter().map(|sub| hex(sub.key.fingerprint()));
        std::iter::once(primary).chain(subkeys).collect::<Vec<_>>()
    };
    certificates.iter().flat_map(of).collect()
}

/// A clear-signed text allows few types, times and hashes.
fn check_form(signature: &Signature, now: i64) -> Result<(), Refusal> {
    if signature.typ != typ::TEXT {
        return Err(Refusal::NotOfText);
    }
    if !signature.has_strong_hash() {
        return Err(Refusal::WeakHash);
    }
    if !signature.has_known_algorithm() {
        return Err(Refusal::UnknownAlgorithm);
    }
    if signature.demands_more_than(&OF_TEXTS) {
        return Err(Refusal::UnknownCritical);
    }
    match signature.is_out_of_time(now, CLOCK_TOLERANCE) {
        true => Err(Refusal::OutOfTime),
        false => Ok(()),
    }
}

/// The primary key's own newest word about itself: not over, not withdrawn, and signing among its
/// purposes.
fn primary_may_sign(certificate: &Certificate, now: i64) -> Result<(), Refusal> {
    let newest = primary_is_good(certificate, now)?;
    newest.lets_sign().then_some(()).ok_or(Refusal::NotASigningKey)
}

fn primary_is_good(certificate: &Certificate, now: i64) -> Result<&Signature, Refusal> {
    let key = &certificate.primary;
    let mut revocations = certificate.said(typ::KEY_REVOKED);
    if revocations.any(|it| is_unreadable_word_of(it, key) || it.is_of_key(key)) {
        return Err(Refusal::KeyRevoked);
    }
    // Other people's signatures fail to verify with this key, and so drop out.
    let certified = certificate.certifications().filter(|(user, it)| it.is_of_user(key, user));
    let certified = newest(certified.map(|(_, it)| it), key, now)?;
    let direct = newest(certificate.said(typ::DIRECT).filter(|it| it.is_of_key(key)), key, now)?;
    // One may leave out what the other one says; both must let it live.
    for said in certified.iter().chain(&direct) {
        check_lifetime(key, said, now)?;
    }
    let newest = certified.into_iter().chain(direct).max_by_key(|it| it.created());
    newest.ok_or(Refusal::NotASigningKey)
}

/// The primary key's newest word about the subkey, which the subkey must have countersigned (else
/// anybody could adopt another's signing key).
fn subkey_may_sign(certificate: &Certificate, sub: &Subkey, now: i64) -> Result<(), Refusal> {
    primary_is_good(certificate, now)?;
    let (primary, key) = (&certificate.primary, &sub.key);
    let is_own = |it: &Signature| it.is_of_both(primary, primary, key);
    if sub.said(typ::SUBKEY_REVOKED).any(|it| is_unreadable_word_of(it, primary) || is_own(it)) {
        return Err(Refusal::KeyRevoked);
    }
    let bindings = sub.said(typ::SUBKEY).filter(|it| is_own(it));
    let newest = newest(bindings, key, now)?.ok_or(Refusal::NotASigningKey)?;
    check_lifetime(key, newest, now)?;
    let countersigned = newest.embedded().any(|back| {
        back.typ == typ::COUNTERSIGNED
            && is_in_time(&back, key, now)
            && back.is_of_both(key, primary, key)
    });
    match countersigned && newest.lets_sign() {
        true => Ok(()),
        false => Err(Refusal::NotASigningKey),
    }
}

/// A revocation that we cannot check is taken for a good one, as it may be.
fn is_unreadable_word_of(revocation: &Signature, key: &PublicKey) -> bool {
    let readable = revocation.has_strong_hash() && revocation.has_known_algorithm();
    let names_none =
        revocation.issuer_ids().next().or(revocation.issuer_fingerprints().next()).is_none();
    !readable && (names_none || revocation.names(key))
}

/// The newest word about a key. If it cannot be understood, an older one is not taken for it.
fn newest<'s>(
    signatures: impl Iterator<Item = &'s Signature>,
    key: &PublicKey,
    now: i64,
) -> Result<Option<&'s Signature>, Refusal> {
    match signatures.filter(|it| is_in_time(it, key, now)).max_by_key(|it| it.created()) {
        Some(newest) if newest.demands_more_than(&OF_KEYS) => Err(Refusal::UnknownCritical),
        newest => Ok(newest),
    }
}

fn is_in_time(signature: &Signature, key: &PublicKey, now: i64) -> bool {
    signature.created() >= Some(key.created) && !signature.is_out_of_time(now, 0)
}

fn check_lifetime(key: &PublicKey, said: &Signature, now: i64) -> Result<(), Refusal> {
    let over = said.key_lifetime().is_some_and(|lifetime| key.created + lifetime <= now);
    if over { Err(Refusal::KeyExpired) } else { Ok(()) }
}
