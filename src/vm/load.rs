//! A user who sends messages without pause while other steps go on: what the server acknowledged must be there in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::Event;
use super::http::Request;
use super::judge::Mismatch;
use super::matrix::{address, sending, text_message};
use super::run::{Look, Run, Stop};
use super::spec::MatrixLoad;

/// Between two messages: an emulated box takes a second or two for one, and has an update to carry out as well.
const PAUSE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
/// A request that takes longer met a box that drops it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAGE: &str = "500";

/// The sender. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Sent>>,
    by: String,
    room: String,
}

/// What came of it.
#[derive(Debug, Default)]
struct Sent {
    /// Texts.
    acknowledged: Vec<String>,
    /// Requests that were refused, or not answered; each message is sent again until it is acknowledged.
    failed: usize,
    /// The longest time without an acknowledgement.
    longest: Duration,
}

impl Run<'_> {
    /// Begins to send.
    pub(super) fn begin_load(&mut self, step: &MatrixLoad) -> Result<(), Stop> {
        let (by, room) = (self.fill(&step.by)?, self.fill(&step.room)?);
        let (ports, token) = (self.ports()?, self.token(&by)?);
        let domain = self.guest.setup.domain.to_owned();
        // Two loads of a test must not have the same texts.
        let mark = self.since_start().as_millis();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, to) = (Arc::clone(&stop), room.clone());
        let sender = std::thread::spawn(move || {
            send(&stopped, &ports, |number| {
                let text = format!("load {mark} {number}");
                let url = address(&domain, &sending(&to, &text), &[]).ok()?;
                let (token, json) = (Some(token.clone()), Some(text_message(&text)));
                Some((text, Request { method: Method::PUT, url, token, json }))
            })
        });
        self.load = Some(Load { stop, sender: Some(sender), by, room });
        Ok(())
    }

    /// Ends it, and looks for all that was acknowledged.
    pub(super) fn end_load(&mut self) -> Result<(), Stop> {
        let none = || Mismatch::new("messages being sent", "none: matrix-load comes first");
        let mut load = self.load.take().ok_or_else(none)?;
        load.stop.store(true, Ordering::Relaxed);
        let sender = load.sender.take().expect("it is taken once");
        self.until("the last message's answer", TICK, |_| {
            let waits = || Look::NotYet("it is waited for".to_owned());
            Ok(if sender.is_finished() { Look::Here(()) } else { waits() })
        })?;
        let sent = sender.join().map_err(|_| Mismatch::new("a sender that ends", "a panic"))?;
        let there = self.texts(&load.by, &load.room)?;
        let Sent { acknowledged, failed, longest } = &sent;
        let text = format!(
            "load: {} messages acknowledged, {failed} requests refused or not answered, at most {:.1} s without service",
            acknowledged.len(),
            longest.as_secs_f64(),
        );
        (self.events)(Event::Note(text));
        if acknowledged.is_empty() {
            return Err(Mismatch::new("messages that are acknowledged", "none").into());
        }
        let wrong = |text: &&String| there.get(*text) != Some(&1);
        let lost: Vec<_> = acknowledged.iter().filter(wrong).cloned().collect();
        if lost.is_empty() {
            return Ok(());
        }
        let count = lost.len();
        let got = format!("{count} are lost, or there twice: {}", lost[..count.min(5)].join(", "));
        Err(Mismatch::new("each acknowledged message once", got).into())
    }

    /// All texts of a room, and how often each is there.
    pub(super) fn texts(&mut self, by: &str, room: &str) -> Result<BTreeMap<String, usize>, Stop> {
        let mut texts = BTreeMap::new();
        let mut from: Option<String> = None;
        loop {
            let mut query = vec![("dir", "b"), ("limit", PAGE)];
            if let Some(from) = &from {
                query.push(("from", from));
            }
            let answer =
                self.call(Method::GET, &["rooms", room, "messages"], &query, Some(by), None)?;
            let page = answer.json().unwrap_or_default();
            let events = page["chunk"].as_array().into_iter().flatten();
            for text in events.filter_map(|event| event["content"]["body"].as_str()) {
                *texts.entry(text.to_owned()).or_default() += 1;
            }
            from = page["end"].as_str().map(str::to_owned);
            if from.is_none() {
                return Ok(texts);
            }
        }
    }
}

/// Sends messages, each until it is acknowledged: a text, and the request that it goes in.
fn send(
    stop: &AtomicBool,
    ports: &BTreeMap<u16, u16>,
    message: impl Fn(usize) -> Option<(String, Request)>,
) -> Sent {
    let mut sent = Sent::default();
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Some((text, request)) = message(sent.acknowledged.len() + 1) else { return sent };
        let answer = request.send_within(ports, PATIENCE);
        match answer.as_ref().map(|answer| answer.status) {
            Ok(200) => {
                sent.longest = sent.longest.max(last.elapsed());
                last = Instant::now();
                sent.acknowledged.push(text);
            }
            Ok(429) => {
                let json = answer.ok().and_then(|answer| answer.json());
                let wait = json.and_then(|json| json["retry_after_ms"].as_u64());
                std::thread::sleep(Duration::from_millis(wait.unwrap_or(1000).min(10_000)));
            }
            _ => sent.failed += 1,
        }
        std::thread::sleep(PAUSE);
    }
    sent.longest = sent.longest.max(last.elapsed());
    sent
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
