//! .debs byte by byte, also such as no tool would write.

use std::io::Write;

use tar::{EntryType, Header};

/// One entry of a tar archive, with all that its header says.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    /// The type flag.
    pub kind: u8,
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub body: &'a [u8],
}

impl Default for Raw<'_> {
    fn default() -> Self {
        Self { kind: b'0', name: b"", link: b"", mode: 0o644, owner: (0, 0), mtime: 5, body: b"" }
    }
}

impl Raw<'_> {
    /// Its header in GNU's format, which Debian's packages have.
    pub fn header(&self) -> Header {
        let mut header = Header::new_gnu();
        // The setters of names refuse what a hostile archive holds.
        let old = header.as_old_mut();
        old.name[..self.name.len()].copy_from_slice(self.name);
        old.linkname[..self.link.len()].copy_from_slice(self.link);
        header.set_entry_type(EntryType::new(self.kind));
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(self.body.len() as u64);
        header.set_cksum();
        header
    }
}

/// A tar archive under way.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raw(self, entry: &Raw<'_>) -> Self {
        self.append(&entry.header(), entry.body)
    }

    /// A header as it is, then contents up to the next whole block.
    pub fn append(mut self, header: &Header, body: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(&Raw { kind: b'5', name: name.as_bytes(), mode: 0o755, ..Raw::default() })
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        self.raw(&Raw { name: name.as_bytes(), body: text.as_bytes(), ..Raw::default() })
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        let (name, link) = (name.as_bytes(), to.as_bytes());
        self.raw(&Raw { kind: b'2', name, link, mode: 0o777, ..Raw::default() })
    }

    pub fn hard_link(self, name: &str, to: &str) -> Self {
        let (name, link) = (name.as_bytes(), to.as_bytes());
        self.raw(&Raw { kind: b'1', name, link, ..Raw::default() })
    }

    /// The next entry's name (`L`) or link target (`K`), of any length and bytes.
    pub fn long(self, kind: u8, text: &[u8]) -> Self {
        let body = [text, b"\0"].concat();
        self.raw(&Raw { kind, name: b"././@LongLink", body: &body, ..Raw::default() })
    }

    /// A PAX header for the next entry (`x`) or for all of them (`g`).
    pub fn pax(self, kind: u8, fields: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (key, value) in fields {
            let rest = format!(" {key}={value}\n");
            // A record's length counts its own digits.
            let length = (1..).find(|length| length.to_string().len() + rest.len() == *length);
            body.push_str(&format!("{}{rest}", length.expect("a length")));
        }
        self.raw(&Raw { kind, name: b"PaxHeaders/x", body: body.as_bytes(), ..Raw::default() })
    }

    /// The archive without the mark of its end.
    pub fn unended(self) -> Vec<u8> {
        self.0
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// `bytes`, compressed as the ending of a member's name says.
pub fn pack(ending: &str, bytes: &[u8]) -> Vec<u8> {
    match ending {
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).expect("in memory");
            encoder.finish().expect("in memory")
        }
        ".xz" => super::xz(bytes),
        ".zst" => zstd::encode_all(bytes, 1).expect("in memory"),
        _ => bytes.to_vec(),
    }
}

/// An `ar` archive of these members.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut ar = ar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        ar.append(&header, *bytes).expect("in memory");
    }
    ar.into_inner().expect("in memory")
}

/// The control archive of a package.
pub fn control(text: &str) -> Vec<u8> {
    Tar::new().dir("./").file("./control", text).end()
}

/// A .deb of these two archives, both compressed alike.
pub fn deb(ending: &str, control: &[u8], data: &[u8]) -> Vec<u8> {
    ar(&[
        ("debian-binary", b"2.0\n"),
        (&format!("control.tar{ending}"), &pack(ending, control)),
        (&format!("data.tar{ending}"), &pack(ending, data)),
    ])
}
