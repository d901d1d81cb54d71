//! A door for browsers: plain HTTP at `localhost` that leads to the box's web server by TLS.
//!
//! The box answers for names of its domain, with a certificate that no browser knows yet; the user's machine knows neither. So
//! the addresses in what it answers are exchanged for the door's own. Browsers trust `localhost` without TLS as they trust
//! others with it, so everything works there, encryption in the client too.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, HOST, HeaderMap};
use ureq::http::{Method, Response};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, SendBody};

use super::http::{At, reason, unchecked};

/// Of a request without its body.
const MAX_HEAD: u64 = 64 << 10;
/// Of an answer whose addresses are exchanged.
const MAX_TEXT: u64 = 64 << 20;
/// An emulated box takes its time.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Of the connection, not of what it carries (RFC 9110, section 7.6.1); and what is told anew.
const OWN: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "host",
    "accept-encoding",
    "expect",
];

/// What the box is called.
#[derive(Clone, Debug)]
pub struct Names {
    /// The server's name.
    pub domain: String,
    /// Where clients find the homeserver.
    pub api: String,
    /// Where the web client is, if there is one.
    pub client: Option<String>,
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &str> {
        self.client.iter().map(String::as_str).chain([self.api.as_str(), self.domain.as_str()])
    }

    /// Who answers for a path.
    fn of(&self, path: &str) -> &str {
        let api =
            ["/_matrix/", "/_synapse/", "/.well-known/"].iter().any(|dir| path.starts_with(dir));
        self.client.as_deref().filter(|_| !api).unwrap_or(&self.api)
    }
}

/// Where it leads.
struct Way {
    agent: Agent,
    scheme: &'static str,
    names: Names,
    /// `http://localhost:8080`
    origin: String,
}

/// Opens it, at `wished` if that port is free. It is open until this process ends. Gives back its address.
///
/// # Errors
/// There is no free port.
pub(super) fn open(
    names: Names,
    scheme: &'static str,
    port: u16,
    wished: u16,
) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wished))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());
    let config = unchecked()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .timeout_per_write(Some(PATIENCE))
        .allow_non_standard_methods(true)
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), At(port));
    let way = Arc::new(Way { agent, scheme, names, origin: origin.clone() });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let way = Arc::clone(&way);
            // A browser may hang up at any point.
            std::thread::spawn(move || _ = way.serve(stream));
        }
    });
    Ok(origin)
}

/// A request without its body.
struct Head {
    method: Method,
    /// With the query.
    target: String,
    headers: BTreeMap<String, String>,
}

impl Head {
    /// `None`: it is none, or too long.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut reader = reader.take(MAX_HEAD);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            Ok::<_, io::Error>(line)
        };
        let first = line()?;
        let mut words = first.split_whitespace();
        let (method, target) = (words.next(), words.next());
        let (Some(method), Some(target)) = (method.and_then(|word| word.parse().ok()), target)
        else {
            return Ok(None);
        };
        let target = target.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let line = line()?;
            if line.trim_end().is_empty() {
                // Cut short, if it did not end with an empty line.
                let whole = line.ends_with('\n') && target.starts_with('/');
                return Ok(whole.then_some(Self { method, target, headers }));
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(None) };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    /// Other pages' scripts may have led a name of their own to this machine.
    fn is_for_us(&self) -> bool {
        let host = self.headers.get("host").map_or("", |host| host.as_str());
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1") || name.ends_with(".localhost")
    }
}

impl Way {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let Some(head) = Head::read(&mut reader)? else {
            return refuse(&mut stream, "400 Bad Request", "this is no request");
        };
        if !head.is_for_us() {
            return refuse(&mut stream, "421 Misdirected Request", "only for localhost");
        }
        let length = match head.headers.get("content-length").map(|length| length.parse::<u64>()) {
            _ if head.headers.contains_key("transfer-encoding") => {
                return refuse(&mut stream, "411 Length Required", "say the body's length");
            }
            Some(Err(_)) => return refuse(&mut stream, "400 Bad Request", "this is no length"),
            Some(Ok(length)) => Some(length),
            None => None,
        };
        if head.headers.get("expect").is_some_and(|word| word == "100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = length.map(|length| (length, reader.take(length)));
        match self.ask(&head, body) {
            Ok(response) => self.answer(&mut stream, &head, response),
            Err(error) => refuse(&mut stream, "502 Bad Gateway", &format!("the box: {error}")),
        }
    }

    fn ask(
        &self,
        head: &Head,
        body: Option<(u64, impl Read + 'static)>,
    ) -> Result<Response<Body>, String> {
        let name = self.names.of(&head.target);
        let address = format!("{}://{name}{}", self.scheme, head.target);
        let request = ureq::http::Request::builder().method(head.method.clone()).uri(address);
        let mut request = request.header(HOST, name);
        let outside = format!("https://{name}");
        for (header, value) in &head.headers {
            if !OWN.contains(&header.as_str()) {
                request = request.header(header, value.replace(&self.origin, &outside));
            }
        }
        let body = match body {
            Some((length, reader)) => {
                request = request.header(CONTENT_LENGTH, length);
                SendBody::from_owned_reader(reader)
            }
            None => SendBody::none(),
        };
        let request = request.body(body).map_err(|error| reason(&error))?;
        self.agent.run(request).map_err(|error| reason(&error))
    }

    fn answer(
        &self,
        stream: &mut TcpStream,
        head: &Head,
        response: Response<Body>,
    ) -> io::Result<()> {
        let status = response.status();
        let mut text = format!(
            "HTTP/1.1 {} {}\r\nConnection: close\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        for (name, value) in response.headers() {
            // Only sensible with TLS.
            if OWN.contains(&name.as_str()) || name == "strict-transport-security" {
                continue;
            }
            let value = self.exchanged(&String::from_utf8_lossy(value.as_bytes()));
            let value = value.replace("upgrade-insecure-requests", "");
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = head.method != Method::HEAD && !matches!(status.as_u16(), 204 | 304);
        if body && has_addresses(&head.target, response.headers()) {
            let html = content_type(response.headers()).contains("html");
            let mut body = Vec::new();
            response.into_body().into_reader().take(MAX_TEXT + 1).read_to_end(&mut body)?;
            if body.len() as u64 > MAX_TEXT {
                return refuse(stream, "502 Bad Gateway", "the box's answer is too long");
            }
            if let Ok(words) = str::from_utf8(&body) {
                let words = self.exchanged(words);
                body = if html { without_digests(&words) } else { words }.into_bytes();
            }
            stream.write_all(format!("{text}Content-Length: {}\r\n\r\n", body.len()).as_bytes())?;
            return stream.write_all(&body);
        }
        if let Some(length) =
            response.headers().get("content-length").and_then(|it| it.to_str().ok())
        {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        io::copy(&mut response.into_body().into_reader(), stream).map(|_| ())
    }

    /// With the door's address for each of the box's.
    fn exchanged(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in self.names.all() {
            text = with_origin(&text, &format!("https://{name}"), &self.origin);
        }
        text
    }
}

/// `https://chat.example` for another one, but not in `https://chat.example.org`.
fn with_origin(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.strip_prefix(":443").unwrap_or(part);
        let mut next = after.chars();
        let longer = match next.next() {
            Some('.') => next.next().is_some_and(|c| c.is_ascii_alphanumeric()),
            Some(c) => c.is_ascii_alphanumeric() || c == '-' || c == ':',
            None => false,
        };
        if longer {
            result.push_str(from);
            result.push_str(part);
        } else {
            result.push_str(to);
            result.push_str(after);
        }
    }
    result
}

/// Digests of scripts (`integrity="sha384-..."`) would no longer fit.
fn without_digests(html: &str) -> String {
    let mut parts = html.split(" integrity=\"");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str(part.split_once('"').map_or(part, |(_, rest)| rest));
    }
    result
}

/// Whether an answer is a page, script or the like; what people write to each other stays as it is.
fn has_addresses(target: &str, headers: &HeaderMap) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let said = ["/login", "/register"].iter().any(|end| path.ends_with(end));
    let text = ["json", "html", "javascript", "css", "text/plain"];
    let kind = content_type(headers);
    (!path.starts_with("/_matrix/") || said) && text.iter().any(|word| kind.contains(word))
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

fn refuse(stream: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{why}\n", why.len() + 1).as_bytes())
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(mut bytes: &[u8]) {
    if let Ok(Some(head)) = Head::read(&mut bytes) {
        assert!(head.target.starts_with('/'));
        head.is_for_us();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A box that answers each request with these headers and this text; and what it was asked.
    fn a_box(headers: &'static str, text: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // To the end of its head, and of a body of five bytes if it has one.
                let mut words = String::new();
                let mut bytes = [0; 4096];
                while !words.contains("\r\n\r\n")
                    || (words.contains("ontent-length: 5") && !words.ends_with("hello"))
                {
                    let count = stream.read(&mut bytes).expect("a request");
                    words.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                log.lock().expect("log").push(words);
                let length = text.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n");
                _ = stream.write_all(format!("{head}{headers}\r\n{text}").as_bytes());
            }
        });
        (port, asked)
    }

    fn door(port: u16) -> String {
        let names = Names {
            domain: "chat.example".to_owned(),
            api: "matrix.chat.example".to_owned(),
            client: Some("web.chat.example".to_owned()),
        };
        open(names, "http", port, 0).expect("a door")
    }

    fn say(origin: &str, request: &str) -> String {
        let mut stream = TcpStream::connect(origin.strip_prefix("http://localhost:").map_or_else(
            || panic!("{origin}"),
            |port| (Ipv4Addr::LOCALHOST, port.parse().expect("port")),
        ))
        .expect("open");
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        answer
    }

    #[test]
    fn pages_lead_to_the_door_and_nothing_else_is_changed() {
        let csp = "Content-Type: text/html\r\nStrict-Transport-Security: max-age=1\r\n\
                   Content-Security-Policy: connect-src https://matrix.chat.example; upgrade-insecure-requests\r\n";
        let page = "<script integrity=\"sha384-x\" src=a.js></script>https://chat.example https://chat.example.org";
        let (port, asked) = a_box(csp, page);
        let origin = door(port);
        let answer =
            say(&origin, "GET /a?b=%2F HTTP/1.1\nHost: localhost\nAccept-Encoding: br\n\n");
        let body = format!("<script src=a.js></script>{origin} https://chat.example.org");
        assert!(
            answer.ends_with(&format!("\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
            "{answer}"
        );
        assert!(answer.contains(&format!("connect-src {origin}; \r\n")), "{answer}");
        assert!(!answer.to_lowercase().contains("strict-transport"), "{answer}");
        let asked = asked.lock().expect("log")[0].to_lowercase();
        assert!(asked.starts_with("get /a?b=%2f http/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("host: web.chat.example\r\n") && !asked.contains("accept-encoding"),
            "{asked}"
        );
    }

    #[test]
    fn messages_pass_as_they_are_and_logins_name_the_door() {
        let (port, asked) =
            a_box("Content-Type: application/json\r\n", "{\"a\":\"https://matrix.chat.example/\"}");
        let origin = door(port);
        let answer = say(&origin, "GET /_matrix/client/v3/sync HTTP/1.1\nHost: localhost:80\n\n");
        assert!(answer.ends_with("{\"a\":\"https://matrix.chat.example/\"}"), "{answer}");
        let post = format!(
            "POST /_matrix/client/v3/login HTTP/1.1\nHost: 127.0.0.1:1\nOrigin: {origin}\nContent-Length: 5\n\nhello"
        );
        let answer = say(&origin, &post);
        assert!(answer.ends_with(&format!("{{\"a\":\"{origin}/\"}}")), "{answer}");
        let asked = asked.lock().expect("log").join("").to_lowercase();
        assert!(asked.contains("origin: https://matrix.chat.example\r\n"), "{asked}");
        assert_eq!(asked.matches("host: matrix.chat.example\r\n").count(), 2, "{asked}");
        assert!(asked.contains("content-length: 5\r\n"), "{asked}");
    }

    #[test]
    fn other_names_and_nonsense_are_refused() {
        let (port, asked) = a_box("", "");
        let origin = door(port);
        for (request, status) in [
            ("GET / HTTP/1.1\nHost: evil.example\n\n", "421"),
            ("GET / HTTP/1.1\n\n", "421"),
            ("nonsense\n\n", "400"),
            ("GET http://x/ HTTP/1.1\nHost: localhost\n\n", "400"),
            ("PUT / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n", "411"),
            ("PUT / HTTP/1.1\nHost: localhost\nContent-Length: x\n\n", "400"),
        ] {
            let answer = say(&origin, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        }
        assert!(asked.lock().expect("log").is_empty());
    }

    #[test]
    fn a_longer_name_is_another_one() {
        let exchange = |text| with_origin(text, "https://a.b", "http://l");
        assert_eq!(
            exchange("https://a.b/x https://a.b:443/x https://a.b"),
            "http://l/x http://l/x http://l"
        );
        assert_eq!(exchange("see https://a.b."), "see http://l.");
        for other in ["https://a.b.c/", "https://a.bc", "https://a.b-c", "https://a.b:8448/"] {
            assert_eq!(exchange(other), other);
        }
    }
}
