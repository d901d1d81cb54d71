//! The part of OpenPGP that tells who signed an archive's index: reads certificates and signatures of version 4 and checks
//! RSA and Ed25519 signatures.
//!
//! ```text
//! packet:     tag and length (old or new form), then its body
//! key:        4, time (4 bytes), algorithm, numbers
//! signature:  4, type, algorithm, hash, length (2) and hashed parts, length (2) and other parts,
//!             first two bytes of the digest, numbers
//! number:     length in bits (2 bytes), bytes, highest first
//! ```
//!
//! Source: RFC 9580, sections 3.2, 4.2, 5.2, 5.5, 6 and 10.1. The arithmetic is ring's, on what these bytes say; which
//! key counts, and when, is decided by [`keyring`](super::keyring). Invariant: whatever is not understood to its last
//! byte is refused, never skipped. The keys are those that the program carries, so other versions (3, 6) and algorithms
//! are not needed; their signatures count for nothing.

mod armor;
mod key;
mod signature;

pub(super) use armor::dearmor;
pub(super) use key::{Certificate, PublicKey, Subkey};
pub(super) use signature::{Signature, part, typ};

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Kinds of packets.
pub(super) mod tag {
    pub(in super::super) const SIGNATURE: u8 = 2;
    pub(in super::super) const KEY: u8 = 6;
    pub(in super::super) const USER: u8 = 13;
    pub(in super::super) const SUBKEY: u8 = 14;
    pub(in super::super) const ATTRIBUTE: u8 = 17;
}

/// Takes bytes from the front.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("it is cut"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes, at most four.
    pub(super) fn number(&mut self, count: usize) -> Result<u32, Malformed> {
        Ok(self.take(count)?.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn length(&mut self, count: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number(count)?).map_err(|_| Malformed("it is too long"))
    }

    /// A number of any size: its bytes, without leading zeros.
    pub(super) fn integer(&mut self) -> Result<&'a [u8], Malformed> {
        let bits = self.length(2)?;
        let bytes = self.take(bits.div_ceil(8))?;
        let unused = 8 * bytes.len() - bits;
        match bytes.first() {
            Some(first) if first.leading_zeros() as usize != unused => {
                Err(Malformed("a number's length is wrong"))
            }
            _ => Ok(bytes),
        }
    }

    pub(super) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.0;
        self.0 = &[];
        rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn end(self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("there is more than its numbers")) }
    }
}

/// All packets: tag and body.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut packets = Vec::new();
    while !reader.is_empty() {
        let first = reader.byte()?;
        let (tag, length) = match first >> 6 {
            0b11 => (first & 0x3f, new_length(&mut reader)?),
            0b10 if first & 3 < 3 => (first >> 2 & 0x0f, reader.length(1 << (first & 3))?),
            _ => return Err(Malformed("it is no packet, or one without a length")),
        };
        packets.push((tag, reader.take(length)?));
    }
    Ok(packets)
}

/// Packets with keys and signatures have no partial lengths (section 4.2.1.4).
fn new_length(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match reader.byte()? {
        short @ 0..192 => Ok(usize::from(short)),
        high @ 192..224 => Ok(((usize::from(high) - 192) << 8) + reader.length(1)? + 192),
        255 => reader.length(4),
        _ => Err(Malformed("it is a packet in parts")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
