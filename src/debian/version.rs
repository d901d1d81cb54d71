//! Debian package versions and their order.
//!
//! ```text
//! [epoch:]upstream[-revision]      2:1.0~rc1-3+b1
//! ```
//!
//! Source: Debian Policy 5.6.12 and dpkg's `lib/dpkg/version.c`. Invariant: the order is dpkg's, so
//! `1.0` and `1.00` are equal though their texts differ.

use std::cmp::Ordering;
use std::fmt;

/// A checked version, borrowed from the index it was read in.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    text: &'a str,
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

/// The text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a Debian version ([epoch:]upstream[-revision])")]
pub struct VersionError(String);

impl<'a> Version<'a> {
    /// Checks and splits `text`.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        Self::split(text).ok_or_else(|| VersionError(text.escape_debug().to_string()))
    }

    fn split(text: &'a str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|c| c.is_ascii_digit()) => {
                (epoch.parse::<u32>().ok()?, rest)
            }
            Some(_) => return None,
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (rest, ""),
        };
        let known = |c: u8, extra: &[u8]| c.is_ascii_alphanumeric() || extra.contains(&c);
        let good = !upstream.is_empty()
            && upstream.bytes().all(|c| known(c, b".+-~:"))
            && revision.bytes().all(|c| known(c, b".+~"));
        good.then_some(Self { text, epoch, upstream, revision })
    }

    /// The version as it was written.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.epoch.cmp(&other.epoch))
            .then_with(|| compare_part(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare_part(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}

/// Compares alternating runs of non-digits (by `weight`) and digits (by value).
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let is_text = |part: &[u8]| part.first().is_some_and(|c| !c.is_ascii_digit());
        while is_text(a) || is_text(b) {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (left, right);
        (left, a) = take_number(a);
        (right, b) = take_number(b);
        let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// `~` sorts before the end of a run, letters before everything else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(&c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(&c) => i32::from(c) + 256,
    }
}

/// Splits off the leading digits, without their leading zeros.
fn take_number(part: &[u8]) -> (&[u8], &[u8]) {
    let end = part.iter().position(|c| !c.is_ascii_digit()).unwrap_or(part.len());
    let (digits, rest) = part.split_at(end);
    let zeros = digits.iter().take_while(|&&c| c == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-0+b1",
            "1.0-1~deb13u1",
            "1.0-1",
            "1.0-1+b2",
            "1.0-1+b10",
            "1.0-1+deb13u1",
            "1.0-1.1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.2-1",
            "1.10-1",
            "1.99999999999999999999999-1",
            "1.100000000000000000000000-1",
            "1:0.1-1",
            "2:0-1",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
            assert!(version(pair[1]) > version(pair[0]), "{} > {}", pair[1], pair[0]);
        }
    }

    #[test]
    fn zeros_and_an_absent_epoch_or_revision_make_no_difference() {
        for (a, b) in
            [("0:1.0", "1.0"), ("1.0", "1.00"), ("1.0", "1.0-0"), ("1.", "1.0"), ("a", "a0")]
        {
            assert_eq!(version(a), version(b), "{a} = {b}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "1.0-", ":1", "a:1", "99999999999:1", "1 0", "1.0_1", "1.0-1:2", "ü", "-1"]
        {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }
}
