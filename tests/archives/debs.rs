//! Packages whose outer layer or control archive is hostile, and how a build brings packages in.

use std::io::{Read, Write};

use chatimg::compose;
use chatimg::digest::Digest;
use chatimg::lock::{Deb, DebArchive, Group, Lock};
use chatimg::store::Store;

use crate::Case;

#[allow(dead_code, reason = "it is of the library's own tests")]
#[path = "../../src/debian/testing/deb.rs"]
mod make;

pub use make::{Raw, Tar, ar, control, deb, pack};

/// Asked for by `make`.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// These bytes, then zeros, packed.
pub fn packed_zeros(ending: &str, head: &[u8], zeros: u64) -> Vec<u8> {
    let mut plain = head.chain(std::io::repeat(0).take(zeros));
    let mut out = Vec::new();
    let copied = match ending {
        ".xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(&mut out, 0);
            std::io::copy(&mut plain, &mut encoder).and_then(|_| encoder.finish().map(|_| ()))
        }
        ".gz" => {
            let usual = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(&mut out, usual);
            std::io::copy(&mut plain, &mut encoder).and_then(|_| encoder.finish().map(|_| ()))
        }
        _ => {
            let mut encoder = zstd::Encoder::new(&mut out, 1).expect("an encoder");
            std::io::copy(&mut plain, &mut encoder).and_then(|_| encoder.finish().map(|_| ()))
        }
    };
    copied.expect("in memory");
    out
}

pub fn good_control() -> &'static str {
    "Package: guest\nVersion: 1.0-1\nArchitecture: amd64\n"
}

/// As `chatimg build` does it with the packages of a lock.
pub fn import(store: &Store, case: &Case) -> Result<(), String> {
    let digest = store.add_blob(&case.bytes).expect("the store takes it");
    let deb = Deb {
        name: "guest".to_owned(),
        version: "1.0-1".to_owned(),
        arch: "amd64".to_owned(),
        archive: DebArchive::Debian,
        path: "pool/main/g/guest/guest_1.0-1_amd64.deb".to_owned(),
        size: case.bytes.len() as u64,
        digest,
        groups: [Group::Build].into(),
    };
    let lock = Lock { epoch: 1_700_000_000, debs: vec![deb], ..Lock::default() };
    let made = compose::tools_tree(store, &lock, Group::Build, &|_| ());
    made.map(|_| ()).map_err(|error| error.to_string())
}

/// `bytes` with the size field of the member `name` as given.
fn sized(bytes: &[u8], name: &str, size: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(name.len()).position(|part| part == name.as_bytes()).expect(name) + 48;
    bytes[at..at + 10].copy_from_slice(format!("{size:<10}").as_bytes());
    bytes
}

pub fn cases() -> Vec<Case> {
    let data = Tar::new().dir("./").file("./usr/share/x", "x\n").end();
    let own = control(good_control());
    let (first, second, third) =
        (("debian-binary", &b"2.0\n"[..]), ("control.tar", &own[..]), ("data.tar", &data[..]));
    let good = ar(&[first, second, third]);
    let size = |size: &str| sized(&good, "data.tar", size);
    let says = |text: &str| deb("", &control(text), &data);
    let members = |more: fn(Tar) -> Tar| {
        let tar = more(Tar::new().dir("./").file("./control", good_control()));
        deb("", &tar.end(), &data)
    };
    let packed = |ending: &str, more: &[u8]| {
        let bytes = [&pack(ending, &data)[..], more].concat();
        ar(&[first, second, (&format!("data.tar{ending}"), &bytes)])
    };
    let mut odd = ar(&[("debian-binary", b"2.0\n\n"), second, third]);
    odd[8 + 60 + 5] = b'x';
    let control_bomb = {
        let mut header = Raw { name: b"./md5sums", ..Raw::default() }.header();
        header.set_size(100 << 20);
        header.set_cksum();
        let head = [&Tar::new().file("./control", good_control()).unended()[..], header.as_bytes()];
        let bytes = packed_zeros(".xz", &head.concat(), (100 << 20) + 1024);
        ar(&[first, ("control.tar.xz", &bytes), third])
    };
    let dictionary = {
        let mut bytes = pack(".xz", &data);
        bytes[16] = 37; // 1.5 GiB
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[12..20]);
        bytes[20..24].copy_from_slice(&sum.sum().to_le_bytes());
        ar(&[first, second, ("data.tar.xz", &bytes)])
    };
    let window = {
        let block = u32::try_from(data.len() << 3 | 1).expect("small").to_le_bytes();
        let bytes = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3][..], &block[..3], &data].concat();
        ar(&[first, second, ("data.tar.zst", &bytes)])
    };
    let damaged = {
        let mut bytes = pack(".xz", &data);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        ar(&[first, second, ("data.tar.xz", &bytes)])
    };
    let follows: &[&str] = &["something follows its compressed contents"];
    let no_size: &[&str] = &["data.tar: its size is not a number"];
    vec![
        Case::new("good", good.clone(), &[]),
        Case::new(
            "another magic number",
            [b"!<arcs>\n", &good[8..]].concat(),
            &["it does not begin as a Debian package does"],
        ),
        Case::new("a thin archive", [b"!<thin>\n", &good[8..]].concat(), &["it does not begin as"]),
        Case::new(
            "a size to the end of time",
            size("9999999999"),
            &["the file ends in the middle"],
        ),
        Case::new("a negative size", size("-1"), no_size),
        Case::new("a size with a sign", size("+2048"), no_size),
        Case::new("a size in hexadecimal", size("0x800"), no_size),
        Case::new("no size", size(""), no_size),
        Case::new("a size too small", size("512"), &["damaged: its end is missing"]),
        Case::new(
            "another order",
            ar(&[first, third, second]),
            &["control.tar: member \"data.tar\" stands in its place"],
        ),
        Case::new(
            "two data archives",
            ar(&[first, second, third, third]),
            &["something follows its last member"],
        ),
        Case::new(
            "two control archives",
            ar(&[first, second, second, third]),
            &["data.tar: member \"control.tar\" stands in its place"],
        ),
        Case::new("no control archive", ar(&[first, third]), &["control.tar: member \"data.tar\""]),
        Case::new("no data", ar(&[first, second]), &["data.tar: the file ends too early"]),
        Case::new("a member more", ar(&[first, second, ("_x", b"x"), third]), &["member \"_x\""]),
        Case::new(
            "a long name's table",
            ar(&[("//", b"data.tar/\n"), first, second, third]),
            &["debian-binary: member"],
        ),
        Case::new("another padding", odd, &["its padding is damaged"]),
        Case::new(
            "bytes behind",
            [&good[..], b"\n"].concat(),
            &["something follows its last member"],
        ),
        Case::new(
            "format 3",
            ar(&[("debian-binary", b"3.0\n"), second, third]),
            &["unknown format"],
        ),
        Case::new(
            "the old format",
            [b"0.939000\n".as_slice(), &good].concat(),
            &["does not begin"],
        ),
        Case::new(
            "bzip2",
            ar(&[first, second, ("data.tar.bz2", b"BZh9")]),
            &["unknown compression \".bz2\""],
        ),
        Case::new("gzip, then more", packed(".gz", &pack(".gz", &data)), follows),
        Case::new("xz, then more", packed(".xz", &pack(".xz", &data)), follows),
        Case::new("zstd, then more", packed(".zst", &pack(".zst", &data)), follows),
        Case::new(
            "a zstd frame to be skipped",
            packed(".zst", &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2]),
            follows,
        ),
        Case::new("damaged xz", damaged, &["data.tar"]),
        Case::new("an xz dictionary of 1.5 GiB", dictionary, &["memory limit"]),
        Case::new("a zstd window of 256 MiB", window, &["too much memory"]),
        Case::new("cut short", good[..good.len() - 1000].to_vec(), &["data.tar: "]),
        Case::new("no package", b"<html>404</html>".to_vec(), &["it does not begin as"]),
        Case::new("nothing", Vec::new(), &["the file ends too early"]),
        Case::new(
            "control up",
            members(|tar| tar.file("./../postinst", "")),
            &["control.tar: ", "leaves its root by '..'"],
        ),
        Case::new(
            "control as a link",
            members(|tar| tar.symlink("./postinst", "/bin/sh")),
            &["control/postinst is no plain file"],
        ),
        Case::new(
            "control as a device",
            members(|tar| tar.raw(&Raw { kind: b'3', name: b"./postinst", ..Raw::default() })),
            &["it is a device"],
        ),
        Case::new(
            "control twice",
            members(|tar| tar.file("./control", good_control())),
            &["control/control is there already"],
        ),
        Case::new("no control", deb("", &Tar::new().dir("./").end(), &data), &["no control file"]),
        Case::new("a control bomb", control_bomb, &["it unpacks to over 64 MiB"]),
        Case::new(
            "another version",
            says("Package: guest\nVersion: 0.9-1\nArchitecture: amd64\n"),
            &["its Version is '0.9-1', but '1.0-1' is locked"],
        ),
        Case::new(
            "another package",
            says("Package: root\nVersion: 1.0-1\nArchitecture: amd64\n"),
            &["its Package is 'root'"],
        ),
        Case::new(
            "another machine",
            says("Package: guest\nVersion: 1.0-1\nArchitecture: i386\n"),
            &["its Architecture is 'i386'"],
        ),
        Case::new(
            "carriage returns",
            says(&good_control().replace('\n', "\r\n")),
            &["it holds a carriage return or NUL"],
        ),
        Case::new(
            "a field twice",
            says(&format!("{}version: 9\n", good_control())),
            &["the field was given before"],
        ),
        Case::new(
            "two paragraphs",
            says(&format!("{0}\n{0}", good_control())),
            &["a second paragraph begins"],
        ),
        Case::new(
            "a control that is not text",
            {
                deb(
                    "",
                    &Tar::new()
                        .raw(&Raw { name: b"./control", body: b"\xff\xfe", ..Raw::default() })
                        .end(),
                    &data,
                )
            },
            &["control is not UTF-8"],
        ),
        Case::new("other bytes than locked", Vec::from(Digest::of(b"x").as_bytes()), &["archive"]),
    ]
}
