//! A conversation with the box's receiver: `/usr/lib/chatimg/receive`.

use std::io::{BufReader, BufWriter};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::remote::{self, Remote, RemoteError};
use super::wire::{self, Message, WireError};
use crate::interrupt;

/// The receiver, by way of ssh.
pub(super) const RECEIVER: &str = "sudo -n /usr/lib/chatimg/receive";
/// How long ssh may take to say why it ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long the receiver may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// An open conversation; ends when dropped.
pub(super) struct Session<'a> {
    remote: &'a Remote,
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    answers: Receiver<Result<Message, WireError>>,
    stderr: Option<Receiver<Vec<u8>>>,
    sent: u64,
}

impl<'a> Session<'a> {
    /// Logs in. No answer's payload has more than `limit` bytes.
    pub(super) fn start(remote: &'a Remote, limit: u64) -> Result<Self, RemoteError> {
        let mut child = remote.start(RECEIVER)?;
        let (send, answers) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut output = BufReader::new(output);
                while let Some(message) = wire::read(&mut output, limit).transpose() {
                    let last = message.is_err();
                    if send.send(message).is_err() || last {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(remote::collect);
        let input = child.stdin.take().map(BufWriter::new);
        Ok(Self { remote, child, input, answers, stderr, sent: 0 })
    }

    /// The box.
    pub(super) fn host(&self) -> &str {
        &self.remote.host
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a message. What the box complained of meanwhile is the error.
    pub(super) fn send(&mut self, head: Value, payload: &[u8]) -> Result<(), RemoteError> {
        match self.answers.try_recv() {
            Ok(message) => {
                self.checked(message)?;
                return Err(self.strange("it answers before it was asked".to_owned()));
            }
            Err(TryRecvError::Disconnected) => return Err(self.ended()),
            Err(TryRecvError::Empty) => {}
        }
        interrupt::check()?;
        let input = self.input.as_mut();
        match input.and_then(|input| wire::write(input, head, payload).ok()) {
            Some(bytes) => {
                self.sent += bytes;
                Ok(())
            }
            None => Err(self.ended()),
        }
    }

    /// The next answer. `doing`: what the box does until then.
    pub(super) fn answer(
        &mut self,
        doing: &'static str,
        limit: Duration,
    ) -> Result<Message, RemoteError> {
        let received = remote::receive(&self.answers, limit)?;
        if let Some(message) = received {
            return self.checked(message);
        }
        match self.answers.try_recv() {
            Ok(message) => self.checked(message),
            Err(TryRecvError::Disconnected) => Err(self.ended()),
            Err(TryRecvError::Empty) => {
                let (host, seconds) = (self.remote.host.clone(), limit.as_secs());
                Err(RemoteError::Silent { host, doing, seconds })
            }
        }
    }

    /// An answer that is neither an error nor damaged.
    fn checked(&mut self, message: Result<Message, WireError>) -> Result<Message, RemoteError> {
        let message = match message {
            Ok(message) => message,
            Err(WireError::Io(_)) => return Err(self.ended()),
            Err(error) => return Err(self.strange(error.to_string())),
        };
        let text = |key| message.head.get(key).and_then(Value::as_str).map(printable);
        match text("error") {
            Some(error) => {
                let host = self.remote.host.clone();
                Err(RemoteError::Refused { host, error, help: text("help") })
            }
            None => Ok(message),
        }
    }

    pub(super) fn strange(&self, why: String) -> RemoteError {
        RemoteError::Protocol { host: self.remote.host.clone(), why }
    }

    /// Why the conversation is over: the box's last words, or ssh's.
    fn ended(&mut self) -> RemoteError {
        drop(self.input.take());
        while let Ok(Some(message)) = remote::receive(&self.answers, LAST_WORDS) {
            if message.is_err() {
                break;
            }
            if let Err(error) = self.checked(message) {
                return error;
            }
        }
        let stderr = self.stderr.take();
        let said = stderr.and_then(|stderr| stderr.recv_timeout(LAST_WORDS).ok());
        if let Err(interrupted) = interrupt::check() {
            return interrupted.into();
        }
        let said = printable(String::from_utf8_lossy(&said.unwrap_or_default()).trim());
        if said.contains("/usr/lib/chatimg/receive") && said.contains("not found") {
            let (host, error) = (self.remote.host.clone(), said);
            let help = "the image that runs there knows no updates yet; flash it once more";
            return RemoteError::Refused { host, error, help: Some(help.to_owned()) };
        }
        self.remote.broken(&said)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        drop(self.input.take());
        // The receiver ends when its input does. Before that nobody else can talk to it, the next conversation neither.
        let deadline = Instant::now() + FAREWELL;
        let runs = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        while runs(&mut self.child) && Instant::now() < deadline && !interrupt::requested() {
            std::thread::sleep(Duration::from_millis(20));
        }
        remote::end(&mut self.child);
    }
}

/// What others say, without what could play with the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
