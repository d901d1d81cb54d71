//! Finds secrets in bytes: private keys, password hashes, tokens of well-known services, canaries.
//!
//! A rule is a [`Needle`]: a few bytes that stand in every secret of its kind, and a check of what is around them. One pass over the
//! bytes finds the needles (half a nanosecond a byte); the checks are strict, so that a program that only knows how a key begins is not
//! taken for one. Binary files have no needles: [`files`] knows them by how they begin, or by their names.
//!
//! What is compressed or encrypted is not looked into.

mod canary;
mod files;
mod hashes;
mod keys;
mod needles;
mod tokens;

pub use canary::{Canaries, NotACanary};
pub use files::{by_path, is_known_name};

use std::fmt;
use std::sync::OnceLock;

use needles::{Needle, Needles};

/// A secret, and where it is. What it says is never shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// First byte of what gave it away.
    pub at: usize,
    /// The line that is in, counted from 1; 0: it is no text.
    pub line: usize,
    /// `a private key (PEM)`
    pub what: String,
}

impl Finding {
    /// Whether it is a canary: nothing excuses one.
    pub fn is_canary(&self) -> bool {
        self.what.contains("canary")
    }
}

impl fmt::Display for Finding {
    /// To be put behind a path: `:12: a private key (PEM)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, ", at byte {}: {}", self.at, self.what),
            line => write!(f, ":{line}: {}", self.what),
        }
    }
}

fn needles() -> &'static Needles {
    static NEEDLES: OnceLock<Needles> = OnceLock::new();
    let all = || [keys::NEEDLES, hashes::NEEDLES, tokens::NEEDLES, canary::NEEDLES].concat();
    NEEDLES.get_or_init(|| Needles::new(all()))
}

/// All secrets in some contents, wherever they lie.
pub fn contents(bytes: &[u8], canaries: &Canaries) -> Vec<Finding> {
    let mut found: Vec<(usize, String)> = Vec::new();
    needles().each(bytes, |at, needle: &Needle| {
        if (needle.check)(bytes, at) {
            found.push((at, needle.what.to_owned()));
        }
    });
    found.extend(files::by_contents(bytes).map(|what| (0, what.to_owned())));
    found.extend(canaries.find(bytes));
    placed(bytes, found)
}

/// Gives findings their lines.
fn placed(bytes: &[u8], mut found: Vec<(usize, String)>) -> Vec<Finding> {
    found.sort();
    found.dedup();
    // What is found must be text, too.
    let text = |at: usize| !bytes[..bytes.len().min(at + 64)].contains(&0);
    let line = |at: usize| bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    found
        .into_iter()
        .map(|(at, what)| Finding { at, line: if text(at) { line(at) } else { 0 }, what })
        .collect()
}

/// How many bytes from `at` on are of a kind.
fn run(bytes: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take_while(|byte| of(**byte)).count()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

fn is_base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether a word begins here, not in the middle of a longer one.
fn begins_word(bytes: &[u8], at: usize) -> bool {
    at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn begins_line(bytes: &[u8], at: usize) -> bool {
    at == 0 || bytes[at - 1] == b'\n'
}

/// What nobody typed as a placeholder: `xxxxxxxxxxxx` has one character, `0123456789` ten in a row.
fn looks_random(bytes: &[u8]) -> bool {
    let distinct: std::collections::BTreeSet<_> = bytes.iter().collect();
    let steps = bytes.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count();
    distinct.len() >= (bytes.len() / 3).clamp(5, 12) && steps * 3 < bytes.len()
}

#[cfg(test)]
mod tests;
