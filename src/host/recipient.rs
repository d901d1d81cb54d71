//! Whom backups are encrypted to: age's X25519 recipients, `age1...` in Bech32 (BIP 173).

use crate::appliance::document::Text;

const CHARACTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const COPY: &str = "copy the whole line after \"public key:\" that age-keygen says";

/// The recipient, if it is one.
pub(super) fn check(text: &Text<'_>) -> Option<String> {
    let value = text.value.as_str();
    if value.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        let help =
            "keep it where backups are read; here belongs its public one: age-keygen -y FILE";
        text.fail("this is a secret key of age", help);
        return None;
    }
    if is_recipient(value) {
        return Some(value.to_owned());
    }
    let (message, help) = match value.starts_with("age1") {
        true => (
            format!(
                "{} is not a recipient of age: it is damaged, or of another kind",
                text.quoted()
            ),
            COPY,
        ),
        false => {
            (format!("{} is not a recipient of age", text.quoted()), "it begins with \"age1\"")
        }
    };
    text.fail(message, help);
    None
}

fn is_recipient(text: &str) -> bool {
    let Some(data) = text.strip_prefix("age1") else { return false };
    let values: Option<Vec<u32>> =
        data.chars().map(|c| CHARACTERS.find(c).and_then(|at| u32::try_from(at).ok())).collect();
    // 32 bytes in groups of 5 bits, the last 4 bits unused; 6 groups of checksum.
    values
        .is_some_and(|values| values.len() == 58 && values[51] & 0xf == 0 && checksum(&values) == 1)
}

/// BIP 173's polynomial, over the expanded prefix "age" and the data.
fn checksum(values: &[u32]) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let high = "age".bytes().map(|c| u32::from(c) >> 5);
    let low = "age".bytes().map(|c| u32::from(c) & 31);
    high.chain([0]).chain(low).chain(values.iter().copied()).fold(1, |sum, value| {
        let top = sum >> 25;
        let next = ((sum & 0x01ff_ffff) << 5) ^ value;
        let part = |at: usize| if top >> at & 1 == 1 { GENERATOR[at] } else { 0 };
        (0..5).fold(next, |next, at| next ^ part(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients() {
        // age's README.
        let good = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert!(is_recipient(good));
        for at in 4..good.len() {
            let other = if &good[at..=at] == "q" { "p" } else { "q" };
            let damaged = format!("{}{other}{}", &good[..at], &good[at + 1..]);
            assert!(!is_recipient(&damaged), "{damaged}");
        }
        assert!(!is_recipient(&good[..61]) && !is_recipient(&good.to_uppercase()));
    }
}
