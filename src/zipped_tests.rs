use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

use super::*;

const TEXT: &[u8] = b"import os\nimport os\nimport os\nimport os\n";

/// Two members: `a.py`, deflated, and `b/c`, stored.
fn good() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("a.py", SimpleFileOptions::default()).expect("member");
    zip.write_all(TEXT).expect("contents");
    zip.start_file("b/c", stored).expect("member");
    zip.write_all(b"plain").expect("contents");
    zip.finish().expect("archive").into_inner()
}

fn read(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut zip = Zip::open(Cursor::new(bytes), 10)?;
    let names: Vec<_> = zip.members().iter().map(|member| member.name.clone()).collect();
    let mut all = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let mut contents = Vec::new();
        zip.contents(number)?.read_to_end(&mut contents)?;
        all.push((name, contents));
    }
    Ok(all)
}

/// Where the header with this mark is, counted from 0.
fn at(bytes: &[u8], mark: &[u8], number: usize) -> usize {
    let mut found = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(mark));
    found.nth(number).expect("it is there")
}

#[test]
fn a_good_archive_is_read_whole() {
    let expected = [("a.py".to_owned(), TEXT.to_vec()), ("b/c".to_owned(), b"plain".to_vec())];
    assert_eq!(read(&good()).expect("good"), expected);
    assert!(
        read(&zip::ZipWriter::new(Cursor::new(Vec::new())).finish().expect("empty").into_inner())
            .expect("empty")
            .is_empty()
    );
}

/// Sizes and sum behind the contents, with a mark and without, as writers to pipes leave them.
#[test]
fn sizes_may_come_behind_the_contents() {
    let plain = good();
    for marked in [true, false] {
        let (first, second) = (at(&plain, LOCAL, 0), at(&plain, LOCAL, 1));
        let mut bytes = plain[..second].to_vec();
        let sizes = bytes[first + 14..first + 26].to_vec();
        bytes[first + 14..first + 26].fill(0);
        bytes[first + 6] |= 8;
        bytes.extend_from_slice(if marked { AGAIN } else { b"" });
        bytes.extend_from_slice(&sizes);
        let more = (bytes.len() - second) as u32;
        bytes.extend_from_slice(&plain[second..]);
        let directory = at(&bytes, CENTRAL, 0);
        bytes[directory + 8] |= 8;
        let add = |bytes: &mut Vec<u8>, at: usize| {
            let number = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
            bytes[at..at + 4].copy_from_slice(&(number + more).to_le_bytes());
        };
        let (other, end) = (at(&bytes, CENTRAL, 1), at(&bytes, END, 0));
        add(&mut bytes, other + 42);
        add(&mut bytes, end + 16);
        assert_eq!(read(&bytes).expect("good").len(), 2, "{marked}");
        bytes[second] ^= 1;
        assert!(read(&bytes).is_err(), "{marked}");
    }
}

#[test]
fn what_readers_could_understand_in_two_ways_is_refused() {
    let plain = good();
    let (local, other) = (at(&plain, LOCAL, 0), at(&plain, LOCAL, 1));
    let (central, last, end) = (at(&plain, CENTRAL, 0), at(&plain, CENTRAL, 1), at(&plain, END, 0));
    let set = |places: &[(usize, &[u8])]| {
        let mut bytes = plain.clone();
        for (at, new) in places {
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        bytes
    };
    let insert = |at: usize, new: &[u8]| [&plain[..at], new, &plain[at..]].concat();
    let word = |at: usize| plain[at..at + 4].to_vec();
    let twice = [plain.clone(), plain.clone()].concat();
    for (case, bytes, words) in [
        ("something before", insert(0, b"#!/bin/sh\n"), "directory does not lie before its end"),
        ("something behind", [&plain[..], b"x"].concat(), "does not end as a zip archive"),
        ("two archives", twice, "directory does not lie before its end"),
        ("a comment", [&set(&[(end + 20, &[1])])[..], b"x"].concat(), "does not end as"),
        ("a gap", insert(central, b"hidden"), "directory does not lie before its end"),
        ("a gap between", insert(other, b"hidden"), "directory does not lie before its end"),
        ("the same place twice", set(&[(last + 42, &word(central + 42))]), "does not lie behind"),
        ("the other order", set(&[(local + 26, b"\x05")]), "another name"),
        ("another name", set(&[(local + 30, b"A")]), "its own header has another name"),
        ("another size", set(&[(local + 22, b"\x01")]), "own header and the directory disagree"),
        ("another sum", set(&[(local + 14, b"\0\0\0\0")]), "own header and the directory disagree"),
        ("another compression", set(&[(local + 8, b"\0")]), "and the directory disagree"),
        ("encrypted", set(&[(local + 6, b"\x01"), (central + 8, b"\x01")]), "it is encrypted"),
        ("bzip2", set(&[(local + 8, b"\x0c"), (central + 10, b"\x0c")]), "compression is unknown"),
        ("of 4 GiB", set(&[(central + 24, b"\xff\xff\xff\xff")]), "too large"),
        ("in parts", set(&[(end + 4, b"\x01")]), "an archive in parts"),
        ("more members", set(&[(end + 8, b"\x03"), (end + 10, b"\x03")]), "a header of it is cut"),
        ("fewer members", set(&[(end + 8, b"\x01"), (end + 10, b"\x01")]), "more than its members"),
        ("one name", set(&[(local + 30, b"b/c\0"), (central + 46, b"b/c\0")]), "holds a NUL"),
        ("no UTF-8", set(&[(local + 30, b"\xff"), (central + 46, b"\xff")]), "is not UTF-8"),
        ("damaged contents", set(&[(other - 3, b"\xff\xff")]), ""),
        ("another checksum", set(&[(local + 14, b"\x01"), (central + 16, b"\x01")]), "checksum"),
        ("no archive", b"PK".to_vec(), "too short"),
    ] {
        let error = read(&bytes).expect_err(case).to_string();
        assert!(error.contains(words), "{case}: {error}");
    }
}

#[test]
fn contents_end_where_the_archive_says() {
    let plain = good();
    let (local, central) = (at(&plain, LOCAL, 0), at(&plain, CENTRAL, 0));
    let said = |size: u32| {
        let mut bytes = plain.clone();
        for at in [local + 22, central + 24] {
            bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
        read(&bytes).expect_err("a lie").to_string()
    };
    assert!(said(10).contains("unpacks to more than the archive says"), "{}", said(10));
    assert!(said(1000).contains("its size or checksum"), "{}", said(1000));
}

#[test]
fn fields_that_change_a_members_meaning_are_refused() {
    for (kind, refused) in [(0x5455_u16, false), (0x7075, true), (0x0001, true)] {
        let mut options = SimpleFileOptions::default().into_full_options();
        let data: Box<[u8]> = vec![1; 9].into();
        if options.add_extra_data(kind, data, false).is_err() {
            continue; // The writer refuses it, too.
        }
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a", options).expect("member");
        let bytes = zip.finish().expect("archive").into_inner();
        assert_eq!(read(&bytes).is_err(), refused, "{kind:#06x}");
    }
    let two = check_extra("a", &[0x75, 0x70, 1, 0, 0]).expect_err("a name").to_string();
    assert!(two.contains("0x7075"), "{two}");
    assert!(check_extra("a", &[0x55, 0x54, 9, 0]).is_err(), "cut");
}

#[test]
fn no_cut_or_changed_byte_makes_it_panic() {
    let plain = good();
    for length in 0..plain.len() {
        assert!(read(&plain[..length]).is_err(), "{length}");
    }
    for at in 0..plain.len() {
        for bit in 0..8 {
            let mut bytes = plain.clone();
            bytes[at] ^= 1 << bit;
            _ = read(&bytes);
        }
    }
}
