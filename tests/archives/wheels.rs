//! Hostile wheels.

use std::path::Path;

use base64::Engine;
use chatimg::digest::Digest;
use chatimg::fuzzing;
use chatimg::lock::Wheel;
use chatimg::store::Store;

use crate::Case;
use crate::debs::packed_zeros;
use crate::zips::{Member, zip};

const METADATA: &str = "Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n";

/// As `chatimg build` does it with the wheels of a lock.
pub fn import(store: &Store, case: &Case) -> Result<(), String> {
    let digest = store.add_blob(&case.bytes).expect("the store takes it");
    let wheel = Wheel {
        env: "env".to_owned(),
        name: "guest".to_owned(),
        version: "1.0".to_owned(),
        file: "guest-1.0-py3-none-any.whl".to_owned(),
        size: case.bytes.len() as u64,
        digest,
    };
    let made = fuzzing::wheels(store, &[wheel]);
    made.map(|_| ()).map_err(|error| error.to_string())
}

/// RECORD of these files, and what else it shall say.
fn record(files: &[(&str, &[u8])], more: &str) -> Member {
    let row = |(name, contents): &(&str, &[u8])| {
        let digest = Digest::of(contents);
        let sum = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest.as_bytes());
        format!("{name},sha256={sum},{}\n", contents.len())
    };
    let text: String = files.iter().map(row).collect();
    Member::new("guest-1.0.dist-info/RECORD", format!("{text}{more}").as_bytes())
}

/// A wheel of these files with a right RECORD, and members that it knows nothing of.
fn with(files: &[(&str, &[u8])], more: &[Member]) -> Vec<u8> {
    let metadata: [(&str, &[u8]); 1] = [("guest-1.0.dist-info/METADATA", METADATA.as_bytes())];
    let own = files.iter().all(|(name, _)| *name != metadata[0].0);
    let all = [&metadata[if own { 0 } else { 1 }..], files].concat();
    let mut members: Vec<_> = all.iter().map(|(name, text)| Member::new(name, text)).collect();
    members.push(record(&all, ""));
    members.extend_from_slice(more);
    zip(&members)
}

/// A member of zeros that says it has so many, and has `real`.
fn zeros(name: &str, said: u32, real: u64) -> Member {
    let gz = packed_zeros(".gz", b"", real);
    let mut member = Member::new(name, b"");
    // Without gzip's own header and end it is what a zip holds.
    member.packed = gz[10..gz.len() - 8].to_vec();
    member.sum = u32::from_le_bytes(gz[gz.len() - 8..gz.len() - 4].try_into().expect("four"));
    member.size = said;
    member
}

pub fn cases(canary: &Path) -> Vec<Case> {
    let there = canary.display().to_string();
    let (out, up) = (format!("{there}/file"), format!("guest/../../../../../../..{there}/file"));
    let good = with(&[("guest/data.txt", b"x\n")], &[]);
    let file = |name: &str| with(&[(name, b"x\n")], &[]);
    let changed = |change: fn(&mut Member)| {
        let mut member = Member::new("guest/x", b"contents contents contents");
        change(&mut member);
        with(&[], &[member])
    };
    let metadata = |text: &str| with(&[("guest-1.0.dist-info/METADATA", text.as_bytes())], &[]);
    let mut overlapping = vec![Member::new("guest/a", b"x")];
    overlapping.extend(
        (0..100).map(|number| Member {
            start: Some(0),
            ..Member::new(&format!("guest/{number}"), b"x")
        }),
    );
    let quine = {
        // The second lies inside the first.
        let inner = Member::new("guest/inner", b"x");
        let outer =
            Member { packed: zip(std::slice::from_ref(&inner)), method: 0, ..inner.clone() };
        let size = outer.packed.len() as u32;
        let outer = Member { name: b"guest/outer".to_vec(), size, ..outer };
        zip(&[outer, Member { start: Some(30 + 11), ..inner }])
    };
    let plain: &[&str] = &["its name is not a plain relative path"];
    let two_ways: &[&str] = &["guest/x: its own header and the directory disagree"];
    vec![
        Case::new("good", good.clone(), &[]),
        Case::new("up", file(&up), &["leaves its root by '..'"]),
        Case::new("up at once", file("../x"), &["leaves its root by '..'"]),
        Case::new("absolute", file(&out), plain),
        Case::new("a backslash", file("guest\\..\\..\\x"), plain),
        Case::new("a point", file("./guest/x"), plain),
        Case::new("two slashes", file("guest//x"), plain),
        Case::new("a NUL", file("guest/x\0.py"), &["its name holds a NUL"]),
        Case::new("a line break", file("guest/x\ny"), &["holds a NUL or a line break"]),
        Case::new("no UTF-8", changed(|it| it.name = b"guest/\xff".to_vec()), &["is not UTF-8"]),
        Case::new("a link", changed(|it| it.mode = 0o120_777), &["it is a symbolic link"]),
        Case::new(
            "twice",
            with(&[("guest/x", b"1")], &[Member::new("guest/x", b"2")]),
            &["guest/x: it is there twice"],
        ),
        Case::new(
            "a file with files in it",
            with(&[("guest/x", b""), ("guest/x/y", b"")], &[]),
            &["parent directory is missing or no directory"],
        ),
        Case::new(
            "a folder with contents",
            with(&[], &[Member::new("guest/d/", b"x")]),
            &["it is a folder with contents"],
        ),
        Case::new(
            "over Python's own program",
            file("guest-1.0.data/data/bin/python3"),
            &["opt/env/bin/python3 is there already"],
        ),
        Case::new(
            "an unknown scheme",
            file("guest-1.0.data/headers/x.h"),
            &["no installation scheme has this folder"],
        ),
        Case::new(
            "a program up",
            {
                with(
                    &[("guest-1.0.dist-info/entry_points.txt", b"[console_scripts]\n.. = a:b\n")],
                    &[],
                )
            },
            &["'..'"],
        ),
        Case::new(
            "code as an entry point",
            {
                let text = b"[console_scripts]\nx = a:b;import os\n";
                with(&[("guest-1.0.dist-info/entry_points.txt", text)], &[])
            },
            &["bad line"],
        ),
        Case::new(
            "not in RECORD",
            with(&[], &[Member::new("guest/x", b"x")]),
            &["guest/x: RECORD does not list it"],
        ),
        Case::new(
            "another digest in RECORD",
            {
                zip(&[
                    Member::new("guest-1.0.dist-info/METADATA", METADATA.as_bytes()),
                    record(&[("guest-1.0.dist-info/METADATA", b"something else")], ""),
                ])
            },
            &["METADATA: RECORD has sha256="],
        ),
        Case::new(
            "twice in RECORD",
            {
                let files: [(&str, &[u8]); 1] =
                    [("guest-1.0.dist-info/METADATA", METADATA.as_bytes())];
                zip(&[
                    Member::new(files[0].0, files[0].1),
                    record(&files, "guest-1.0.dist-info/METADATA,sha256=x,1\n"),
                ])
            },
            &["RECORD lists it twice"],
        ),
        Case::new(
            "no RECORD",
            zip(&[Member::new("guest-1.0.dist-info/METADATA", b"")]),
            &["RECORD: it is missing"],
        ),
        Case::new(
            "two dist-infos",
            file("other-1.0.dist-info/METADATA"),
            &["there are 2, not one"],
        ),
        Case::new(
            "another project",
            metadata("Name: root\nVersion: 1.0\n"),
            &["its METADATA does not name guest, but \"root\""],
        ),
        Case::new(
            "another version",
            metadata("Name: guest\nVersion: 0.1\n"),
            &["its METADATA is not of version 1.0, but of \"0.1\""],
        ),
        Case::new(
            "another name in its own header",
            changed(|it| it.local_name = Some(b"guest/y".to_vec())),
            &["guest/x: its own header has another name"],
        ),
        Case::new(
            "another size in its own header",
            {
                let mut bytes = with(&[], &[Member::new("guest/x", b"xx")]);
                let last =
                    (0..bytes.len()).rev().find(|&at| bytes[at..].starts_with(b"PK\x03\x04"));
                bytes[last.expect("a header") + 22] ^= 1;
                bytes
            },
            two_ways,
        ),
        Case::new(
            "something before",
            [b"#!/bin/sh\n", &good[..]].concat(),
            &["its directory does not lie before its end"],
        ),
        Case::new(
            "something behind",
            [&good[..], b"PK"].concat(),
            &["does not end as a zip archive"],
        ),
        Case::new("two archives", [&good[..], &good].concat(), &["its directory does not lie"]),
        Case::new(
            "two ends",
            {
                let end = good[good.len() - 22..].to_vec();
                [&good[..], &end].concat()
            },
            &["its directory does not lie before its end"],
        ),
        Case::new(
            "a comment that is an end",
            {
                let mut bytes = good.clone();
                let (at, end) = (bytes.len() - 2, bytes[bytes.len() - 22..].to_vec());
                bytes[at] = 22;
                [bytes, end].concat()
            },
            &["its directory does not lie before its end"],
        ),
        Case::new(
            "overlapping members",
            zip(&overlapping),
            &["it does not lie behind the one before"],
        ),
        Case::new("a member in a member", quine, &["it does not lie behind"]),
        Case::new("encrypted", changed(|it| it.flags |= 1), &["it is encrypted"]),
        Case::new("bzip2", changed(|it| it.method = 12), &["its compression is unknown"]),
        Case::new(
            "another name by an extra field",
            changed(|it| it.extra = vec![0x75, 0x70, 5, 0, 1, 0, 0, 0, 0]),
            &["an extra field 0x7075"],
        ),
        Case::new(
            "ZIP64",
            changed(|it| it.extra = vec![1, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
            &["an extra field 0x0001"],
        ),
        Case::new("a wrong checksum", changed(|it| it.sum ^= 1), &["its size or checksum is not"]),
        Case::new(
            "bytes behind what is packed",
            changed(|it| it.packed.extend(b"hidden")),
            &["its size or checksum is not"],
        ),
        Case::new(
            "60 000 members",
            {
                let all: Vec<_> =
                    (0..60_000).map(|it| Member::new(&format!("guest/{it}"), b"")).collect();
                zip(&all)
            },
            &["it has over 50000 members"],
        ),
        Case::new(
            "a bomb",
            with(&[], &[zeros("guest/x", 600 << 20, 600 << 20)]),
            &["the wheel unpacks to over 268435456 bytes"],
        ),
        Case::new(
            "a bomb that says it is small",
            with(&[], &[zeros("guest/x", 10, 600 << 20)]),
            &["it unpacks to more than the archive says"],
        ),
        Case::new(
            "a bomb of sources",
            with(&[], &[zeros("guest/x.py", 100 << 20, 100 << 20)]),
            &["67108864 of text"],
        ),
        Case::new("cut short", good[..good.len() / 2].to_vec(), &["does not end as a zip archive"]),
        Case::new("no archive", b"<html>404</html>".to_vec(), &["too short"]),
    ]
}
