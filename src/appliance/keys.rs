//! OpenSSH public keys, as in authorized_keys (sshd(8)); inside the base64 are the fields of
//! RFC 4253, section 6.6, the first of them the type again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::Text;
use super::error::hint;

const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const COPY: &str = "copy the whole line of the .pub file";

/// The key, if it is one.
pub(crate) fn public_key(text: &Text<'_>) -> Option<String> {
    match check(&text.value) {
        Ok(()) => Some(text.value.trim().to_owned()),
        Err((message, help)) => {
            text.fail(message, help);
            None
        }
    }
}

/// Whether it is an OpenSSH public key; else what is wrong, and what to do.
///
/// # Errors
/// It is not.
pub fn check(key: &str) -> Result<(), (String, String)> {
    let wrong = |message: &str, help: &str| Err((message.to_owned(), help.to_owned()));
    if key.contains("PRIVATE KEY") {
        let help = "never write it anywhere; the public one is in the file ending in .pub";
        return wrong("this is a private key", help);
    }
    if key.trim().chars().any(char::is_control) {
        return wrong("a public key is one line", "write every key as a text of its own");
    }
    let mut words = key.split_whitespace();
    let kind = words.next().unwrap_or_default();
    if !TYPES.contains(&kind) {
        if words.any(|word| TYPES.contains(&word)) {
            let help = "options of keys are not supported: begin with the key's type";
            return wrong("the public key does not begin with its type", help);
        }
        let help = hint(kind, "types", TYPES);
        return Err((format!("\"{kind}\" is not a type of public keys"), help));
    }
    let Some(encoded) = words.next() else {
        return wrong("nothing follows the public key's type", COPY);
    };
    let Ok(bytes) = STANDARD.decode(encoded) else {
        return wrong("the public key is damaged: its base64 cannot be decoded", COPY);
    };
    match fields(&bytes) {
        Some(fields) if fields.first().is_some_and(|inner| *inner == kind.as_bytes()) => {
            if fields.len() > 1 { Ok(()) } else { wrong("the public key is cut short", COPY) }
        }
        Some(fields) => {
            let inner = fields.first().map(|inner| String::from_utf8_lossy(inner));
            let inner = inner.unwrap_or_default();
            let message = format!("the public key says \"{kind}\", but is of type \"{inner}\"");
            Err((message, COPY.to_owned()))
        }
        None => wrong("the public key is cut short", COPY),
    }
}

/// Each field has its length before it, four bytes; nothing may be left over.
fn fields(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(field);
        bytes = rest;
    }
    Some(fields)
}
