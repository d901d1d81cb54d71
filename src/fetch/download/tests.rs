use std::time::{Duration, Instant};

use super::super::testserver::{Asked, Reply, TestServer, hasty, nobody};
use super::super::{Archive, Kind};
use super::*;
use crate::digest::Digest;
use crate::lock::DebArchive;

const PATH: &str = "pool/main/b/bash/bash_5.2_amd64.deb";
/// 2026-11-20T12:00:00Z
const DATE: i64 = 1_795_176_000;

fn body() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn deb(bytes: &[u8]) -> Wanted {
    let path = PATH.to_owned();
    Wanted {
        label: "bash 5.2".to_owned(),
        name: "bash".to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        kind: Kind::Deb { archive: DebArchive::Debian, path, date: DATE },
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
    sources: Sources,
    events: Mutex<Vec<String>>,
}

impl Bench {
    fn new(places: &[(Archive, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::open(dir.path()).expect("store");
        let mut sources = Sources::default();
        for (archive, base) in places {
            sources.add(*archive, base, "the test").expect("an address");
        }
        Self { _dir: dir, store, sources, events: Mutex::default() }
    }

    fn fetch(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let note = |event: Event<'_>| {
            let text = format!("{event:?}");
            let kind = text.split(' ').next().expect("a word").to_owned();
            self.events.lock().expect("events").push(kind);
        };
        let cancel = AtomicBool::new(false);
        fetch_all(&self.store, &hasty(), &self.sources, wanted, &note, &cancel)
    }

    fn blob(&self, bytes: &[u8]) -> bool {
        self.store.read_blob(&Digest::of(bytes)).expect("reads").as_deref() == Some(bytes)
    }

    fn tried(&self, wanted: Wanted) -> Vec<Answer> {
        match self.fetch(&[wanted]) {
            Err(FetchError::Missing { tried, .. }) => tried.into_iter().map(|t| t.answer).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn serve(bytes: Vec<u8>) -> TestServer {
    TestServer::start(move |_| Reply::ok(bytes.clone()))
}

#[test]
fn a_cut_download_resumes_where_it_broke_off() {
    let server = TestServer::start(|asked: &Asked| {
        let cut = (!asked.headers.contains_key("range")).then_some(300_000);
        Reply { cut, ..Reply::ranged(asked, &body()) }
    });
    let bench = Bench::new(&[(Archive::Debian, &server.base)]);
    bench.fetch(&[deb(&body())]).expect("fetches");
    assert!(bench.blob(&body()));
    assert_eq!(server.paths(), [format!("/{PATH}"), format!("/{PATH}")]);
    assert_eq!(server.headers("range"), [None, Some("bytes=300000-".to_owned())]);
    bench.fetch(&[deb(&body())]).expect("is there");
    assert_eq!(server.paths().len(), 2, "nothing is fetched twice");
}

#[test]
fn a_server_that_ignores_or_garbles_ranges_is_asked_for_all_of_it() {
    type Answerer = fn(&Asked) -> Reply;
    let ignores: Answerer = |_| Reply::ok(body());
    let refuses: Answerer = |asked| match asked.headers.contains_key("range") {
        true => Reply::status(416),
        false => Reply::ok(body()),
    };
    let garbles: Answerer = |asked| match asked.headers.contains_key("range") {
        true => Reply { status: 206, ..Reply::ok("x") }.header("Content-Range", "bytes 0-0/1"),
        false => Reply::ok(body()),
    };
    for answer in [ignores, refuses, garbles] {
        let server = TestServer::start(answer);
        let bench = Bench::new(&[(Archive::Debian, &server.base)]);
        let mut partial =
            bench.store.begin_blob(&Digest::of(&body())).expect("begin").expect("new");
        partial.write(&body()[..1000]).expect("write");
        drop(partial);
        bench.fetch(&[deb(&body())]).expect("fetches");
        assert!(bench.blob(&body()));
        assert_eq!(server.headers("range")[0].as_deref(), Some("bytes=1000-"));
    }
}

#[test]
fn a_wrong_beginning_left_by_another_place_is_thrown_away() {
    let server = TestServer::start(|asked| Reply::ranged(asked, &body()));
    let bench = Bench::new(&[(Archive::Debian, &server.base)]);
    let mut partial = bench.store.begin_blob(&Digest::of(&body())).expect("begin").expect("new");
    partial.write(&[9; 1000]).expect("write");
    drop(partial);
    bench.fetch(&[deb(&body())]).expect("fetches");
    assert!(bench.blob(&body()));
}

#[test]
fn the_next_place_serves_what_one_has_wrong_or_not_at_all() {
    let mut other = body();
    other[7] ^= 1;
    let (wrong, long, down) = (serve(other), serve([body(), vec![0]].concat()), nobody());
    let gone = TestServer::start(|_| Reply::status(404));
    let good = serve(body());
    let bases = [&wrong.base, &long.base, &down, &gone.base, &good.base];
    let places: Vec<_> = bases.iter().map(|base| (Archive::Debian, base.as_str())).collect();
    let bench = Bench::new(&places);
    bench.fetch(&[deb(&body())]).expect("fetches");
    assert!(bench.blob(&body()));
    let events = bench.events.lock().expect("events");
    assert_eq!(events.first().map(String::as_str), Some("Started"));
    assert_eq!(events.last().map(String::as_str), Some("Finished"));
    assert!(events.iter().filter(|event| *event == "Retrying").count() >= 4);
}

#[test]
fn an_endless_body_never_fills_the_disk() {
    let server = TestServer::start(|_| Reply { endless: true, ..Reply::ok(vec![7; 4096]) });
    let bench = Bench::new(&[(Archive::Debian, &server.base)]);
    let size = body().len() as u64;
    assert_eq!(bench.tried(deb(&body())), [Answer::TooLong { limit: size }]);
    let partial = bench.store.begin_blob(&Digest::of(&body())).expect("begin").expect("new");
    assert!(partial.is_empty());
}

#[test]
fn what_is_nowhere_names_every_place_its_answer_and_the_remedy() {
    let gone = TestServer::start(|_| Reply::status(404));
    let sad = TestServer::start(|_| Reply::status(503));
    let bench = Bench::new(&[(Archive::Debian, &gone.base), (Archive::Debian, &sad.base)]);
    let message = bench.fetch(&[deb(&body())]).expect_err("nowhere").to_string();
    for part in [
        "bash 5.2",
        &format!("{}{PATH} (from the test): 404", gone.base),
        &format!("{}{PATH} (from the test): HTTP status 503", sad.base),
        "chatimg lock --update bash",
        "CHATIMG_DEBIAN_SNAPSHOT",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn several_missing_inputs_are_all_named_and_the_others_still_come() {
    let server = TestServer::start(|asked| match asked.path.ends_with("bash_5.2_amd64.deb") {
        true => Reply::ok(body()),
        false => Reply::status(404),
    });
    let bench = Bench::new(&[(Archive::Debian, &server.base), (Archive::Npm, &server.base)]);
    let npm = |name: &str| Wanted {
        label: format!("{name} 1.0.0"),
        digest: Digest::of(name.as_bytes()),
        kind: Kind::Npm { package: format!("@scope/{name}"), version: "1.0.0".to_owned() },
        ..deb(b"")
    };
    let message = bench.fetch(&[npm("a"), deb(&body()), npm("b")]).expect_err("two").to_string();
    assert!(
        message.contains("fetching a 1.0.0") && message.contains("fetching b 1.0.0"),
        "{message}"
    );
    assert!(server.paths().contains(&"/@scope/a/-/a-1.0.0.tgz".to_owned()));
    assert!(bench.blob(&body()));
}

#[test]
fn what_left_the_pool_comes_from_the_snapshot_archive() {
    let pool = TestServer::start(|_| Reply::status(404));
    let snapshot = TestServer::start(|asked| {
        let part = |time: &str| format!("/archive/debian/{time}/{PATH}");
        match &asked.path {
            // It redirects to the snapshot before the time asked for.
            path if *path == part("20261121T000000Z") => Reply::redirect(&part("20261120T203500Z")),
            path if *path == part("20261120T203500Z") => Reply::ok(body()),
            _ => Reply::status(404),
        }
    });
    let bench =
        Bench::new(&[(Archive::Debian, &pool.base), (Archive::DebianSnapshot, &snapshot.base)]);
    bench.fetch(&[deb(&body())]).expect("fetches");
    assert!(bench.blob(&body()));
    assert_eq!((pool.paths().len(), snapshot.paths().len()), (1, 2));
}

#[test]
fn a_folder_serves_as_a_mirror() {
    let mirror = tempfile::tempdir().expect("folder");
    let file = mirror.path().join(PATH);
    std::fs::create_dir_all(file.parent().expect("parent")).expect("folders");
    std::fs::write(&file, body()).expect("write");
    std::fs::write(mirror.path().join("a-1-py3-none-any.whl"), "wheel").expect("write");
    let path = mirror.path().to_str().expect("UTF-8");
    let bench = Bench::new(&[(Archive::Debian, path), (Archive::Pypi, path)]);
    let wheel = Wanted {
        size: 5,
        digest: Digest::of(b"wheel"),
        kind: Kind::Wheel { project: "a".to_owned(), file: "a-1-py3-none-any.whl".to_owned() },
        ..deb(b"")
    };
    let mut partial = bench.store.begin_blob(&Digest::of(&body())).expect("begin").expect("new");
    partial.write(&body()[..1000]).expect("write");
    drop(partial);
    bench.fetch(&[deb(&body()), wheel]).expect("copies");
    assert!(bench.blob(&body()) && bench.blob(b"wheel"));
}

#[test]
fn wheels_are_found_by_the_index_page_and_npm_tarballs_by_the_registry() {
    let server = TestServer::start(|asked| match asked.path.as_str() {
        "/a-b/" => Reply::ok("<a href='../files/a_b-1-py3-none-any.whl#sha256=0'>x</a>"),
        "/files/a_b-1-py3-none-any.whl" => Reply::ok("wheel"),
        "/pkg/2.0.0" => {
            let host = &asked.headers["host"];
            Reply::ok(format!("{{\"dist\":{{\"tarball\":\"http://{host}/elsewhere.tgz\"}}}}"))
        }
        "/elsewhere.tgz" => Reply::ok("tarball"),
        _ => Reply::status(404),
    });
    let bench = Bench::new(&[(Archive::Pypi, &server.base), (Archive::Npm, &server.base)]);
    let of = |bytes: &[u8], kind| Wanted { kind, ..deb(bytes) };
    let (project, file) = ("a-b".to_owned(), "a_b-1-py3-none-any.whl".to_owned());
    let wheel = of(b"wheel", Kind::Wheel { project: project.clone(), file });
    let npm = Kind::Npm { package: "pkg".to_owned(), version: "2.0.0".to_owned() };
    bench.fetch(&[wheel, of(b"tarball", npm)]).expect("fetches");
    let absent = Kind::Wheel { project, file: "a_b-2-py3-none-any.whl".to_owned() };
    let why = "the index page has no a_b-2-py3-none-any.whl".to_owned();
    assert_eq!(bench.tried(of(b"other", absent)), [Answer::Absent(why)]);
}

#[test]
fn two_fetchers_of_one_input_share_the_work() {
    let server = serve(body());
    let bench = Bench::new(&[(Archive::Debian, &server.base)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bench.fetch(&[deb(&body()), deb(&body())]).expect("fetches"));
        }
    });
    assert!(bench.blob(&body()));
    assert_eq!(server.paths().len(), 1);
}

#[test]
fn a_stop_is_prompt_and_keeps_what_came() {
    let hang = Duration::from_secs(30);
    let server = TestServer::start(move |_| Reply { hang, ..Reply::ok(body()) });
    let bench = Bench::new(&[(Archive::Debian, &server.base)]);
    let cancel = AtomicBool::new(false);
    let start = Instant::now();
    let half = body().len() as u64 / 2;
    let stop = |event: Event<'_>| {
        if matches!(event, Event::Progress { bytes, .. } if bytes == half) {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let http = Http::new();
    let wanted = [deb(&body())];
    let error = fetch_all(&bench.store, &http, &bench.sources, &wanted, &stop, &cancel);
    assert!(matches!(error, Err(FetchError::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(5));
    let partial = bench.store.begin_blob(&Digest::of(&body())).expect("begin").expect("not whole");
    assert_eq!(partial.len(), half);
}

#[test]
fn paths_that_leave_the_archive_are_refused() {
    let bench = Bench::new(&[(Archive::Debian, "http://example.org/debian")]);
    for path in ["../x", "pool/../../x", "/etc/passwd", "pool//x"] {
        let kind = Kind::Deb { archive: DebArchive::Debian, path: path.to_owned(), date: 0 };
        let error = bench.fetch(&[Wanted { kind, ..deb(b"x") }]).expect_err(path);
        assert!(matches!(error, FetchError::BadAddress { .. }), "{error}");
    }
}

#[test]
fn an_archive_of_ones_own_is_asked_first_and_damage_there_is_made_up_for_elsewhere() {
    let server = TestServer::start(|asked| Reply::ranged(asked, &body()));
    let folder = tempfile::tempdir().expect("folder");
    let hex = Digest::of(&body()).to_string();
    let path = folder.path().join("sha256").join(&hex[..2]).join(&hex);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(&path, body()).expect("write");
    let own = folder.path().to_str().expect("UTF-8");
    let wanted = |kind: Option<Kind>| {
        let deb = deb(&body());
        Wanted { kind: kind.unwrap_or_else(|| deb.kind.clone()), ..deb }
    };
    let url = Kind::Url { url: format!("{}away", server.base) };
    let npm = Kind::Npm { package: "@a/b".to_owned(), version: "1.0.0".to_owned() };
    let wheel = Kind::Wheel { project: "a".to_owned(), file: "a-1-py3-none-any.whl".to_owned() };
    for kind in [None, Some(url), Some(npm), Some(wheel)] {
        let bench = Bench::new(&[(Archive::Debian, &server.base), (Archive::Own, own)]);
        bench.fetch(&[wanted(kind)]).expect("fetches");
        assert!(bench.blob(&body()) && server.paths().is_empty());
    }
    // Of the archive over HTTP it is the same path.
    let bench = Bench::new(&[(Archive::Own, &server.base)]);
    bench.fetch(&[wanted(None)]).expect("fetches");
    assert_eq!(server.paths(), [format!("/sha256/{}/{hex}", &hex[..2])]);
    // Damaged, and cut short.
    for bytes in [vec![0; body().len()], body()[1..].to_vec()] {
        std::fs::write(&path, bytes).expect("damage");
        let bench = Bench::new(&[(Archive::Debian, &server.base), (Archive::Own, own)]);
        bench.fetch(&[wanted(None)]).expect("fetches from the mirror");
        assert!(bench.blob(&body()));
        let bench = Bench::new(&[(Archive::Own, own)]);
        let error = bench.fetch(&[wanted(None)]).expect_err("nobody has it").to_string();
        for words in ["bash 5.2", &hex, own, "chatimg archive --check", "chatimg archive DIR"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
