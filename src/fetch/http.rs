//! GET over HTTP and from local folders: bounded in size, never from https down to http, cut bodies
//! seen.
//!
//! Every request runs in a thread of its own that hands over chunks, so that whoever waits for them
//! can stop at once, in whatever phase the connection hangs; the thread ends with its own time
//! limit.

mod client;
pub(crate) mod proxy;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use ureq::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HeaderMap, HeaderName, RANGE,
};
use url::Url;

use self::client::{Client, Got};
use self::proxy::Proxies;
use super::{Answer, FetchError};
use crate::store::{NewBlob, StoreError};

const CHUNK: usize = 1 << 16;

/// How patient to be.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection to come about.
    pub connect: Duration,
    /// Without a byte, and the time in which at least `min_bytes` must come.
    pub stall: Duration,
    /// See `stall`.
    pub min_bytes: u64,
    /// Before the second try; doubled before each further one.
    pub backoff: Duration,
    /// Tries in all.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            min_bytes: 16 << 10,
            backoff: Duration::from_millis(500),
            tries: 3,
        }
    }
}

/// An HTTP client. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Http {
    /// Or why there is none: whoever has all inputs in a folder needs none.
    client: Result<Client, String>,
    pub(super) patience: Patience,
    stop: Arc<AtomicBool>,
}

/// A page and where it came from, for its relative links.
#[derive(Clone, Debug)]
pub struct Page {
    /// The address after redirects.
    pub url: Url,
    /// Its Content-Type, empty if none was given.
    pub content_type: String,
    /// Its bytes, decompressed.
    pub body: Vec<u8>,
}

/// How an answer begins.
#[derive(Debug)]
pub(super) struct Head {
    /// HTTP status; 200 or 206 for a file.
    pub(super) status: u16,
    /// The address after redirects.
    pub(super) url: Url,
    content_type: String,
    /// Its body is compressed with gzip only for the way.
    zipped: bool,
    /// Content-Length.
    pub(super) length: Option<u64>,
    /// Content-Range of a 206.
    pub(super) range: Option<String>,
}

enum Message {
    Head(Box<Head>),
    Chunk(Vec<u8>),
    End,
    Failed(Answer),
}

/// Why an answer stops.
pub(super) enum Stop {
    /// The place's fault: it may be asked again, or another one.
    Answer(Answer),
    /// The user's wish, or the store's failure.
    Fatal(FetchError),
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Fatal(error.into())
    }
}

/// What takes the bytes of an answer.
pub(crate) trait Sink {
    /// A try begins: what was taken before is of one that broke off.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// The next bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

impl Sink for Vec<u8> {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.clear();
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Sink for NewBlob<'_> {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.restart()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(bytes)
    }
}

/// An answer that is arriving.
pub(super) struct Incoming<'a> {
    messages: Receiver<Message>,
    cancel: &'a AtomicBool,
    patience: Patience,
    window: (Instant, u64),
}

impl Default for Http {
    fn default() -> Self {
        Self::with_patience(Patience::default())
    }
}

impl Http {
    /// A client with the usual patience.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client with its own patience.
    pub fn with_patience(patience: Patience) -> Self {
        let client = Client::new(patience, &Proxies::of_environment());
        Self { client, patience, stop: Arc::default() }
    }

    /// Makes every `get` end soon after `stop` is set.
    #[must_use]
    pub fn stopped_by(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// The bytes at `url` (http, https, file, or an absolute path), as they are stored there.
    ///
    /// # Errors
    /// They do not come (after three tries, if it may be a passing trouble), or are more than
    /// `max_size`.
    pub fn get_bytes(&self, url: &str, max_size: u64) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        self.get_into(url, max_size, &mut bytes)?;
        Ok(bytes)
    }

    /// The same, handed over as they come: nothing of them is kept here.
    pub(crate) fn get_into(
        &self,
        url: &str,
        max_size: u64,
        sink: &mut impl Sink,
    ) -> Result<(), FetchError> {
        self.get(&[(ACCEPT_ENCODING, "identity")], url, max_size, sink).map(|_| ())
    }

    /// The page at `url`, which the server may compress on the way. `accept`: MIME types wanted.
    ///
    /// # Errors
    /// As [`Http::get_bytes`]; the bound is on what comes and on what that is decompressed.
    pub fn get_page(&self, url: &str, accept: &str, max_size: u64) -> Result<Page, FetchError> {
        let mut body = Vec::new();
        let headers = [(ACCEPT, accept), (ACCEPT_ENCODING, "gzip")];
        let Head { url, content_type, .. } = self.get(&headers, url, max_size, &mut body)?;
        Ok(Page { url, content_type, body })
    }

    fn get(
        &self,
        headers: &[(HeaderName, &str)],
        address: &str,
        max_size: u64,
        sink: &mut impl Sink,
    ) -> Result<Head, FetchError> {
        let url = parse_url(address)?;
        let cancel = &*self.stop;
        self.retry(cancel, &|_| (), || {
            let mut incoming = self.start(headers, &url, cancel);
            let head = incoming.head()?;
            if head.status != 200 {
                return Err(Answer::Status(head.status).into());
            }
            sink.begin()?;
            if head.zipped {
                unzip(&mut incoming, max_size, sink)?;
                return Ok(head);
            }
            let mut bounded = Bounded::new(max_size);
            while let Some(chunk) = incoming.chunk()? {
                bounded.count(&chunk)?;
                sink.take(&chunk)?;
            }
            Ok(head)
        })
        .map_err(|stop| match stop {
            Stop::Answer(answer) => FetchError::Get { address: shown(&url), answer },
            Stop::Fatal(error) => error,
        })
    }

    /// Runs `attempt` until it works, or fails for good, or has failed often enough.
    pub(super) fn retry<T>(
        &self,
        cancel: &AtomicBool,
        retrying: &dyn Fn(&Answer),
        mut attempt: impl FnMut() -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let mut pause = self.patience.backoff;
        for _ in 1..self.patience.tries {
            match attempt() {
                Err(Stop::Answer(answer)) if answer.is_transient() => retrying(&answer),
                other => return other,
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if cancel.load(Ordering::Relaxed) {
                    return Err(Stop::Fatal(FetchError::Cancelled));
                }
                std::thread::sleep(pause.min(Duration::from_millis(50)));
            }
            pause *= 2;
        }
        attempt()
    }

    /// Asks for a blob from byte `offset` on.
    pub(super) fn open<'a>(&self, url: &Url, offset: u64, cancel: &'a AtomicBool) -> Incoming<'a> {
        let range = format!("bytes={offset}-");
        let headers = [(ACCEPT_ENCODING, "identity"), (RANGE, range.as_str())];
        self.start(&headers[..if offset > 0 { 2 } else { 1 }], url, cancel)
    }

    fn start<'a>(
        &self,
        headers: &[(HeaderName, &str)],
        url: &Url,
        cancel: &'a AtomicBool,
    ) -> Incoming<'a> {
        let (sender, messages) = sync_channel(4);
        let url = url.clone();
        if url.scheme() == "file" {
            let offset = headers.iter().find(|(name, _)| *name == RANGE).map(|(_, range)| *range);
            let offset = offset.and_then(|range| range[6..range.len() - 1].parse().ok());
            std::thread::spawn(move || deliver(&sender, |sender| read(&url, offset, sender)));
        } else {
            let client = self.client.clone();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
            std::thread::spawn(move || {
                let client = client.map_err(Answer::Unready);
                deliver(&sender, |sender| body(client?.get(url, &headers)?, sender));
            });
        }
        Incoming { messages, cancel, patience: self.patience, window: (Instant::now(), 0) }
    }
}

impl Incoming<'_> {
    /// Waits for the beginning.
    pub(super) fn head(&mut self) -> Result<Head, Stop> {
        match self.next()? {
            Message::Head(head) => Ok(*head),
            _ => Err(Answer::Broken("no answer".to_owned()).into()),
        }
    }

    /// Waits for the next bytes. `None`: that was all.
    pub(super) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let Message::Chunk(chunk) = self.next()? else { return Ok(None) };
        self.window.1 += chunk.len() as u64;
        if self.window.0.elapsed() > self.patience.stall {
            if self.window.1 < self.patience.min_bytes {
                let why = format!("stalled: {} bytes in {:?}", self.window.1, self.patience.stall);
                return Err(Answer::Broken(why).into());
            }
            self.window = (Instant::now(), 0);
        }
        Ok(Some(chunk))
    }

    fn next(&mut self) -> Result<Message, Stop> {
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Stop::Fatal(FetchError::Cancelled));
            }
            match self.messages.recv_timeout(Duration::from_millis(100)) {
                Ok(Message::Failed(answer)) => return Err(answer.into()),
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Answer::Broken("the connection ended".to_owned()).into());
                }
            }
        }
    }
}

/// Bytes on their way to a sink, no more than may come.
struct Bounded {
    length: u64,
    limit: u64,
}

impl Bounded {
    fn new(limit: u64) -> Self {
        Self { length: 0, limit }
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        if self.length > self.limit {
            return Err(Answer::TooLong { limit: self.limit });
        }
        Ok(())
    }
}

/// What comes, for a decompressor. It has a bound too: gzip may go on for ever and unpack to nothing.
struct Arriving<'a, 'b> {
    incoming: &'a mut Incoming<'b>,
    bounded: Bounded,
    chunk: Cursor<Vec<u8>>,
    /// Why there is no more.
    stop: Option<Stop>,
}

impl Arriving<'_, '_> {
    fn next(&mut self) -> Result<Vec<u8>, Stop> {
        let chunk = self.incoming.chunk()?.unwrap_or_default();
        self.bounded.count(&chunk)?;
        Ok(chunk)
    }
}

impl Read for Arriving<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() == self.chunk.get_ref().len() as u64 {
            self.chunk = Cursor::new(self.next().map_err(|stop| {
                self.stop = Some(stop);
                io::Error::other("it stops")
            })?);
        }
        self.chunk.read(to)
    }
}

/// Hands over what comes, decompressed.
fn unzip(incoming: &mut Incoming<'_>, limit: u64, sink: &mut impl Sink) -> Result<(), Stop> {
    let (bounded, chunk) = (Bounded::new(limit), Cursor::default());
    let mut decoder = MultiGzDecoder::new(Arriving { incoming, bounded, chunk, stop: None });
    let (mut bounded, mut piece) = (Bounded::new(limit), vec![0; CHUNK]);
    loop {
        let count = decoder.read(&mut piece).map_err(|error| {
            let broken = || Answer::Broken(format!("no gzip: {error}")).into();
            decoder.get_mut().stop.take().unwrap_or_else(broken)
        })?;
        if count == 0 {
            return Ok(());
        }
        bounded.count(&piece[..count])?;
        sink.take(&piece[..count])?;
    }
}

/// Runs in the request's thread; nobody listening any more is no error.
fn deliver(
    sender: &SyncSender<Message>,
    work: impl FnOnce(&SyncSender<Message>) -> Result<(), Answer>,
) {
    _ = sender.send(work(sender).map_or_else(Message::Failed, |()| Message::End));
}

fn body(got: Got, sender: &SyncSender<Message>) -> Result<(), Answer> {
    let text = |name: HeaderName, headers: &HeaderMap| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let headers = got.response.headers();
    let zipped = got.may_be_zipped
        && text(CONTENT_ENCODING, headers).is_some_and(|it| it.eq_ignore_ascii_case("gzip"));
    let length = text(CONTENT_LENGTH, headers).and_then(|length| length.parse().ok());
    let head = Head {
        status: got.response.status().as_u16(),
        url: got.url,
        content_type: text(CONTENT_TYPE, headers).unwrap_or_default(),
        zipped,
        length,
        range: text(CONTENT_RANGE, headers),
    };
    _ = sender.send(Message::Head(Box::new(head)));
    pump(got.response.into_body().into_reader(), length, sender)
}

fn read(url: &Url, offset: Option<u64>, sender: &SyncSender<Message>) -> Result<(), Answer> {
    let absent = |error: io::Error| Answer::Absent(error.to_string());
    let path =
        url.to_file_path().map_err(|()| Answer::Absent("not a path on this machine".to_owned()))?;
    let mut file = File::open(&path).map_err(absent)?;
    let metadata = file.metadata().map_err(absent)?;
    if !metadata.is_file() {
        return Err(Answer::Absent("not a regular file".to_owned()));
    }
    let offset = offset.filter(|offset| *offset <= metadata.len());
    let start = offset.unwrap_or(0);
    file.seek(SeekFrom::Start(start)).map_err(absent)?;
    let length = metadata.len() - start;
    let head = Head {
        status: if offset.is_some() { 206 } else { 200 },
        url: url.clone(),
        content_type: String::new(),
        zipped: false,
        length: Some(length),
        range: offset.map(|offset| format!("bytes {offset}-/{}", metadata.len())),
    };
    _ = sender.send(Message::Head(Box::new(head)));
    pump(file, Some(length), sender)
}

fn pump(
    mut from: impl Read,
    length: Option<u64>,
    sender: &SyncSender<Message>,
) -> Result<(), Answer> {
    let mut got = 0;
    loop {
        let mut chunk = vec![0; CHUNK];
        let count = match from.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => match length {
                Some(expected) if got < expected => return Err(Answer::Cut { got, expected }),
                _ => return Err(Answer::Broken(reason(&error))),
            },
        };
        if count == 0 {
            return match length {
                Some(expected) if got < expected => Err(Answer::Cut { got, expected }),
                _ => Ok(()),
            };
        }
        got += count as u64;
        chunk.truncate(count);
        if sender.send(Message::Chunk(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The innermost cause, which is the one that says something.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An address as a message may show it: without a password.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        _ = url.set_password(Some("..."));
    }
    url.to_string()
}

/// Reads an address: http, https, file, or an absolute path.
pub(super) fn parse_url(address: &str) -> Result<Url, FetchError> {
    let bad =
        |why: &str| FetchError::BadAddress { address: address.to_owned(), why: why.to_owned() };
    if address.starts_with('/') {
        return Url::from_file_path(address).map_err(|()| bad("the path is not absolute"));
    }
    let url = Url::parse(address).map_err(|error| bad(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" | "file" => Ok(url),
        _ => Err(bad("it must begin with http://, https://, file:// or /")),
    }
}

#[cfg(test)]
mod tests;
