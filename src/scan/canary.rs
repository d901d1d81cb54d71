//! Canaries: strings that are put where secrets are, to be seen wherever they get to.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::needles::Needle;
use super::run;

/// Anything that begins so, with 8 letters or digits behind it, is one, whoever asks.
pub(super) const NEEDLES: &[Needle] = &[Needle {
    bytes: b"CHATIMG-CANARY-",
    what: "a canary",
    check: |bytes, at| run(bytes, at + 15, |byte| byte.is_ascii_alphanumeric()) >= 8,
}];
/// Shorter ones would be found by chance.
pub const LEAST: usize = 12;

/// Strings that no image may hold, as they are or in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canaries {
    /// Number of the canary, and bytes that give it away.
    sought: Vec<(usize, Vec<u8>)>,
}

/// A text is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a canary has at least {LEAST} characters, or it would be found by chance")]
pub struct NotACanary;

impl Canaries {
    /// Takes them in their order; messages call them by their number.
    ///
    /// # Errors
    /// One is too short.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotACanary> {
        let mut sought = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let bytes = text.as_bytes();
            if bytes.len() < LEAST {
                return Err(NotACanary);
            }
            sought.push((index + 1, bytes.to_vec()));
            // As base64 has it if 0, 1 or 2 bytes stand before it, without the characters that its neighbours shape.
            for before in 0..3 {
                let padded = [&[0; 2][..before], bytes].concat();
                let coded = STANDARD_NO_PAD.encode(&padded[..padded.len() / 3 * 3]);
                sought.push((index + 1, coded.as_bytes()[(before * 4).div_ceil(3)..].to_vec()));
            }
        }
        Ok(Self { sought })
    }

    /// All that is sought, for the key of a step.
    pub fn identity(&self) -> Vec<u8> {
        let parts = self.sought.iter().map(|(_, bytes)| [bytes.as_slice(), b"\0"].concat());
        parts.collect::<Vec<_>>().concat()
    }

    pub(super) fn find(&self, bytes: &[u8]) -> Vec<(usize, String)> {
        let firsts: BTreeSet<u8> = self.sought.iter().map(|(_, bytes)| bytes[0]).collect();
        let mut is_first = [false; 256];
        firsts.iter().for_each(|byte| is_first[usize::from(*byte)] = true);
        let places = bytes.iter().enumerate().filter(|(_, byte)| is_first[usize::from(**byte)]);
        let mut found = Vec::new();
        for (at, _) in places.filter(|_| !firsts.is_empty()) {
            let here = self.sought.iter().filter(|(_, sought)| bytes[at..].starts_with(sought));
            found.extend(
                here.map(|(number, _)| (at, format!("canary {number} of [secrets] canaries"))),
            );
        }
        found
    }
}
