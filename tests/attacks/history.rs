//! What befell apt and dpkg: split and smuggled signatures (CVE-2016-1252), redirects that inject answers
//! (CVE-2019-3462), archives whose sizes overflow (CVE-2020-27350), packages with two of a member.

use crate::cases::{BUILD, LOCK, case};
use crate::make::{Tar, ar, control, pack};
use crate::signer::{Signer, armor};
use crate::testserver::Reply;
use crate::world::World;
use crate::{Case, Class};

/// Main's index, rightly signed.
fn good(world: &World) -> String {
    Signer::new(1).sign_at(&world.suites[0].release(), world.now)
}

/// Main's index, changed by this after it was signed.
fn changed(world: &mut World, change: impl Fn(&str) -> String) {
    let text = change(&good(world));
    world.bytes(world.suites[0].in_release(), text);
}

/// A package of these members as kmod's, in the signed index.
fn as_kmod(world: &mut World, members: &[(&str, &[u8])], change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let it = world.suites[0].packages.get_mut("kmod").expect("it is there");
    it.bytes = change(ar(members));
}

/// The same whose control archive says that it is so large.
fn with_size(world: &mut World, size: &[u8; 10]) {
    let text = control("Package: kmod\nVersion: 1.0-1\nArchitecture: amd64\n");
    let members: [(&str, &[u8]); 2] = [("debian-binary", b"2.0\n"), ("control.tar", &text)];
    as_kmod(world, &members, |mut bytes| {
        let at = 8 + 60 + 4 + 48;
        bytes[at..at + size.len()].copy_from_slice(size);
        bytes
    });
}

const EVIL: &str = "Codename: trixie\nSuite: evil\n";

pub(crate) fn all() -> Vec<Case> {
    let case = |name, command, tamper, words| case(Class::History, name, command, tamper, words);
    vec![
        case(
            "text before the signed text",
            LOCK,
            |world| {
                changed(world, |text| format!("{EVIL}{text}"));
            },
            &["text before the signed part"],
        ),
        case(
            "text behind the signature",
            LOCK,
            |world| {
                changed(world, |text| format!("{text}{EVIL}"));
            },
            &["text after the signature"],
        ),
        case(
            "text between the parts",
            LOCK,
            |world| {
                changed(world, |text| {
                    text.replacen("Hash: SHA256\n", &format!("Hash: SHA256\n{EVIL}"), 1)
                });
            },
            &["an unknown header: Codename: trixie"],
        ),
        case(
            "two messages",
            LOCK,
            |world| {
                changed(world, |text| format!("{}{text}", Signer::new(7).sign(EVIL)));
            },
            &["unexpected armour lines"],
        ),
        case(
            "a signature in the signed text",
            LOCK,
            |world| {
                changed(world, |text| {
                    let block = armor("SIGNATURE", b"x");
                    text.replacen("Suite:", &format!("{block}Suite:"), 1)
                });
            },
            &["unexpected armour lines"],
        ),
        case(
            "a line that looks signed to others",
            LOCK,
            |world| {
                changed(world, |text| {
                    text.replacen("Suite: stable\n", "Suite: stable\r\nEvil: 1\n", 1)
                });
            },
            &["control character '\\r'"],
        ),
        case(
            "a NUL",
            LOCK,
            |world| {
                changed(world, |text| text.replacen("Suite: stable", "Suite: stable\0", 1));
            },
            &["control character '\\0'"],
        ),
        case(
            "seventeen signatures",
            LOCK,
            |world| {
                let suite = &world.suites[0];
                let text = suite.release();
                let bodies = vec![
                    crate::signer::sign_text(
                        &Signer::new(7).subkey,
                        &text,
                        crate::signer::Form::new(1, world.now, []),
                    );
                    17
                ];
                world.bytes(suite.in_release(), crate::signer::clear(&text, &bodies));
            },
            &["17 signatures, expected 1 to 16"],
        ),
        case(
            "a field twice",
            LOCK,
            |world| {
                let text = format!("{EVIL}{}", world.suites[0].release());
                world.bytes(world.suites[0].in_release(), Signer::new(1).sign_at(&text, world.now));
            },
            &["the field is there twice"],
        ),
        case(
            "a redirect that injects an answer",
            LOCK,
            |world| {
                let to =
                    format!("{}x%0a%0a201%20URI%20Done%0aFilename:%20/etc/passwd%0a", world.base);
                world.put(world.suites[0].in_release(), move |_| Reply::redirect(&to));
            },
            &["dists/trixie/InRelease", "404"],
        ),
        case(
            "a redirect with a real line break",
            LOCK,
            |world| {
                let to = format!("{}x\r\nX-Evil: 1", world.base);
                world.put(world.suites[0].in_release(), move |_| Reply::redirect(&to));
            },
            &["dists/trixie/InRelease"],
        ),
        case(
            "a redirect to this machine's files",
            LOCK,
            |world| {
                world.put(world.suites[0].in_release(), |_| Reply::redirect("file:///etc/passwd"));
            },
            &["redirected to file:///etc/passwd, which is not followed"],
        ),
        case(
            "a redirect to another package",
            BUILD,
            |world| {
                let to = format!("{}{}", world.base.trim_end_matches('/'), world.pool("kmod"));
                world.put(world.pool("server"), move |_| Reply::redirect(&to));
            },
            &["server 1.0-1", "no place has it"],
        ),
        case(
            "a redirect to another scheme",
            BUILD,
            |world| {
                world.put(world.pool("server"), |_| Reply::redirect("ftp://127.0.0.1/x"));
            },
            &["redirected to ftp://127.0.0.1/x, which is not followed"],
        ),
        case(
            "a range that is not the one asked for",
            BUILD,
            |world| {
                let bytes = world.suites[0].packages["server"].bytes.clone();
                world.put(world.pool("server"), move |asked| match asked.headers.get("range") {
                    None => Reply { cut: Some(100), ..Reply::ok(bytes.clone()) },
                    Some(_) => Reply { status: 206, ..Reply::ok(b"evil".repeat(200)) }
                        .header("Content-Range", "bytes 0-799/800"),
                });
            },
            &["server 1.0-1", "no place has it"],
        ),
        case(
            "a member's size that overflows",
            BUILD,
            |world| with_size(world, b"9999999999"),
            &["importing package kmod"],
        )
        .wrong_from_start(),
        case(
            "a member's negative size",
            BUILD,
            |world| with_size(world, b"-60       "),
            &["importing package kmod", "its size is not a number"],
        )
        .wrong_from_start(),
        case(
            "two data archives",
            BUILD,
            |world| {
                let text = control("Package: kmod\nVersion: 1.0-1\nArchitecture: amd64\n");
                let data = Tar::new().dir("./").end();
                let evil = pack(".xz", &Tar::new().file("./etc/ld.so.preload", "x").end());
                as_kmod(
                    world,
                    &[
                        ("debian-binary", b"2.0\n"),
                        ("control.tar", &text),
                        ("data.tar", &data),
                        ("data.tar.xz", &evil),
                    ],
                    |bytes| bytes,
                );
            },
            &["importing package kmod", "something follows its last member"],
        )
        .wrong_from_start(),
        case(
            "a control archive that leads out",
            BUILD,
            |world| {
                let text = Tar::new().file("./../../etc/cron.d/x", "* * * * * root x\n").end();
                let data = Tar::new().dir("./").end();
                as_kmod(
                    world,
                    &[("debian-binary", b"2.0\n"), ("control.tar", &text), ("data.tar", &data)],
                    |bytes| bytes,
                );
            },
            &["importing package kmod", "leaves its root by '..'"],
        )
        .wrong_from_start(),
        case(
            "words for the terminal",
            LOCK,
            |world| {
                let it = serde_json::json!({"gear": "^2", "\u{1b}]0;evil\u{7}\u{1b}[2J": "*"});
                world.npm[2] = crate::world::Tarball::new("gear", "2.0.1", it);
                world.npm[0] = crate::world::Tarball::new(
                    "widget",
                    "1.1.1",
                    serde_json::json!({"gear": "2.0.1"}),
                );
                world.npm.truncate(3);
            },
            &["\\u{1b}]0;evil", "not a package name"],
        )
        .keeps()
        .first(),
    ]
}
