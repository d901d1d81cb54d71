//! Changes of real input, as libFuzzer makes them, from numbers that only look random.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use chatimg::digest::Digest;

/// What breaks readers: ends, signs, quotes, numbers at the ends of their types, half of a letter.
const WORDS: [&[u8]; 40] = [
    b"\0",
    b"\n",
    b"\n\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\\",
    b"\"",
    b"'",
    b"/",
    b"../",
    b"-",
    b"--",
    b":",
    b",",
    b";",
    b"(",
    b")",
    b"[",
    b"{",
    b"}",
    b"<",
    b">",
    b"%",
    b"$",
    b"`",
    b"#",
    b"=",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"1e999",
    b"\xff",
    b"\xf0\x9f",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
];
/// No input is larger.
const MAX: usize = 64 << 10;

pub struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    random: SmallRng,
}

impl<'a> Mutator<'a> {
    pub fn new(name: &str, seeds: &'a [Vec<u8>]) -> Self {
        let digest = Digest::of(name.as_bytes());
        let seed = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight"));
        Self { seeds, random: SmallRng::seed_from_u64(seed) }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end.max(1))
    }

    /// The next one.
    pub fn next(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        let mut bytes = self.seeds[at].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let to = (at + 1 + self.below(bytes.len().min(64))).min(bytes.len()).max(at);
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.random.random(),
            2 => _ = bytes.drain(at..to),
            3 => bytes.truncate(at),
            4 => {
                // The same again, several times.
                let part = bytes[at..to].repeat(1 + self.below(40));
                _ = bytes.splice(at..at, part);
            }
            5 => {
                let other = self.below(self.seeds.len());
                let other = &self.seeds[other];
                let from = self.random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                let end = if self.below(2) == 0 { at } else { to };
                _ = bytes.splice(at..end, word.iter().copied());
            }
        }
    }
}
