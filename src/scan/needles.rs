//! Many short strings, sought at once.
//!
//! Every second pair of bytes is looked up in a bit set of 64 Kibit, which stays in the fastest cache. A needle is in there with two
//! pairs that overlap, so one of them is met wherever it lies. The pairs are taken where a needle is least like common text.

/// A string that stands in every secret of a kind.
#[derive(Clone, Copy)]
pub(super) struct Needle {
    /// At least 3 bytes.
    pub(super) bytes: &'static [u8],
    /// What it is then, for people.
    pub(super) what: &'static str,
    /// Whether the needle at this place of these bytes is part of a secret.
    pub(super) check: fn(&[u8], usize) -> bool,
}

pub(super) const fn needle(
    bytes: &'static [u8],
    what: &'static str,
    check: fn(&[u8], usize) -> bool,
) -> Needle {
    Needle { bytes, what, check }
}

/// All needles.
pub(super) struct Needles {
    all: Vec<Needle>,
    /// Pairs that occur, a bit each.
    pairs: Box<[u64; 1024]>,
    /// Pair, needle, and where in it the pair is; sorted.
    places: Vec<(u16, usize, usize)>,
}

impl Needles {
    pub(super) fn new(all: Vec<Needle>) -> Self {
        let (mut pairs, mut places) = (Box::new([0; 1024]), Vec::new());
        for (index, needle) in all.iter().enumerate() {
            let rarest = rarest(needle.bytes);
            for offset in [rarest, rarest + 1] {
                let pair = pair(needle.bytes, offset);
                pairs[usize::from(pair >> 6)] |= 1 << (pair & 63);
                places.push((pair, index, offset));
            }
        }
        places.sort_unstable();
        Self { all, pairs, places }
    }

    /// Calls `found` for each needle in `bytes`.
    pub(super) fn each(&self, bytes: &[u8], mut found: impl FnMut(usize, &Needle)) {
        for (index, chunk) in bytes.chunks_exact(2).enumerate() {
            let pair = u16::from_le_bytes([chunk[0], chunk[1]]);
            if self.pairs[usize::from(pair >> 6)] >> (pair & 63) & 1 == 1 {
                self.at(bytes, index * 2, pair, &mut found);
            }
        }
        // The last pair of an odd number of bytes ends with the last of them.
        if bytes.len() % 2 == 1 && bytes.len() > 1 {
            let at = bytes.len() - 2;
            let pair = pair(bytes, at);
            // Only what cannot have been met by its other pair.
            let mut last = |start, needle: &Needle| {
                if start + rarest(needle.bytes) == at {
                    found(start, needle);
                }
            };
            self.at(bytes, at, pair, &mut last);
        }
    }

    fn at(&self, bytes: &[u8], at: usize, pair: u16, found: &mut impl FnMut(usize, &Needle)) {
        let first = self.places.partition_point(|place| place.0 < pair);
        for &(_, index, offset) in self.places[first..].iter().take_while(|place| place.0 == pair) {
            let needle = &self.all[index];
            let start = at.checked_sub(offset);
            if let Some(start) = start.filter(|start| bytes[*start..].starts_with(needle.bytes)) {
                found(start, needle);
            }
        }
    }
}

fn pair(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Where in a needle three bytes stand that are least common in programs and texts.
fn rarest(bytes: &[u8]) -> usize {
    let common = |byte: u8| match byte {
        0 | b' ' => 5,
        b'a'..=b'z' | b'-' | b'=' => 4,
        b'0'..=b'9' => 2,
        _ => 1,
    };
    let score = |at: usize| {
        let three = &bytes[at..at + 3];
        let same = three.windows(2).filter(|pair| pair[0] == pair[1]).count();
        three.iter().map(|byte| common(*byte)).sum::<usize>() + 4 * same
    };
    (0..=bytes.len() - 3).min_by_key(|at| score(*at)).expect("a needle has three bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_once_wherever_it_lies() {
        let needle = |bytes| Needle { bytes, what: "", check: |_, _| true };
        let needles =
            Needles::new(vec![needle(b"$6$"), needle(b"KEY-----"), needle(b"\0\0\x0bssh")]);
        for text in [&b"$6$"[..], b"KEY-----", b"\0\0\x0bssh"] {
            for before in 0..9 {
                for after in 0..9 {
                    let bytes = [&b"xxxxxxxxx"[..before], text, &b"yyyyyyyyy"[..after]].concat();
                    let mut found = Vec::new();
                    needles.each(&bytes, |at, needle| found.push((at, needle.bytes)));
                    assert_eq!(found, [(before, text)], "{bytes:?}");
                }
            }
        }
        needles.each(b"", |_, _| panic!("nothing"));
        needles.each(b"$", |_, _| panic!("nothing"));
        needles.each(b"$6 $6x$$6", |_, _| panic!("nothing"));
    }
}
