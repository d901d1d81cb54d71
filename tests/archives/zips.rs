//! Zip archives, header by header, also such as no tool would write.

use flate2::Crc;
use flate2::write::DeflateEncoder;

/// A member as both headers shall have it; what is not as it should be is changed by hand.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    /// In the local header, if that has another one.
    pub local_name: Option<Vec<u8>>,
    pub packed: Vec<u8>,
    pub size: u32,
    pub sum: u32,
    pub method: u16,
    pub flags: u16,
    /// The upper half of the external attributes: a mode of Unix.
    pub mode: u32,
    pub extra: Vec<u8>,
    /// Where its contents are said to be, if not where they are.
    pub start: Option<u32>,
}

impl Member {
    pub fn new(name: &str, contents: &[u8]) -> Self {
        use std::io::Write;
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(contents).expect("in memory");
        let mut sum = Crc::new();
        sum.update(contents);
        Self {
            name: name.as_bytes().to_vec(),
            local_name: None,
            packed: encoder.finish().expect("in memory"),
            size: contents.len() as u32,
            sum: sum.sum(),
            method: 8,
            flags: 1 << 11,
            mode: 0o100_644,
            extra: Vec::new(),
            start: None,
        }
    }

    /// Flags to extra length, as both headers have it.
    fn common(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.flags, self.method, 0, 0x21] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.sum, self.packed.len() as u32, self.size] {
            bytes.extend(number.to_le_bytes());
        }
        for length in [name.len(), self.extra.len()] {
            bytes.extend((length as u16).to_le_bytes());
        }
        bytes
    }

    fn local(&self) -> Vec<u8> {
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        [b"PK\x03\x04\x14\0", &self.common(name)[..], name, &self.extra, &self.packed].concat()
    }

    fn central(&self, start: u32) -> Vec<u8> {
        let head = [b"PK\x01\x02\x14\x03\x14\0", &self.common(&self.name)[..], &[0; 6]].concat();
        let place = [(self.mode << 16).to_le_bytes(), self.start.unwrap_or(start).to_le_bytes()];
        [&head[..], &place.concat(), &self.name, &self.extra].concat()
    }
}

pub fn zip(members: &[Member]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        // Who says where it is has nothing of its own there.
        directory.extend(member.central(bytes.len() as u32));
        if member.start.is_none() {
            bytes.extend(member.local());
        }
    }
    let start = bytes.len() as u32;
    let count = (members.len() as u16).to_le_bytes();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count].concat();
    let place = [(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat();
    [&bytes[..], &directory, &end, &place, &[0, 0]].concat()
}
