//! Whose images the box takes: public keys of minisign.

use crate::appliance::document::Text;
use crate::minisign::PublicKey;

/// How secret keys begin, with and without a password: "Ed", the password's algorithm, "B2".
const SECRET: [&str; 2] = ["RWRTY0Iy", "RWQAAEIy"];

/// Whether there is a secret key in a text.
pub(super) fn is_secret(text: &str) -> bool {
    SECRET.iter().any(|begin| text.contains(begin))
}

/// The key, if it is one.
pub(super) fn check(text: &Text<'_>) -> Option<String> {
    if is_secret(&text.value) {
        let help = "keep it where images are built; here belongs its public half: chatimg key show";
        text.fail("this is a secret key of minisign", help);
        return None;
    }
    if PublicKey::parse(&text.value).is_err() {
        let help = "copy the line that `chatimg key show` says; it begins with \"RW\"";
        text.fail(format!("{} is not a public key of minisign", text.quoted()), help);
        return None;
    }
    Some(text.value.clone())
}
