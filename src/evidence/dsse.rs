//! DSSE envelopes (<https://github.com/secure-systems-lab/dsse>, protocol version 1) with one Ed25519 signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::minisign::{PublicKey, SecretKey};

const TYPE: &str = "application/vnd.in-toto+json";

/// What is signed: "DSSEv1", and type and payload with their lengths before them.
fn encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The envelope of an in-toto statement: one line.
pub(super) fn seal(payload: &[u8], key: &SecretKey) -> String {
    envelope(payload, &key.public(), &key.sign_plain(&encoding(payload)))
}

fn envelope(payload: &[u8], key: &PublicKey, signature: &[u8; 64]) -> String {
    let envelope = json!({
        "payloadType": TYPE,
        "payload": STANDARD.encode(payload),
        "signatures": [{"keyid": key.number(), "sig": STANDARD.encode(signature)}],
    });
    format!("{envelope}\n")
}

/// Checks that the file is exactly the envelope of this payload by this key.
pub(super) fn check(file: &[u8], payload: &[u8], key: &PublicKey) -> Result<(), String> {
    let value: Value = serde_json::from_slice(file).map_err(|error| error.to_string())?;
    let signature = &value["signatures"][0];
    if signature["keyid"] != key.number() {
        return Err("another key signed it".to_owned());
    }
    let bytes = STANDARD.decode(signature["sig"].as_str().unwrap_or_default()).unwrap_or_default();
    let bytes: [u8; 64] = bytes.try_into().map_err(|_| "it has no Ed25519 signature".to_owned())?;
    if envelope(payload, key, &bytes).as_bytes() != file {
        return Err("it does not state what manifest.json and SHA256SUMS say".to_owned());
    }
    match key.verify_plain(&encoding(payload), &bytes) {
        true => Ok(()),
        false => Err("what it signs was changed".to_owned()),
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    if let Ok(key) = PublicKey::parse(key) {
        assert!(check(bytes, b"{}", &key).is_err(), "nobody has this key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let text = String::from_utf8(encoding(b"hello world")).expect("ASCII");
        assert_eq!(text, "DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn an_envelope_holds_for_its_key_and_payload_only_and_no_bit_of_it_may_change() {
        let (key, other) = (SecretKey::new().expect("key"), SecretKey::new().expect("key"));
        let file = seal(b"{}", &key);
        assert_eq!(check(file.as_bytes(), b"{}", &key.public()), Ok(()));
        assert!(check(file.as_bytes(), b"{} ", &key.public()).is_err());
        assert!(check(file.as_bytes(), b"{}", &other.public()).is_err());
        for bit in 0..file.len() * 8 {
            let mut bytes = file.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes, b"{}", &key.public()).is_err(), "bit {bit}");
        }
    }
}
