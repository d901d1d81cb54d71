//! Hostile tar archives, as the data of an otherwise good package.

use std::path::Path;

use crate::Case;
use crate::debs::{Raw, Tar, ar, control, deb, good_control, pack};

/// A good package with this data.
fn with(data: Vec<u8>) -> Vec<u8> {
    deb("", &control(good_control()), &data)
}

/// The headers of an entry whose size field is these bytes.
fn sized(size: [u8; 12], body: &[u8]) -> Tar {
    let mut header = Raw { name: b"./f", ..Raw::default() }.header();
    header.as_old_mut().size = size;
    header.set_cksum();
    Tar::new().append(&header, body)
}

/// One file of so many zeros, never whole in memory.
fn zeros(ending: &str, bytes: u64) -> Vec<u8> {
    let mut header = Raw { name: b"./bomb", ..Raw::default() }.header();
    header.set_size(bytes);
    header.set_cksum();
    let head = header.as_bytes().to_vec();
    let packed = crate::debs::packed_zeros(ending, &head, bytes + 1024);
    let member = format!("data.tar{ending}");
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control(good_control())),
        (&member, &packed),
    ])
}

fn many(count: usize, name: impl Fn(usize) -> String) -> Vec<u8> {
    let mut tar = Tar::new();
    for number in 0..count {
        let name = name(number);
        if name.len() > 99 {
            tar = tar.long(b'L', name.as_bytes());
        }
        let short = &name.as_bytes()[..name.len().min(99)];
        // Folders: they have no contents to be kept.
        tar = tar.raw(&Raw { kind: b'5', name: short, ..Raw::default() });
    }
    let packed = pack(".zst", &tar.end());
    let control = control(good_control());
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &packed)])
}

pub fn cases(canary: &Path) -> Vec<Case> {
    let there = canary.display().to_string();
    let (file, folder) = (format!("{there}/file"), format!("{there}/folder"));
    let up = format!("./usr/../../../../../../../../../..{file}");
    let new = Tar::new;
    let named = |name: &'static [u8]| Raw { name, ..Raw::default() };
    let of = |kind: u8| new().raw(&Raw { kind, ..named(b"./x") });
    let mut chain = new();
    for number in 0..100 {
        chain = chain.symlink(&format!("./s{number}"), &format!("s{}", number + 1));
    }
    let chain = chain.symlink("./s100", &there).file("./s0/file", "changed\n");
    let deep = "d/".repeat(60);
    let mut deeper = new();
    for number in 0..16 {
        deeper = deeper.long(b'K', deep.as_bytes()).symlink(&format!("./l{number}"), "cut");
    }
    let link = format!("{}/l15/../../../../../..{there}", "l0".repeat(30));
    let deeper = deeper.long(b'L', format!("./{link}/file").as_bytes()).file("cut", "");
    let owner = |uid, gid| new().raw(&Raw { owner: (uid, gid), ..named(b"./f") });
    let mut late = named(b"./f").header();
    late.as_old_mut().mtime = [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    late.set_cksum();
    let mut before = named(b"./f").header();
    before.as_old_mut().mtime = [0xff; 12];
    before.set_cksum();
    let mut wrong_sum = named(b"./f").header();
    wrong_sum.as_old_mut().mode[3] ^= 1;
    let mut long_name = Raw { kind: b'L', name: b"././@LongLink", ..Raw::default() }.header();
    long_name.set_size(1 << 30);
    long_name.set_cksum();
    let mut sparse = named(b"./f").header();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    if let Some(gnu) = sparse.as_gnu_mut() {
        gnu.set_real_size(1 << 50);
    }
    sparse.set_cksum();
    let smuggled = new().file("./etc/passwd", "root::0:0:::\n").unended();
    let ended = new().file("./f", "").end();
    let hidden = [&ended[..], &new().file("./hidden", "").end()].concat();
    let lone = [&new().file("./f", "").unended()[..], &[0; 512], &ended].concat();
    let cut = new().file("./f", &"contents\n".repeat(200)).unended();

    let refused = |name, data: Tar, words| Case::new(name, with(data.end()), words);
    let parent: &[&str] = &["data.tar: ", "its parent directory is missing or no directory"];
    let there_already: &[&str] = &["data.tar: ", "is there already"];
    let no_file: &[&str] = &["it is a hard link to no file before it"];
    let device: &[&str] = &["./x: it is a device, which a package may not ship"];
    let pax: &[&str] = &["it is a PAX header, which no package may have"];
    let no_number: &[&str] = &["a number of its header is none, or out of range"];
    vec![
        refused("good", new().dir("./").file("./usr/share/x", "x\n"), &[]),
        refused(
            "absolute",
            new().long(b'L', file.as_bytes()).file("cut", "x"),
            &["its name begins with '/'"],
        ),
        refused(
            "up",
            new().long(b'L', up.as_bytes()).file("cut", "x"),
            &["leaves its root by '..'"],
        ),
        refused("up at once", new().file("../x", ""), &["\"../x\" leaves its root by '..'"]),
        refused("a folder up", new().dir("./a/../../"), &["leaves its root by '..'"]),
        refused("by a linked folder", new().symlink("./d", &there).file("./d/file", "x"), parent),
        refused("a linked folder's mode", new().symlink("./d", &folder).dir("./d"), there_already),
        refused(
            "a file's mode by a link",
            new().symlink("./f", &file).raw(&Raw { mode: 0o777, ..named(b"./f") }),
            there_already,
        ),
        refused("hard link out", new().hard_link("./f", &file), &["its target begins with '/'"]),
        refused(
            "hard link up",
            new().hard_link("./f", "../../etc/passwd"),
            &["leaves its root by '..'"],
        ),
        refused(
            "hard link to a link",
            new().symlink("./s", &file).hard_link("./f", "./s"),
            no_file,
        ),
        refused(
            "hard link by a linked folder",
            new().symlink("./d", &there).hard_link("./f", "./d/file"),
            no_file,
        ),
        refused(
            "hard link, then through it",
            new().file("./f", "1").hard_link("./g", "./f").file("./g", "2"),
            there_already,
        ),
        refused("a chain of links", chain, parent),
        refused("links deeper than PATH_MAX", deeper, &["leaves its root by '..'"]),
        refused("twice", new().file("./f", "1").file("./f", "2"), there_already),
        refused(
            "twice, otherwise written",
            new().file("./f", "1").file(".//./f", "2"),
            there_already,
        ),
        refused("a file becomes a folder", new().file("./f", "").dir("./f"), there_already),
        refused("a folder becomes a link", new().dir("./d").symlink("./d", &there), there_already),
        refused("a file with files in it", new().file("./f", "").file("./f/g", ""), parent),
        refused("a character device", of(b'3'), device),
        refused("a block device", of(b'4'), device),
        refused("a pipe", of(b'6'), device),
        refused("a contiguous file", of(b'7'), &["unknown kind of entry"]),
        refused("an unknown kind", of(b'X'), &["unknown kind of entry"]),
        refused("a volume's name", of(b'V'), &["unknown kind of entry"]),
        refused(
            "a folder with contents",
            new().raw(&Raw { kind: b'5', body: &smuggled, ..named(b"./d") }),
            &["it has contents but is no regular file"],
        ),
        refused(
            "a link with contents",
            new().raw(&Raw { kind: b'2', link: b"x", body: &smuggled, ..named(b"./l") }),
            &["it has contents but is no regular file"],
        ),
        refused(
            "PAX size and the header's",
            new().pax(b'x', &[("size", "0")]).raw(&Raw { body: &smuggled, ..named(b"./f") }),
            pax,
        ),
        refused("PAX path", new().pax(b'x', &[("path", "/etc/passwd")]).file("./f", ""), pax),
        refused("PAX for all", new().pax(b'g', &[("path", "/x")]).file("./f", ""), pax),
        refused(
            "capabilities",
            new().pax(b'x', &[("SCHILY.xattr.security.capability", "\u{1}")]).file("./f", ""),
            pax,
        ),
        refused(
            "a long name of 1 GiB",
            new().append(&long_name, b""),
            &["damaged: a name of 1073741824 bytes"],
        ),
        Case::new(
            "a long name cut short",
            {
                with(
                    [&new()
                        .append(
                            &{
                                let mut header =
                                    Raw { kind: b'L', name: b"././@LongLink", ..Raw::default() }
                                        .header();
                                header.set_size(300);
                                header.set_cksum();
                                header
                            },
                            b"abc",
                        )
                        .unended()[..]]
                    .concat(),
                )
            },
            &["data.tar: ", "damaged"],
        ),
        refused(
            "two long names",
            new().long(b'L', b"./a").long(b'L', b"./b").file("./c", ""),
            &["two names for one entry"],
        ),
        refused(
            "a long name of nothing",
            new().long(b'L', b"./a"),
            &["something is said of an entry that does not come"],
        ),
        refused(
            "a NUL in a name",
            new().long(b'L', b"./a\0/../../x").file("cut", ""),
            &["holds a NUL or a line break"],
        ),
        refused(
            "a line break in a name",
            new().raw(&named(b"./a\n/etc/passwd")),
            &["holds a NUL or a line break"],
        ),
        refused(
            "a name that is not UTF-8",
            new().raw(&named(b"./\xff\xfe")),
            &["its name is not UTF-8"],
        ),
        refused(
            "a name of 300 bytes",
            new().long(b'L', &[b'a'; 300]).file("cut", ""),
            &["has a component of over 255 bytes"],
        ),
        refused(
            "a target of 5000 bytes",
            new().long(b'K', &[b'a'; 5000]).symlink("./l", "cut"),
            &["its link target is empty, too long, or not one line"],
        ),
        refused("a negative size", sized([0xff; 12], b""), &["damaged: size overflow"]),
        refused(
            "a size over 64 bits",
            sized([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5], b"hello"),
            no_number,
        ),
        refused("a size with a sign", sized(*b"+0000000005\0", b"hello"), no_number),
        refused("a size of letters", sized(*b"0000000zzzz\0", b""), &["damaged: numeric field"]),
        refused("a size of 8 GiB", sized(*b"77777777777\0", b"hello"), &["damaged"]),
        refused("a sparse bomb", new().append(&sparse, b""), &["unknown kind of entry"]),
        refused("an owner over 32 bits", owner(1 << 32, 0), &["its owner is out of range"]),
        refused(
            "a group that is nobody's",
            owner(0, u64::from(u32::MAX)),
            &["its owner is out of range"],
        ),
        refused("a time far ahead", new().append(&late, b""), &["its time is out of range"]),
        refused("a time before 1970", new().append(&before, b""), &["its time is out of range"]),
        refused(
            "a wrong checksum",
            new().append(&wrong_sum, b""),
            &["damaged: archive header checksum mismatch"],
        ),
        Case::new(
            "something behind its end",
            with(hidden),
            &["something follows the end of the tar archive"],
        ),
        Case::new(
            "something behind one block of zeros",
            with(lone),
            &["something follows the end of the tar archive"],
        ),
        Case::new(
            "no end",
            with(new().file("./f", "").unended()),
            &["damaged: its end is missing"],
        ),
        Case::new("cut short", with(cut[..cut.len() - 700].to_vec()), &["damaged"]),
        Case::new(
            "300 000 entries",
            many(300_000, |number| format!("./{number}")),
            &["it has over 250000 entries"],
        ),
        Case::new(
            "20 MiB of names",
            many(80_000, |number| format!("./{number:0>250}")),
            &["too long together"],
        ),
        Case::new(
            "folders that nobody named",
            many(200, |number| format!("./{number}/{}x", "a/".repeat(2000))),
            &["the archive has too many folders"],
        ),
        Case::new("an xz bomb", zeros(".xz", 600 << 20), &["it unpacks to over 512 MiB"]),
        Case::new("a gzip bomb", zeros(".gz", 600 << 20), &["it unpacks to over 512 MiB"]),
        Case::new("a zstd bomb", zeros(".zst", 600 << 20), &["it unpacks to over 512 MiB"]),
    ]
}
