use super::super::testserver::{Reply, TestServer, hasty, nobody};
use super::client::refusal;
use super::*;

fn answer(result: Result<Vec<u8>, FetchError>) -> Answer {
    match result {
        Err(FetchError::Get { answer, .. }) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_come_from_servers_folders_and_through_redirects() {
    let server = TestServer::start(|asked| match asked.path.as_str() {
        "/moved" => Reply::redirect("/here"),
        _ => Reply::ok("bytes"),
    });
    let http = hasty();
    let moved = format!("{}moved", server.base);
    assert_eq!(http.get_bytes(&moved, 5).expect("gets"), b"bytes");
    assert_eq!(server.paths(), ["/moved", "/here"]);
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("a b");
    std::fs::write(&path, "local").expect("write");
    let path = path.to_str().expect("UTF-8").to_owned();
    assert_eq!(http.get_bytes(&path, 5).expect("reads"), b"local");
    let url = format!("file://{}", path.replace(' ', "%20"));
    assert_eq!(http.get_bytes(&url, 5).expect("reads"), b"local");
    assert!(matches!(answer(http.get_bytes("/nowhere/at/all", 5)), Answer::Absent(_)));
    assert_eq!(answer(http.get_bytes(&path, 4)), Answer::TooLong { limit: 4 });
}

#[test]
fn an_endless_body_is_stopped_at_the_bound() {
    let server = TestServer::start(|_| Reply { endless: true, ..Reply::ok(vec![7; 1000]) });
    let got = hasty().get_bytes(&server.base, 10_000);
    assert_eq!(answer(got), Answer::TooLong { limit: 10_000 });
}

#[test]
fn passing_trouble_is_tried_three_times_and_a_plain_no_once() {
    let server = TestServer::start(|asked| match asked.path.as_str() {
        "/500" => Reply::status(500),
        "/404" => Reply::status(404),
        _ => Reply { cut: Some(3), ..Reply::ok("cut short") },
    });
    let get = |path| answer(hasty().get_bytes(&format!("{}{path}", server.base), 100));
    assert_eq!(get("500"), Answer::Status(500));
    assert_eq!(get("404"), Answer::Status(404));
    assert_eq!(get("cut"), Answer::Cut { got: 3, expected: 9 });
    let paths = ["/500", "/500", "/500", "/404", "/cut", "/cut", "/cut"];
    assert_eq!(server.paths(), paths);
    assert!(matches!(answer(hasty().get_bytes(&nobody(), 9)), Answer::Broken(_)));
}

#[test]
fn what_comes_in_two_tries_is_whole() {
    let asked_before = AtomicBool::new(false);
    let server = TestServer::start(move |_| Reply {
        cut: (!asked_before.swap(true, Ordering::Relaxed)).then_some(3),
        ..Reply::ok("cut short")
    });
    let dir = tempfile::tempdir().expect("folder");
    let store = crate::store::Store::open(dir.path()).expect("store");
    let mut blob = store.new_blob().expect("begins");
    hasty().get_into(&server.base, 9, &mut blob).expect("gets");
    assert_eq!(server.paths().len(), 2);
    blob.keep().expect("keeps");
    let kept = store.read_blob(&crate::digest::Digest::of(b"cut short")).expect("reads");
    assert_eq!(kept.as_deref(), Some(&b"cut short"[..]));
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server = TestServer::start(|_| Reply { hang: Duration::from_secs(9), ..Reply::ok("ab") });
    let start = Instant::now();
    assert!(matches!(answer(hasty().get_bytes(&server.base, 9)), Answer::Cut { .. }));
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_set_stop_ends_a_get() {
    let hang = Duration::from_secs(30);
    let server = TestServer::start(move |_| Reply { hang, ..Reply::ok("ab") });
    let stop = Arc::new(AtomicBool::new(false));
    let http = Http::new().stopped_by(Arc::clone(&stop));
    let start = Instant::now();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(matches!(http.get_bytes(&server.base, 9), Err(FetchError::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn redirects_in_a_circle_end() {
    let server = TestServer::start(|_| Reply::redirect("/again"));
    let Answer::Redirect(why) = answer(hasty().get_bytes(&server.base, 9)) else { panic!() };
    assert_eq!(why, "more than 10 redirects");
    assert_eq!(server.paths().len(), 11);
}

#[test]
fn no_redirect_leads_from_https_to_anything_less() {
    let url = |text: &str| Url::parse(text).expect("a URL");
    let from = [url("https://example.org/a")];
    for (to, refused) in [
        ("https://example.com/b", false),
        ("http://example.org/b", true),
        ("file:///etc/passwd", true),
    ] {
        assert_eq!(refusal(&from, &url(to)).is_some(), refused, "{to}");
    }
    let plain = [url("http://example.org/")];
    assert!(refusal(&plain, &url("https://example.org/")).is_none());
    assert!(refusal(&plain, &url("file:///etc/passwd")).is_some());
}

#[test]
fn what_is_no_address_is_refused_and_passwords_stay_hidden() {
    for bad in ["", "example.org/x", "ftp://example.org/", "relative/path", "http://"] {
        let error = hasty().get_bytes(bad, 1).expect_err(bad);
        assert!(matches!(error, FetchError::BadAddress { .. }), "{error}");
    }
    let url = Url::parse("https://me:secret@example.org/x").expect("a URL");
    assert_eq!(shown(&url), "https://me:...@example.org/x");
}

#[test]
fn pages_may_come_compressed_and_blobs_never_do() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"a page").expect("compress");
    let body = gzip.finish().expect("compress");
    let server = TestServer::start({
        let body = body.clone();
        move |_| Reply::ok(body.clone()).header("Content-Encoding", "gzip")
    });
    let page = hasty().get_page(&server.base, "text/html", 99).expect("gets");
    assert_eq!(page.body, b"a page");
    assert_eq!(hasty().get_bytes(&server.base, 99).expect("gets"), body);
    assert_eq!(server.headers("accept-encoding")[1].as_deref(), Some("identity"));
}

#[test]
fn a_compressed_page_has_a_bound_on_both_sides() {
    use flate2::write::GzEncoder;
    use std::io::Write;
    let gzip = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).expect("compress");
        gzip.finish().expect("compress")
    };
    let get = |reply: Reply| {
        let server = TestServer::start(move |_| reply.clone().header("Content-Encoding", "gzip"));
        let page = hasty().get_page(&server.base, "text/html", 10_000);
        answer(page.map(|page| page.body))
    };
    let too_long = Answer::TooLong { limit: 10_000 };
    assert_eq!(get(Reply::ok(gzip(&[0; 10_001]))), too_long);
    assert_eq!(get(Reply { endless: true, ..Reply::ok(gzip(b"")) }), too_long);
    let whole = gzip(b"a page");
    let cut = Answer::Cut { got: 9, expected: whole.len() as u64 };
    assert_eq!(get(Reply { cut: Some(9), ..Reply::ok(whole.clone()) }), cut);
    for broken in [&whole[..9], &b"no gzip"[..]] {
        let Answer::Broken(why) = get(Reply::ok(broken)) else { panic!() };
        assert!(why.starts_with("no gzip: "), "{why}");
    }
}

/// A client that knows only these proxies.
fn by(variables: &[(&str, String)]) -> Http {
    let find = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.clone());
    let patience = hasty().patience;
    let client = Client::new(patience, &Proxies::of(find)).expect("a client");
    Http { client: Ok(client), patience, stop: Arc::default() }
}

#[test]
fn a_proxy_is_told_the_whole_address_and_its_password() {
    let proxy = TestServer::start(|_| Reply::ok("by proxy"));
    let direct = TestServer::start(|_| Reply::ok("direct"));
    let address = proxy.base.replace("http://", "http://me:se%20cret@");
    let http = by(&[("HTTP_PROXY", address), ("NO_PROXY", "127.0.0.1".to_owned())]);
    let got = http.get_bytes("http://user:word@archive.example:81/a?b=c#d", 99).expect("gets");
    assert_eq!(got, b"by proxy");
    assert_eq!(proxy.paths(), ["http://archive.example:81/a?b=c"]);
    assert_eq!(proxy.headers("host"), [Some("archive.example:81".to_owned())]);
    let login = Some("Basic bWU6c2UgY3JldA==".to_owned());
    assert_eq!(proxy.headers("proxy-authorization"), [login]);
    assert_eq!(proxy.headers("authorization"), [Some("Basic dXNlcjp3b3Jk".to_owned())]);
    assert_eq!(http.get_bytes(&direct.base, 99).expect("gets"), b"direct");
    assert_eq!(direct.headers("proxy-authorization"), [None]);
}

#[test]
fn what_is_asked_by_https_goes_through_a_tunnel_or_not_at_all() {
    let proxy = TestServer::start(|_| Reply::status(403));
    let http = by(&[("HTTPS_PROXY", proxy.base.clone())]);
    assert!(matches!(answer(http.get_bytes("https://archive.example/", 9)), Answer::Broken(_)));
    assert_eq!(proxy.paths(), ["archive.example:443"; 3]);
    let socks = by(&[("ALL_PROXY", "socks5://127.0.0.1:1".to_owned())]);
    let Answer::Broken(why) = answer(socks.get_bytes("http://archive.example/", 9)) else {
        panic!()
    };
    assert_eq!(why, "the proxy: only http and https proxies can be used");
}

#[test]
fn a_password_goes_to_its_own_server_only() {
    let other = TestServer::start(|_| Reply::ok("other"));
    let to = other.base.clone();
    let server = TestServer::start(move |asked| match asked.path.as_str() {
        "/far" => Reply::redirect(&to),
        "/near" => Reply::redirect("/here"),
        _ => Reply::ok("here"),
    });
    let base = server.base.replace("http://", "http://me:word@");
    let http = by(&[]);
    let page = http.get_page(&format!("{base}near"), "text/html", 9).expect("gets");
    assert_eq!(page.url.as_str(), format!("{}here", server.base));
    assert_eq!(http.get_bytes(&format!("{base}far"), 9).expect("gets"), b"other");
    assert!(server.headers("authorization").iter().all(Option::is_some));
    assert_eq!(other.headers("authorization"), [None]);
}

/// Answers every request of a connection; counts connections.
fn patient_server() -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}/", listener.local_addr().expect("address"));
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().expect("clone")).lines();
                for line in lines.map_while(Result::ok) {
                    if line.is_empty() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                        stream.write_all(answer).expect("answers");
                    }
                }
            });
        }
    });
    (base, count)
}

#[test]
fn connections_are_used_again() {
    let (base, count) = patient_server();
    let http = by(&[]);
    for at in 0..9 {
        assert_eq!(http.get_bytes(&format!("{base}{at}"), 2).expect("gets"), b"hi");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
