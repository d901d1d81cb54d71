//! Hostile .tar.gz, as an npm package and as an archive by its address.

use std::path::Path;

use chatimg::appliance::InputKind;
use chatimg::fuzzing;
use chatimg::lock::{Lock, NpmTarball, Request, UrlBlob, UrlRequest};
use chatimg::store::Store;

use crate::Case;
use crate::debs::{Raw, Tar, pack, packed_zeros};

/// As `chatimg build` does it with an npm package of a lock.
pub fn npm(store: &Store, case: &Case) -> Result<(), String> {
    let digest = store.add_blob(&case.bytes).expect("the store takes it");
    let npm = NpmTarball {
        name: "guest".to_owned(),
        version: "1.0.0".to_owned(),
        integrity: String::new(),
        size: case.bytes.len() as u64,
        digest,
    };
    let asked = [("guest".to_owned(), "^1".to_owned())].into();
    let request = Request { npm: asked, ..Request::default() };
    let lock = Lock { request, npm: vec![npm], ..Lock::default() };
    let made = fuzzing::input(store, InputKind::Npm, "guest", &lock);
    made.map(|_| ()).map_err(|error| error.to_string())
}

/// The same with an archive by its address.
pub fn url(store: &Store, case: &Case) -> Result<(), String> {
    let digest = store.add_blob(&case.bytes).expect("the store takes it");
    let blob = UrlBlob { name: "guest".to_owned(), size: case.bytes.len() as u64, digest };
    let asked = UrlRequest { url: "https://example.org/x.tar.gz".to_owned(), digest: None };
    let request = Request { url: [("guest".to_owned(), asked)].into(), ..Request::default() };
    let lock = Lock { request, urls: vec![blob], ..Lock::default() };
    let made = fuzzing::input(store, InputKind::Archive, "guest", &lock);
    made.map(|_| ()).map_err(|error| error.to_string())
}

pub fn cases(canary: &Path) -> Vec<Case> {
    let there = canary.display().to_string();
    let file = format!("{there}/file");
    let up = format!("package/../../../../../../../../..{file}");
    let start = || Tar::new().file("package/package.json", "{}");
    let plain = start().end();
    let packed = pack(".gz", &plain);
    let mut sum = packed.clone();
    let end = sum.len();
    sum[end - 6] ^= 1;
    let pax = |fields: &[(&str, &str)]| start().pax(b'x', fields).file("package/f", "contents");
    let mode = |mode| start().raw(&Raw { name: b"package/f", mode, ..Raw::default() });
    let of = |kind| start().raw(&Raw { kind, name: b"package/x", ..Raw::default() });
    let mut bomb = Raw { name: b"package/bomb", ..Raw::default() }.header();
    bomb.set_size(600 << 20);
    bomb.set_cksum();
    let mut sized = Raw { name: b"package/f", ..Raw::default() }.header();
    sized.as_old_mut().size = *b"+0000000005\0";
    sized.set_cksum();
    let mut many = start();
    for number in 0..300_000 {
        let name = format!("package/{number}");
        many = many.raw(&Raw { kind: b'5', name: name.as_bytes(), ..Raw::default() });
    }

    let refused = |name, tar: Tar, words| Case::new(name, pack(".gz", &tar.end()), words);
    let damaged_pax: &[&str] = &["damaged: a PAX header"];
    vec![
        Case::new("good", packed.clone(), &[]),
        refused(
            "good, with PAX",
            pax(&[("mtime", "1.5"), ("path", "package/g"), ("size", "8")]),
            &[],
        ),
        refused(
            "up",
            start().long(b'L', up.as_bytes()).file("cut", "x"),
            &["leaves its root by '..'"],
        ),
        refused(
            "absolute",
            start().long(b'L', file.as_bytes()).file("cut", "x"),
            &["its name begins with '/'"],
        ),
        refused("beside its folder", start().file("other/x", ""), &["beside its first folder"]),
        refused("a file at the top", start().file(".bashrc", ""), &["its first folder"]),
        refused("a link out", start().symlink("package/x", &file), &["/package/x is no file"]),
        refused(
            "by a linked folder",
            start().symlink("package/d", &there).file("package/d/file", "x"),
            &["parent directory is missing or no directory"],
        ),
        refused(
            "a hard link",
            start().hard_link("package/x", "package/package.json"),
            &["/package/x is no file"],
        ),
        refused("a hard link out", start().hard_link("package/x", &file), &["begins with '/'"]),
        refused("a device", of(b'3'), &["it is a device"]),
        refused("a pipe", of(b'6'), &["it is a device"]),
        refused("an unknown kind", of(b'Z'), &["unknown kind of entry"]),
        refused("twice", start().file("package/package.json", "{\"x\":1}"), &["is there already"]),
        refused(
            "a file as a folder",
            start().file("package/package.json/x", ""),
            &["parent directory is missing or no directory"],
        ),
        refused("set-user-ID", mode(0o4755), &["it wants to run as somebody else"]),
        refused("set-group-ID", mode(0o2755), &["it wants to run as somebody else"]),
        refused(
            "capabilities",
            pax(&[("SCHILY.xattr.security.capability", "x")]),
            &["it has the extended attribute \"security.capability\""],
        ),
        refused("PAX path up", pax(&[("path", "package/../../x")]), &["leaves its root by '..'"]),
        refused("PAX path with a NUL", pax(&[("path", "package/a\0b")]), &["holds a NUL"]),
        refused("PAX path with a line break", pax(&[("path", "package/a\nb")]), &["a line break"]),
        refused("two PAX paths", pax(&[("path", "package/a"), ("path", "package/b")]), damaged_pax),
        refused("PAX size and the header's", pax(&[("size", "0")]), &["disagree about its size"]),
        refused("a huge PAX size", pax(&[("size", "99999999999999999999")]), damaged_pax),
        refused(
            "a sparse file by PAX",
            pax(&[("GNU.sparse.realsize", "1125899906842624")]),
            &["damaged: a sparse file"],
        ),
        refused("an unknown PAX field", pax(&[("type", "5")]), damaged_pax),
        refused(
            "a PAX record that is none",
            {
                start()
                    .raw(&Raw { kind: b'x', name: b"x", body: b"99 path=x\n", ..Raw::default() })
                    .file("package/f", "")
            },
            damaged_pax,
        ),
        refused(
            "two PAX headers",
            {
                start()
                    .pax(b'x', &[("mtime", "1")])
                    .pax(b'x', &[("mtime", "2")])
                    .file("package/f", "")
            },
            &["two PAX headers for one entry"],
        ),
        refused(
            "two names",
            {
                start().long(b'L', b"package/a").pax(b'x', &[("path", "package/b")]).file("cut", "")
            },
            &["two names for one entry"],
        ),
        refused(
            "PAX for all",
            start().pax(b'g', &[("path", "package/x")]).file("package/f", ""),
            &["it says more than a comment of all files"],
        ),
        refused(
            "a size with a sign",
            start().append(&sized, b"hello"),
            &["a number of its header"],
        ),
        Case::new(
            "gzip, then more",
            [&packed[..], &pack(".gz", &plain)].concat(),
            &["something follows its compressed contents"],
        ),
        Case::new("gzip, then bytes", [&packed[..], b"x"].concat(), &["something follows"]),
        Case::new(
            "something behind its end",
            pack(".gz", &[&plain[..], &Tar::new().file("package/hidden", "").end()].concat()),
            &["something follows the end of the tar archive"],
        ),
        Case::new("no end", pack(".gz", &start().unended()), &["its end is missing"]),
        Case::new("a wrong checksum", sum, &["corrupt"]),
        Case::new("cut short", packed[..packed.len() - 20].to_vec(), &[""]),
        Case::new("no gzip", plain, &["gzip"]),
        Case::new("nothing", Vec::new(), &[""]),
        Case::new(
            "a bomb",
            packed_zeros(".gz", bomb.as_bytes(), (600 << 20) + 1024),
            &["it unpacks to over 512 MiB"],
        ),
        refused("300 000 folders", many, &["it has over 250000 entries"]),
    ]
}
