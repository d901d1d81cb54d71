//! The restart into another image, and the wait for what the box makes of it: what it writes into its history is the
//! verdict, whatever this program saw of it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::remote::{Remote, RemoteError};
use super::session::printable;
use super::transfer::Transfer;
use super::{Event, UpdateError};
use crate::interrupt;

/// How long stopping services and taking the snapshot may take.
const GOING_DOWN: Duration = Duration::from_secs(900);
/// The box itself gives up earlier: 10 minutes for its gate, 10 for the login, and two restarts, of servers that may take
/// minutes for each.
const VERDICT: Duration = Duration::from_secs(40 * 60);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(3);
/// Of one look.
const LOOK: Duration = Duration::from_secs(60);
const HISTORY: &str = "sudo -n chatimg-admin history --json";

/// Who has to find the new image good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The box's own checks, and then a login from outside.
    Login,
    /// The box's own checks.
    Gate,
}

/// Something that happened to the box's images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds since 1970, by the box's clock.
    pub time: f64,
    /// `switched`; `confirmed`; at the end `committed`, `rolled-back` (a rollback that is done), or `failed`.
    pub event: String,
    /// The image that ran.
    #[serde(default)]
    pub from: String,
    /// The image that was to run.
    #[serde(default)]
    pub to: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds without service.
    #[serde(default)]
    pub down: Option<f64>,
}

/// What the box says of itself, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(pub Vec<Record>);

impl History {
    /// Asks the box.
    ///
    /// # Errors
    /// It does not answer, or not with a history.
    pub fn read(remote: &Remote) -> Result<Self, RemoteError> {
        let text = remote.ask(HISTORY, LOOK)?;
        let why = |error: serde_json::Error| RemoteError::Protocol {
            host: remote.host.clone(),
            why: format!("its history: {error}"),
        };
        Self::parse(&text).map_err(why)
    }

    /// A list of records, or a line for each.
    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let text = text.trim();
        let mut records: Vec<Record> = if text.starts_with('[') {
            serde_json::from_str(text)?
        } else {
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?
        };
        for record in &mut records {
            record.reason = record.reason.as_deref().map(printable);
        }
        Ok(Self(records))
    }
}

/// How a switch ended well.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The image that ran before.
    pub from: String,
    /// The image that runs for good.
    pub to: String,
    /// Seconds from the stop of the services until they were open to all again.
    pub down: Option<f64>,
}

/// Sends the box into the image that was transferred. `at`: seconds since 1970, 0 for now.
///
/// # Errors
/// The box does not want to; nothing has changed then.
pub fn switch(
    transfer: &mut Transfer<'_>,
    guard: Guard,
    at: u64,
    events: &dyn Fn(Event),
) -> Result<(), UpdateError> {
    let guard = match guard {
        Guard::Login => "login",
        Guard::Gate => "gate",
    };
    let (session, to) = transfer.parts();
    session.send(json!({"op": "switch", "guard": guard, "at": at}), &[])?;
    loop {
        match session.answer("stopping services and taking the snapshot", GOING_DOWN) {
            Ok(message) if message.head.get("ok") == Some(&Value::Bool(true)) => break,
            Ok(_) => {}
            // It may be on its way already: its history will say.
            Err(RemoteError::Broken { .. } | RemoteError::Silent { .. }) if at == 0 => break,
            // It is not stopped by that.
            Err(RemoteError::Interrupted(_)) => {
                let host = session.host().to_owned();
                return Err(UpdateError::NotWaiting { host, to: to.to_owned() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    if at == 0 {
        events(Event::Down);
    }
    Ok(())
}

/// A switch under way.
#[derive(Clone, Copy, Debug)]
pub struct Switch<'a> {
    /// The box.
    pub remote: &'a Remote,
    /// What the history had before.
    pub before: &'a History,
    /// The image that it goes to, if that is known.
    pub to: Option<&'a str>,
    /// Whether a login from outside confirms it.
    pub confirm: bool,
}

/// Waits for the verdict, and confirms by a new login as soon as the box takes that.
///
/// # Errors
/// The box went back, or does not say in time what it did.
pub fn verdict(switch: &Switch<'_>, events: &dyn Fn(Event)) -> Result<Outcome, UpdateError> {
    verdict_within(switch, events, VERDICT, PAUSE)
}

fn verdict_within(
    switch: &Switch<'_>,
    events: &dyn Fn(Event),
    limit: Duration,
    pause: Duration,
) -> Result<Outcome, UpdateError> {
    let Switch { remote, before, to, .. } = *switch;
    let start = Instant::now();
    let (mut last, mut back, mut was_down) = ("it did not answer".to_owned(), false, false);
    let mut to = to.map(str::to_owned);
    while start.elapsed() < limit {
        wait(pause).map_err(|_| UpdateError::NotWaiting {
            host: remote.host.clone(),
            to: to.clone().unwrap_or_default(),
        })?;
        let history = match History::read(remote) {
            Ok(history) => history,
            Err(RemoteError::Interrupted(_)) => continue,
            Err(error) => {
                was_down = true;
                last = error.to_string();
                continue;
            }
        };
        let new = news(&history, before);
        to = to.or_else(|| new.iter().rfind(|it| it.event == "switched").map(|it| it.to.clone()));
        if let Some(done) = judged(new, to.as_deref()) {
            return done.map_err(|(from, reason)| UpdateError::WentBack {
                host: remote.host.clone(),
                from,
                reason,
            });
        }
        if was_down && !back {
            back = true;
            events(Event::Back);
        }
        last = confirm(switch, to.as_deref(), limit.saturating_sub(start.elapsed()));
    }
    let minutes = limit.as_secs() / 60;
    let to = to.unwrap_or_default();
    Err(UpdateError::Lost { host: remote.host.clone(), to, minutes, last })
}

/// A login of its own, which stays until the box's checks are done; what came of it. Only the image that is meant is
/// confirmed: another one may run by now.
fn confirm(switch: &Switch<'_>, to: Option<&str>, limit: Duration) -> String {
    let is_id = |to: &&str| to.bytes().all(|c| c.is_ascii_alphanumeric());
    let Some(to) = to.filter(is_id).filter(|_| switch.confirm) else {
        return "it is still trying the image".to_owned();
    };
    let runs = format!("grep -qw chatimg.id={to} /proc/cmdline");
    let command = format!("{runs} && sudo -n chatimg-admin update confirm");
    match switch.remote.run(&command, limit) {
        Ok(output) if output.exit == 0 => "it was confirmed, but not committed yet".to_owned(),
        Ok(output) if output.stderr.trim().is_empty() => {
            format!("it does not run the image {to}")
        }
        Ok(output) => printable(output.stderr.trim()),
        Err(error) => error.to_string(),
    }
}

fn wait(pause: Duration) -> Result<(), interrupt::Interrupted> {
    let end = Instant::now() + pause;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(pause.min(Duration::from_millis(100)));
    }
    interrupt::check()
}

/// What was not there before. The box may have dropped old records meanwhile.
fn news<'a>(history: &'a History, before: &History) -> &'a [Record] {
    let records = &history.0;
    let known = |last: &Record| records.iter().rposition(|record| record == last);
    let from = before.0.last().and_then(known).map_or(0, |index| index + 1);
    &records[from..]
}

/// The end of the switch to `to`, if it is there: good, or from which image and why not.
fn judged(new: &[Record], to: Option<&str>) -> Option<Result<Outcome, (String, String)>> {
    let ours = |record: &&Record| to.is_none_or(|to| record.to == to || record.to.is_empty());
    let find = |event| new.iter().filter(ours).rfind(|record: &&Record| record.event == event);
    if let Some(record) = find("committed").or_else(|| find("rolled-back")) {
        let Record { from, to, down, .. } = record.clone();
        return Some(Ok(Outcome { from, to, down }));
    }
    let back = find("failed")?;
    let reason = back.reason.clone().unwrap_or_else(|| "it does not say why".to_owned());
    Some(Err((back.from.clone(), reason)))
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(history) = History::parse(text) {
        judged(&history.0, Some("a"));
        judged(&history.0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: f64, event: &str, from: &str, to: &str) -> Record {
        let (event, from, to) = (event.to_owned(), from.to_owned(), to.to_owned());
        Record { time, event, from, to, reason: None, down: None }
    }

    #[test]
    fn a_history_is_a_list_or_lines() {
        let lines = "{\"time\":1,\"event\":\"switched\",\"from\":\"a\",\"to\":\"b\"}\n\
            {\"time\":2.5,\"event\":\"failed\",\"from\":\"a\",\"to\":\"b\",\"reason\":\"x\\u001b[2J\",\"more\":1}\n";
        let history = History::parse(lines).expect("reads");
        assert_eq!(history.0[0], record(1.0, "switched", "a", "b"));
        assert_eq!(history.0[1].reason.as_deref(), Some("x[2J"), "nothing for the terminal");
        let list = format!("[{}]", lines.trim().replace('\n', ","));
        assert_eq!(History::parse(&list).expect("reads"), history);
        assert_eq!(History::parse("").expect("reads"), History::default());
        assert!(History::parse("Welcome").is_err());
    }

    #[test]
    fn only_what_is_new_counts() {
        let old = vec![record(1.0, "switched", "a", "b"), record(2.0, "committed", "a", "b")];
        let before = History(old.clone());
        let switched = record(9.0, "switched", "b", "a");
        let all = History([&old[..], std::slice::from_ref(&switched)].concat());
        assert_eq!(news(&all, &before), std::slice::from_ref(&switched));
        assert_eq!(news(&all, &History::default()).len(), 3);
        assert_eq!(judged(news(&all, &before), Some("a")), None);
        // Old records are dropped at some time.
        let rest = History(vec![old[1].clone(), switched.clone()]);
        assert_eq!(news(&rest, &before), [switched]);
    }

    #[test]
    fn the_verdict_is_in_the_history() {
        let switched = record(10.0, "switched", "a", "b");
        let done = Record { down: Some(30.0), ..record(40.0, "committed", "a", "b") };
        let good = [switched.clone(), record(39.0, "confirmed", "", "b"), done];
        let outcome = judged(&good, Some("b")).expect("judged").expect("good");
        assert_eq!((outcome.to.as_str(), outcome.down), ("b", Some(30.0)));
        assert_eq!(judged(&good[..2], Some("b")), None);
        let back = [record(40.0, "rolled-back", "a", "b")];
        assert!(judged(&back, Some("b")).expect("judged").is_ok());
        let mut failed = record(20.0, "failed", "a", "b");
        failed.reason = Some("synapse/answers".to_owned());
        let bad = [switched, failed, record(30.0, "failed", "a", "b")];
        let (from, reason) = judged(&bad[..2], Some("b")).expect("judged").expect_err("bad");
        assert_eq!((from.as_str(), reason.as_str()), ("a", "synapse/answers"));
        let (_, reason) = judged(&bad, Some("b")).expect("judged").expect_err("bad");
        assert_eq!(reason, "it does not say why");
    }
}
