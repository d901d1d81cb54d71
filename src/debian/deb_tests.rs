//! What a good .deb becomes, and that hostile and damaged ones are refused.

use super::*;
use crate::debian::testing::deb::{Raw, Tar, ar, control, deb, pack};
use crate::digest::Digest;
use crate::store::{StepError, Store};

const ENDINGS: [&str; 4] = ["", ".gz", ".xz", ".zst"];

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(dir.path()).expect("store opens");
    (dir, store)
}

fn import_to(store: &Store, bytes: &[u8]) -> Result<Tree, DebError> {
    let tree = store.tree(Digest::of(bytes), |pack| import(bytes, pack));
    tree.map_err(StepError::into_inner)
}

/// A good package with this data archive.
fn with_data(data: Vec<u8>) -> Vec<u8> {
    deb("", &control("Package: a\n"), &data)
}

/// Each is refused, naming `part` and with these words.
fn refused<W: AsRef<str>>(part: &str, cases: impl IntoIterator<Item = (Vec<u8>, W)>) {
    let (_dir, store) = store();
    for (bytes, words) in cases {
        let words = words.as_ref();
        match import_to(&store, &bytes) {
            Ok(tree) => panic!("accepted instead of {words:?}:\n{}", tree.canonical()),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(part) && error.contains(words), "{error}\n{words:?}");
            }
        }
    }
}

/// Each data archive is refused with these words.
fn refused_data<const N: usize>(cases: [(Tar, &str); N]) {
    let cases = cases.map(|(data, words)| (with_data(data.end()), words));
    refused("data.tar: ", cases);
}

#[test]
fn a_good_package_becomes_its_tree() {
    let owned = Raw { owner: (33, 4_000_000), mtime: 1_700_000_000, ..Raw::default() };
    let data = Tar::new()
        .dir("./")
        .dir("./usr/")
        .raw(&Raw { kind: b'5', name: b"./usr/bin/", mode: 0o2775, ..owned })
        .raw(&Raw { name: b"./usr/bin/su", mode: 0o4755, body: b"program", ..owned })
        .hard_link("./usr/bin/sudo", "./usr/bin/su")
        .hard_link("./usr/bin/sux", "usr/bin/sudo")
        .symlink("./usr/bin/sh", "../../../../etc/shadow")
        .file("./usr/empty", "")
        .raw(&Raw { kind: b'5', name: b"./var/tmp", mode: 0o1777, ..Raw::default() })
        .end();
    let (text, list) = (
        "Package: a\n",
        "/.\n/usr\n/usr/bin\n/usr/bin/su\n/usr/bin/sudo\n/usr/bin/sux\n/usr/bin/sh\n/usr/empty\n\
         /var/tmp\n",
    );
    let digest = |text: &str| format!("{} {}", Digest::of(text.as_bytes()), text.len());
    let expected = format!(
        "control dir 755 0 0 0 -\n\
         control/control file 644 0 0 5 - {}\n\
         data dir 755 0 0 0 -\n\
         data/usr dir 755 0 0 5 -\n\
         data/usr/bin dir 2775 33 4000000 1700000000 -\n\
         data/usr/bin/sh symlink 777 0 0 5 - ../../../../etc/shadow\n\
         data/usr/bin/su file 4755 33 4000000 1700000000 - {}\n\
         data/usr/bin/sudo hardlink 644 0 0 5 - data/usr/bin/su\n\
         data/usr/bin/sux hardlink 644 0 0 5 - data/usr/bin/su\n\
         data/usr/empty file 644 0 0 5 - {}\n\
         data/var dir 755 0 0 0 -\n\
         data/var/tmp dir 1777 0 0 5 -\n\
         list file 644 0 0 0 - {}\n",
        digest(text),
        digest("program"),
        digest(""),
        digest(list),
    );
    for ending in ENDINGS {
        let (_dir, store) = store();
        let tree = import_to(&store, &deb(ending, &control(text), &data)).expect(ending);
        assert_eq!(tree.canonical(), expected, "{ending}");
        for (path, contents) in
            [("control/control", text), ("data/usr/bin/sux", "program"), ("list", list)]
        {
            let (file, _) = tree.file(path).expect(path);
            assert_eq!(store.read(file).expect(path), contents.as_bytes(), "{ending}: {path}");
        }
    }
}

#[test]
fn all_spellings_of_a_name_stay_in_the_package() {
    let long = format!("./{}/{}", "d".repeat(150), "f".repeat(255));
    let data = Tar::new()
        .file("etc/passwd", "1")
        .file("etc/./group", "2")
        .file("./etc//hosts", "3")
        .hard_link("etc/link", "./etc/passwd")
        .long(b'L', long.as_bytes())
        .long(b'K', long.as_bytes())
        .symlink("cut off", "cut off")
        .end();
    let (_dir, store) = store();
    let tree = import_to(&store, &with_data(data)).expect("good");
    let names: Vec<_> = tree.below("data/etc").map(|(path, _)| path.name()).collect();
    assert_eq!(names, ["group", "hosts", "link", "passwd"]);
    let first = "data/etc/passwd".parse().expect("path");
    assert_eq!(tree.get("data/etc/link").expect("link").node, Node::HardLink(first));
    let link = tree.get(&format!("data/{}", &long[2..])).expect("the long name");
    assert_eq!(link.node, Node::Symlink(long));
}

#[test]
fn a_directory_may_come_after_its_contents_once() {
    let late = Raw { kind: b'5', name: b"./a/b", mode: 0o700, owner: (7, 7), ..Raw::default() };
    let data = Tar::new().file("./a/b/c", "").raw(&late);
    let (_dir, store) = store();
    let tree = import_to(&store, &with_data(data.clone().end())).expect("good");
    let meta = &tree.get("data/a/b").expect("the directory").meta;
    assert_eq!((meta.mode, meta.uid, meta.gid, meta.mtime), (0o700, 7, 7, 5));
    refused_data([(data.raw(&late), "data/a/b is there already")]);
}

#[test]
fn names_that_leave_the_package_or_cannot_be_written_down_are_refused() {
    let long = |name: &[u8]| Tar::new().long(b'L', name).file("cut off", "");
    let raw = |name| Tar::new().raw(&Raw { name, ..Raw::default() });
    refused_data([
        (Tar::new().file("../etc/passwd", ""), "\"../etc/passwd\" leaves its root by '..'"),
        (Tar::new().file("./usr/../../x", ""), "\"./usr/../../x\" leaves its root by '..'"),
        (Tar::new().file("/..", ""), "/..: its name begins with '/'"),
        (Tar::new().file("/etc/passwd", ""), "/etc/passwd: its name begins with '/'"),
        (Tar::new().dir("a/../"), "\"a/../\" leaves its root by '..'"),
        (raw(b"a\nb"), "\"a\\nb\" holds a NUL or a line break"),
        (long(b"a\0b"), "\"a\\0b\" holds a NUL or a line break"),
        (raw(b"a\xff"), "a\u{fffd}: its name is not UTF-8"),
        (long(&[b'a'; 256]), "has a component of over 255 bytes"),
        (long(&b"a/".repeat(2100)), "is over 4095 bytes long"),
        (Tar::new().file("./", ""), "./: the root is no directory"),
        (Tar::new().symlink("./", "etc"), "./: the root is no directory"),
    ]);
}

#[test]
fn links_that_lead_out_or_to_nothing_are_refused() {
    let link = |link| Tar::new().raw(&Raw { kind: b'2', name: b"l", link, ..Raw::default() });
    let no_file = "l: it is a hard link to no file before it";
    let long = |length| Tar::new().long(b'K', &b"a".repeat(length)).symlink("l", "cut off");
    refused_data([
        (Tar::new().hard_link("l", "../control/control"), "leaves its root by '..'"),
        (Tar::new().file("f", "").hard_link("l", "./x/../../f"), "leaves its root by '..'"),
        (Tar::new().file("f", "").hard_link("l", "/f"), "l: its target begins with '/'"),
        (Tar::new().hard_link("l", "./"), "l: it is a hard link to the root"),
        (Tar::new().hard_link("l", "f"), no_file),
        (Tar::new().hard_link("l", "l"), no_file),
        (Tar::new().hard_link("l", "f").file("f", ""), no_file),
        (Tar::new().dir("f").hard_link("l", "f"), no_file),
        (Tar::new().symlink("f", "/etc/shadow").hard_link("l", "f"), no_file),
        (Tar::new().hard_link("l", ""), "l: it is a link to nothing"),
        (link(b""), "l: it is a link to nothing"),
        (link(b"a\nb"), "l: its link target is empty, too long, or not one line"),
        (long(4096), "l: its link target is empty, too long, or not one line"),
        (link(b"\xff"), "not UTF-8"),
    ]);
}

#[test]
fn a_path_is_one_thing_only() {
    let parent = "its parent directory is missing or no directory";
    refused_data([
        (Tar::new().symlink("lib", "usr/lib").dir("usr/lib").file("lib/x", ""), parent),
        (Tar::new().symlink("lib", "/etc").file("lib/x/y", ""), "data/lib"),
        (Tar::new().symlink("lib", "/etc").dir("lib"), "data/lib is there already"),
        (Tar::new().dir("lib").symlink("lib", "/etc"), "data/lib is there already"),
        (Tar::new().file("lib/x", "").symlink("lib", "/etc"), "data/lib is there already"),
        (Tar::new().file("f", "").file("f/x", ""), parent),
        (Tar::new().file("f", "").hard_link("h", "f").file("h/x", ""), parent),
        (Tar::new().file("f", "1").dir("f"), "data/f is there already"),
        (Tar::new().dir("f").file("f", ""), "data/f is there already"),
        (Tar::new().file("f", "1").file("./f", "2"), "data/f is there already"),
        (Tar::new().file("f", "1").hard_link("f", "f"), "data/f is there already"),
        (Tar::new().dir("d").dir("./d/"), "data/d is there already"),
    ]);
}

#[test]
fn only_files_directories_and_links_may_be_in_a_package() {
    let of = |kind, body| Tar::new().raw(&Raw { kind, name: b"x", body, ..Raw::default() });
    let device = "x: it is a device, which a package may not ship";
    let contents = "x: it has contents but is no regular file";
    refused_data([
        (of(b'3', b""), device),
        (of(b'4', b""), device),
        (of(b'6', b""), device),
        (of(b'7', b""), "x: unknown kind of entry Continuous"),
        (of(b'?', b""), "x: unknown kind of entry"),
        (of(b'7', b"1"), contents),
        (of(b'5', b"1"), contents),
        (
            Tar::new().raw(&Raw {
                kind: b'2',
                name: b"x",
                link: b"y",
                body: b"1",
                ..Raw::default()
            }),
            contents,
        ),
        (
            Tar::new().file("y", "").raw(&Raw {
                kind: b'1',
                name: b"x",
                link: b"y",
                body: b"1",
                ..Raw::default()
            }),
            contents,
        ),
    ]);
}

#[test]
fn a_root_file_system_may_hold_devices_and_attributes() {
    let mut device = Raw { kind: b'4', name: b"./sda", ..Raw::default() }.header();
    device.set_device_major(8).expect("GNU's header has it");
    device.set_device_minor(1).expect("GNU's header has it");
    device.set_cksum();
    let archive = Tar::new()
        .dir("./")
        .append(&device, b"")
        .raw(&Raw { kind: b'6', name: b"./pipe", ..Raw::default() })
        .pax(b'x', &[("mtime", "5.25"), ("SCHILY.xattr.security.capability", "\u{1}")])
        .file("./ping", "")
        .end();
    let (_dir, store) = store();
    let tree = store.tree::<UnpackError>(Digest::of(b"root"), |pack| {
        let mut tree = Tree::new();
        let names = unpack::unpack(&mut &archive[..], "", Source::System, &mut tree, pack)?;
        assert_eq!(names, ["/.", "/sda", "/pipe", "/ping"]);
        Ok(tree)
    });
    let empty = Digest::of(b"");
    assert_eq!(
        tree.expect("good").canonical(),
        format!(
            "ping file 644 0 0 5 security.capability=01 {empty} 0\n\
             pipe fifo 644 0 0 5 -\n\
             sda blockdev 644 0 0 5 - 8 1\n"
        )
    );
}

#[test]
fn a_damaged_tar_header_is_refused() {
    let good = Raw { name: b"x", ..Raw::default() };
    let with = |change: fn(&mut tar::OldHeader)| {
        let mut header = good.header();
        change(header.as_old_mut());
        header.set_cksum();
        Tar::new().append(&header, b"")
    };
    let mut wrong_sum = good.header();
    wrong_sum.as_old_mut().mode[0] ^= 1;
    refused_data([
        (Tar::new().append(&wrong_sum, b""), "damaged: archive header checksum mismatch"),
        (with(|header| header.size = *b"number here\0"), "damaged: numeric field was not a number"),
        (with(|header| header.mode = *b"rwxr-xr\0"), "damaged: numeric field was not a number"),
        (with(|header| header.uid = [0; 8]), "damaged: numeric field was not a number"),
        (with(|header| header.size = [0xff; 12]), "damaged: size overflow"),
        (with(|header| header.mtime = [0xff; 12]), "x: its time is out of range"),
        (Tar::new().raw(&Raw { owner: (1 << 32, 0), ..good }), "x: its owner is out of range"),
        (Tar::new().raw(&Raw { owner: (0, 1 << 32), ..good }), "x: its owner is out of range"),
        (Tar::new().long(b'L', b"a").long(b'L', b"b").file("c", ""), "damaged: two names"),
        (Tar::new().long(b'L', b"a"), "damaged: something is said of an entry that does not come"),
        (with(|header| header.size = *b"+0000000000\0"), "x: a number of its header is none"),
        (
            with(|header| header.mtime = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]),
            "is none, or out of range",
        ),
        (
            with(|header| header.mtime = [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
            "x: its time is out of range",
        ),
        (Tar::new().raw(&Raw { owner: (u64::from(u32::MAX), 0), ..good }), "x: its owner is out"),
    ]);
}

#[test]
fn what_follows_the_end_of_an_archive_is_refused() {
    let ended = Tar::new().file("x", "").end();
    let zeros = [&ended[..], &[0; 9 * 512 + 1]].concat();
    let (_dir, store) = store();
    import_to(&store, &with_data(zeros)).expect("tar fills up its last record");
    let hidden = Tar::new().file("y", "").end();
    let words = "something follows the end of the tar archive";
    let entry = with_data([&ended[..], &hidden].concat());
    let byte = with_data([&ended[..], b"\n"].concat());
    refused("data.tar: ", [(entry, words), (byte, words)]);
    let behind = [control("Package: a\n"), hidden].concat();
    refused("control.tar: ", [(deb("", &behind, &ended), words)]);
}

#[test]
fn what_follows_compressed_contents_is_refused() {
    let data = Tar::new().file("x", "").end();
    let words = "something follows its compressed contents";
    for ending in [".gz", ".xz", ".zst"] {
        let member = format!("data.tar{ending}");
        let packed = pack(ending, &data);
        let cases = [b"garbage".to_vec(), b"\0\0\0\0".to_vec(), packed.clone()].map(|more| {
            let both = [&packed[..], &more].concat();
            let control = control("Package: a\n");
            (ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (&member, &both)]), words)
        });
        refused(&format!("{member}: "), cases);
    }
}

#[test]
fn compressed_contents_that_are_damaged_are_refused() {
    let data = Tar::new().file("x", &"contents\n".repeat(1000)).end();
    for ending in [".gz", ".xz", ".zst"] {
        let packed = pack(ending, &data);
        let member = format!("data.tar{ending}");
        let with = |bytes: &[u8]| {
            let control = control("Package: a\n");
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (&member, bytes)])
        };
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        refused("data.tar", [(with(&flipped), ""), (with(b"not compressed at all"), "")]);
        // Whatever is missing is missed, also when the member's size agrees.
        refused("data.tar", (0..packed.len()).map(|length| (with(&packed[..length]), "")));
    }
}

/// The xz dictionary and zstd window that a package may ask for are bounded.
#[test]
fn a_package_cannot_ask_for_any_amount_of_memory() {
    let data = Tar::new().file("x", "").end();
    let xz = |dictionary: u8| {
        let mut bytes = pack(".xz", &data);
        assert_eq!(bytes[14..16], [0x21, 1], "LZMA2 and its one property");
        bytes[16] = dictionary;
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[12..20]);
        bytes[20..24].copy_from_slice(&sum.sum().to_le_bytes());
        let control = control("Package: a\n");
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.xz", &bytes)])
    };
    let zst = |window_log: u8| {
        // Magic, no options, window, one last block of plain bytes.
        let block = u32::try_from(data.len() << 3 | 1).expect("small").to_le_bytes();
        let head = [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
        let bytes = [&head[..], &block[..3], &data].concat();
        let control = control("Package: a\n");
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &bytes)])
    };
    let (_dir, store) = store();
    import_to(&store, &xz(28)).expect("64 MiB");
    import_to(&store, &zst(27)).expect("128 MiB");
    refused("data.tar: ", [(xz(30), "memory limit"), (zst(28), "too much memory")]);
}

#[test]
fn the_members_are_these_three_in_this_order() {
    let data = Tar::new().file("x", "").end();
    let control = control("Package: a\n");
    let (version, control, data) =
        (("debian-binary", &b"2.0\n"[..]), ("control.tar", &control[..]), ("data.tar", &data[..]));
    let signature = ("_gpgorigin", &b"signed"[..]);
    let instead = |name: &str| format!("member \"{name}\" stands in its place");
    refused(
        "debian-binary: ",
        [
            (ar(&[control, version, data]), instead("control.tar")),
            (ar(&[control, data]), instead("control.tar")),
            (b"!<arch>\n".to_vec(), "the file ends too early".to_owned()),
        ],
    );
    refused(
        "control.tar: ",
        [
            (ar(&[version, data, control]), instead("data.tar")),
            (ar(&[version, data]), instead("data.tar")),
            (ar(&[version, signature, control, data]), instead("_gpgorigin")),
            (ar(&[version, version, control, data]), instead("debian-binary")),
            (ar(&[version, ("control.tarx", control.1), data]), instead("control.tarx")),
            (ar(&[version]), "the file ends too early".to_owned()),
        ],
    );
    refused(
        "data.tar: ",
        [
            (ar(&[version, control, control, data]), instead("control.tar")),
            (ar(&[version, control, signature, data]), instead("_gpgorigin")),
            (ar(&[version, control]), "the file ends too early".to_owned()),
        ],
    );
    let whole = ar(&[version, control, data]);
    refused(
        "the archive: something follows its last member",
        [
            (ar(&[version, control, data, data]), ""),
            (ar(&[version, control, data, signature]), ""),
            ([&whole[..], b"\n"].concat(), ""),
            ([&whole[..], b"\0"].concat(), ""),
        ],
    );
    refused(
        "the archive: ",
        [
            (Vec::new(), "the file ends too early"),
            ([b"!<thin>\n", &whole[8..]].concat(), "it does not begin as a Debian package does"),
            (pack(".xz", &whole), "it does not begin as a Debian package does"),
        ],
    );
}

#[test]
fn only_format_2_and_known_compressions_are_read() {
    let data = Tar::new().file("x", "").end();
    let control = control("Package: a\n");
    let version = |text: &[u8]| {
        ar(&[("debian-binary", text), ("control.tar", &control), ("data.tar", &data)])
    };
    let (_dir, store) = store();
    import_to(&store, &version(b"2.1\nmore\n")).expect("deb(5) lets the minor number grow");
    refused(
        "debian-binary: unknown format version",
        [
            (version(b"3.0\n"), "3.0"),
            (version(b"0.939000\n"), "0.939000"),
            (version(b"20.0\n"), "20.0"),
            (version(b"2\n"), "2"),
            (version(b"2.0"), "2.0"),
            (version(b""), "\"\""),
        ],
    );
    let long = [&b"2.0\n"[..], &[b'\n'; 61]].concat();
    refused("debian-binary: ", [(version(b"2.\xff\n"), "UTF-8"), (version(&long), "follows")]);
    for ending in [".bz2", ".lzma", ".Z", ".xz.gz", "."] {
        let member = format!("data.tar{ending}");
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (&member, &data)]);
        refused(&member, [(bytes, format!("unknown compression {ending:?}"))]);
    }
}

/// `bytes` with the field of 10 bytes that holds the size of the member `name`.
fn with_size(bytes: &[u8], name: &str, size: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(name.len()).position(|part| part == name.as_bytes()).expect(name) + 48;
    bytes[at..at + 10].copy_from_slice(format!("{size:<10}").as_bytes());
    bytes
}

#[test]
fn a_damaged_member_header_is_refused() {
    let data = Tar::new().file("x", "").end();
    let good = with_data(data.clone());
    let size = |size: &str| with_size(&good, "data.tar", size);
    refused(
        "data.tar: ",
        [
            (size("many"), "its size is not a number"),
            (size(""), "its size is not a number"),
            (size("-1"), "its size is not a number"),
            (size("0x800"), "its size is not a number"),
            (size("1 2"), "its size is not a number"),
            (size(&(data.len() + 1).to_string()), "the file ends in the middle of it"),
            (size("9999999999"), "the file ends in the middle of it"),
        ],
    );
    refused(
        "the archive: ",
        [(size(&(data.len() - 2).to_string()), "something follows its last member")],
    );
    // The rest of the one is no header of the other.
    refused("data.tar: member", [(with_size(&good, "control.tar", "2048"), "in its place")]);

    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let control = 8 + 60 + 4;
    refused("control.tar: ", [(changed(control + 58, b' '), "its archive header is damaged")]);
    refused("control.tar: ", [(changed(control + 20, 0xff), "its archive header is not text")]);
    let mut odd = ar(&[("debian-binary", b"2.0\n\n"), ("control.tar", b"")]);
    odd[8 + 60 + 5] = b'x';
    refused("debian-binary: ", [(odd, "its padding is damaged")]);
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let data = Tar::new().dir("./").file("./x", "contents").end();
    let (_dir, store) = store();
    for ending in [".gz", ".xz", ".zst"] {
        let good = deb(ending, &control("Package: a\n"), &data);
        import_to(&store, &good).expect("good");
        for length in 0..good.len() {
            let error = import_to(&store, &good[..length]).expect_err("cut").to_string();
            let parts = ["the archive: ", "debian-binary: ", "control.tar", "data.tar"];
            assert!(parts.iter().any(|part| error.starts_with(part)), "{length}: {error}");
        }
    }
}

// What follows was accepted once.

#[test]
fn a_tar_archive_without_its_end_is_refused() {
    let words = "damaged: its end is missing";
    let unended = Tar::new().file("x", "contents").file("y", "").unended();
    refused(
        "data.tar: ",
        [
            (with_data(unended.clone()), words),
            (with_data(unended[..1024].to_vec()), words),
            (with_data(Vec::new()), words),
        ],
    );
    refused(
        "data.tar: ",
        (0..unended.len()).map(|length| (with_data(unended[..length].to_vec()), "damaged")),
    );
    refused("control.tar: ", [(deb(".xz", b"", &unended), words)]);
}

#[test]
fn the_root_is_listed_once_and_without_contents() {
    let hidden = Raw { name: b"./hidden", ..Raw::default() }.header();
    let root = Raw { kind: b'5', name: b"./", body: hidden.as_bytes(), ..Raw::default() };
    refused_data([
        (Tar::new().raw(&root), "./: it has contents but is no regular file"),
        (Tar::new().dir("./").dir("."), ".: it is there already"),
    ]);
}

#[test]
fn only_a_directorys_name_may_end_in_a_slash() {
    let words = "x/: its name ends in '/', but it is no directory";
    refused_data([
        (Tar::new().file("x/", ""), words),
        (Tar::new().file("x/", "contents"), words),
        (Tar::new().symlink("x/", "y"), words),
        (Tar::new().file("y", "").hard_link("x/", "y"), words),
    ]);
}

#[test]
fn pax_headers_are_refused_as_dpkg_refuses_them() {
    let with = |fields: &[(&str, &str)]| Tar::new().pax(b'x', fields).file("x", "contents");
    let words = "PaxHeaders/x: it is a PAX header, which no package may have";
    refused_data([
        (with(&[("size", "512")]), words),
        (with(&[("size", "8"), ("size", "0")]), words),
        (with(&[("GNU.sparse.major", "1")]), words),
        (with(&[("uid", "1000x")]), words),
        (with(&[("comment", "\n\n10 uid=3\n")]), words),
        (with(&[("SCHILY.xattr.user.a", "b")]), words),
        (Tar::new().pax(b'x', &[("mtime", "1")]).dir("./x"), words),
        (Tar::new().pax(b'x', &[("path", "./y")]).file("x", ""), words),
        (Tar::new().pax(b'x', &[("path", "./")]).dir("x"), words),
        (Tar::new().pax(b'g', &[("path", "./y")]).file("x", ""), words),
    ]);
}

#[test]
fn a_size_has_digits_only() {
    let good = with_data(Tar::new().file("x", "").end());
    let size = |size: &str| with_size(&good, "data.tar", size);
    let words = "its size is not a number";
    refused(
        "data.tar: ",
        [(size("+2048"), words), (size("2048\n"), words), (size("2048\t"), words)],
    );
}

#[test]
fn a_members_name_is_its_part_and_one_ending() {
    let data = Tar::new().file("x", "").end();
    let control = control("Package: a\n");
    let named = |version: &str, member: &str| {
        ar(&[(version, b"2.0\n"), ("control.tar", &control), (member, &data)])
    };
    let words = "member \"debian-binary.x\" stands in its place";
    refused("debian-binary: ", [(named("debian-binary.x", "data.tar"), words)]);
    for ending in [".tar", ".xz.tar"] {
        let words = format!("unknown compression {ending:?}");
        refused("data.tar", [(named("debian-binary", &format!("data.tar{ending}")), words)]);
    }
}

#[test]
fn control_members_are_plain_files() {
    let data = Tar::new().file("x", "").end();
    let with = |more: fn(Tar) -> Tar| {
        deb("", &more(Tar::new().dir("./").file("./control", "Package: a\n")).end(), &data)
    };
    let (_dir, store) = store();
    import_to(&store, &with(|tar| tar.hard_link("./postinst", "./control"))).expect("one file");
    let words = "control/postinst is no plain file";
    refused(
        "control.tar: ",
        [
            (with(|tar| tar.symlink("./postinst", "../data/x")), words),
            (with(|tar| tar.dir("./postinst")), words),
            (with(|tar| tar.file("./postinst/x", "")), words),
        ],
    );
}
