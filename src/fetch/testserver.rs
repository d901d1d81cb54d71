//! An HTTP server on 127.0.0.1 for tests: one thread a connection, one request a connection, every
//! answer made by a closure that may misbehave on purpose.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Http, Patience};

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// What it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Sends the body again and again, without announcing a length.
    pub(crate) endless: bool,
    /// Waits before the body's end.
    pub(crate) hang: Duration,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status(302).header("Location", to)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// 206 with the rest of `body` if a range was asked for, else all of it.
    pub(crate) fn ranged(asked: &Asked, body: &[u8]) -> Self {
        let Some(range) = asked.headers.get("range") else { return Self::ok(body) };
        let start: usize = range["bytes=".len()..range.len() - 1].parse().expect("a range");
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        Self { status: 206, body: body[start..].to_vec(), ..Self::default() }
            .header("Content-Range", &range)
    }
}

/// A running server; it ends with the test process.
pub(crate) struct TestServer {
    /// `http://127.0.0.1:PORT/`
    pub(crate) base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TestServer {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}/", listener.local_addr().expect("address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    if let Some(asked) = read_request(&stream) {
                        log.lock().expect("log").push(asked.clone());
                        // The client may hang up at any point.
                        _ = send(&stream, &answer(&asked));
                    }
                });
            }
        });
        Self { base, asked }
    }

    /// The paths asked for so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.asked.lock().expect("log").iter().map(|asked| asked.path.clone()).collect()
    }

    /// A header of each request so far.
    pub(crate) fn headers(&self, name: &str) -> Vec<Option<String>> {
        self.asked
            .lock()
            .expect("log")
            .iter()
            .map(|asked| asked.headers.get(name).cloned())
            .collect()
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}/", listener.local_addr().expect("address"))
}

/// A client that loses patience soon.
pub(crate) fn hasty() -> Http {
    Http::with_patience(Patience {
        connect: Duration::from_secs(2),
        stall: Duration::from_secs(1),
        backoff: Duration::from_millis(5),
        ..Patience::default()
    })
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Asked { path, headers })
}

fn send(mut stream: &TcpStream, reply: &Reply) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {} Testing\r\nConnection: close\r\n", reply.status)?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    if !reply.endless {
        write!(stream, "Content-Length: {}\r\n", reply.body.len())?;
    }
    stream.write_all(b"\r\n")?;
    if let Some(cut) = reply.cut {
        return stream.write_all(&reply.body[..cut]);
    }
    let half = if reply.hang.is_zero() { 0 } else { reply.body.len() / 2 };
    stream.write_all(&reply.body[..half])?;
    std::thread::sleep(reply.hang);
    stream.write_all(&reply.body[half..])?;
    if !reply.endless {
        return Ok(());
    }
    loop {
        stream.write_all(&reply.body)?;
    }
}
