//! GRUB's environment block: the boot state that GRUB and the box share.
//!
//! ```text
//! # GRUB Environment Block\n
//! name=value\n ...            backslash escapes backslash and line break
//! ##########                  padding up to 1024 bytes
//! ```
//!
//! Source: GRUB 2.12, grub-core/lib/envblk.c. Names and values here are plain words, so nothing is ever
//! escaped, and all of them together stay within the first 512 bytes: a sector is written whole or not at
//! all, so a power cut cannot leave half a state.

use std::collections::BTreeMap;

/// Length of a block.
pub const SIZE: usize = 1024;

const SIGNATURE: &str = "# GRUB Environment Block\n";
const ATOMIC: usize = 512;

/// The variables of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvBlock {
    values: BTreeMap<String, String>,
}

/// Not an environment block, or one that chatimg would not write.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("boot environment block: {0}")]
pub struct EnvBlockError(String);

impl EnvBlock {
    /// The state that a new image starts with: slot A is good, and holds the image of this id.
    pub fn initial(id: &str) -> Self {
        let pairs = [("gen", "1"), ("good", "a"), ("try", ""), ("left", "0"), ("next", "")];
        let mut block = Self::default();
        for (name, value) in pairs.into_iter().chain([("a", id), ("b", "none")]) {
            block.values.insert(name.to_owned(), value.to_owned());
        }
        block
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name or value is not made of letters, digits, `.`, `_` and `-`.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EnvBlockError> {
        if name.is_empty() || !is_word(name) || !is_word(value) {
            return Err(EnvBlockError(format!("{name:?}={value:?} is not made of plain words")));
        }
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The block's bytes.
    ///
    /// # Errors
    /// The variables do not fit the first sector.
    pub fn encode(&self) -> Result<[u8; SIZE], EnvBlockError> {
        let text = self.text();
        if text.len() > ATOMIC {
            return Err(EnvBlockError(format!("{} bytes of variables, over {ATOMIC}", text.len())));
        }
        let mut block = [b'#'; SIZE];
        block[..text.len()].copy_from_slice(text.as_bytes());
        Ok(block)
    }

    /// The signature and variables without padding: what `load_env` reads from a file of any length.
    pub fn text(&self) -> String {
        let mut text = SIGNATURE.to_owned();
        for (name, value) in &self.values {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }

    /// Reads a block.
    ///
    /// # Errors
    /// The signature is missing, or a line is no assignment of plain words.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvBlockError> {
        let body = bytes
            .strip_prefix(SIGNATURE.as_bytes())
            .ok_or_else(|| EnvBlockError("its signature is missing".to_owned()))?;
        let body = std::str::from_utf8(body)
            .map_err(|_| EnvBlockError("it holds bytes that are no text".to_owned()))?;
        let mut block = Self::default();
        for line in body.trim_end_matches('#').lines() {
            let (name, value) = line
                .split_once('=')
                .ok_or_else(|| EnvBlockError(format!("{line:?} is no assignment")))?;
            block.set(name, value)?;
        }
        Ok(block)
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_image_boots_slot_a() {
        let bytes = EnvBlock::initial("0123456789abcdef").encode().expect("encodes");
        let text = "# GRUB Environment Block\n\
            a=0123456789abcdef\nb=none\ngen=1\ngood=a\nleft=0\nnext=\ntry=\n##";
        assert!(bytes.starts_with(text.as_bytes()));
        assert!(bytes.ends_with(b"##"));
        let block = EnvBlock::parse(&bytes).expect("parses");
        assert_eq!(block, EnvBlock::initial("0123456789abcdef"));
        assert_eq!(block.get("good"), Some("a"));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let signed = |rest: &str| format!("{SIGNATURE}{rest}").into_bytes();
        for bad in [
            vec![],
            vec![0; SIZE],
            vec![b'#'; SIZE],
            signed("gen"),
            signed("gen=1\ngood=$(reboot)\n"),
            signed("=x\n"),
            [signed("a=x\n"), vec![0xff; 4]].concat(),
        ] {
            assert!(EnvBlock::parse(&bad).is_err(), "{bad:?}");
        }
        assert!(EnvBlock::default().set("a", "two words").is_err());
    }

    #[test]
    fn a_state_of_more_than_a_sector_is_refused() {
        let mut block = EnvBlock::default();
        block.set("a", &"x".repeat(600)).expect("plain");
        assert!(block.encode().is_err());
    }
}
