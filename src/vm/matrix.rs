//! Steps of a Matrix client, from outside, over TLS. Source: Matrix Client-Server API v1.11.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;
use url::Url;

use super::http::{Answer, Request};
use super::judge::{self, Mismatch};
use super::run::{Look, Run, Stop};
use super::spec::{CreateRoom, Join, Login, Read, Register, Send, Ssh};
use super::text::quoted;

/// How long the server may hold a sync without news, milliseconds.
const SYNC_TIMEOUT: &str = "10000";
/// Only messages, and enough of them to see one from before.
const SYNC_FILTER: &str = r#"{"presence":{"types":[]},"room":{"timeline":{"limit":100}}}"#;

/// Registers a user, as Synapse's register_new_matrix_user does, and says what came of it: NAME PASSWORD admin|notadmin.
const REGISTER: &str = include_str!("register.py");

/// Who is logged in: user → access token.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    tokens: BTreeMap<String, String>,
    sent: u32,
    /// What was acknowledged while the disks are recorded, and how much had been recorded by then.
    pub(super) recorded: BTreeMap<String, usize>,
}

impl Run<'_> {
    /// Makes a user, who is logged in then. Synapse bounds how often an address may log in: five times, then once in five
    /// minutes. All tests of a boot come from one; so the token that registering brings is used.
    pub(super) fn matrix_register(&mut self, step: &Register) -> Result<(), Stop> {
        let (user, password) = (self.fill(&step.user)?, self.fill(&step.password)?);
        let command = registration(&user, &password, step.admin);
        let output = self.command(&command, None)?.ok_or(Stop::Late)?;
        judge::command(&Ssh { command, ..Ssh::default() }, &output)?;
        let answer = Answer { status: 200, body: output.stdout };
        let token = text_at(&answer, "/access_token")?;
        self.guest.sessions.tokens.insert(user, token);
        Ok(())
    }

    pub(super) fn matrix_login(&mut self, step: &Login) -> Result<(), Stop> {
        let user = self.fill(&step.user)?;
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": self.fill(&step.password)?,
            "initial_device_display_name": "chatimg test",
        });
        let answer = self.call(Method::POST, &["login"], &[], None, Some(body))?;
        let token = text_at(&answer, "/access_token")?;
        self.guest.sessions.tokens.insert(user, token);
        Ok(())
    }

    pub(super) fn matrix_create_room(&mut self, step: &CreateRoom) -> Result<(), Stop> {
        let by = self.fill(&step.by)?;
        let mut invite = Vec::new();
        for user in &step.invite {
            let user = self.fill(user)?;
            let whole = user.starts_with('@');
            invite.push(if whole { user } else { format!("@{user}:{}", self.guest.setup.domain) });
        }
        let preset = if step.public { "public_chat" } else { "private_chat" };
        let mut body = json!({"preset": preset, "invite": invite});
        if let Some(alias) = &step.alias {
            body["room_alias_name"] = self.fill(alias)?.into();
        }
        let answer = self.call(Method::POST, &["createRoom"], &[], Some(&by), Some(body))?;
        let room = text_at(&answer, "/room_id")?;
        self.save(step.save.as_deref(), &room);
        Ok(())
    }

    pub(super) fn matrix_join(&mut self, step: &Join) -> Result<(), Stop> {
        let (by, room) = (self.fill(&step.by)?, self.fill(&step.room)?);
        self.call(Method::POST, &["join", &room], &[], Some(&by), Some(json!({})))?;
        Ok(())
    }

    pub(super) fn matrix_send(&mut self, step: &Send) -> Result<(), Stop> {
        let (by, room) = (self.fill(&step.by)?, self.fill(&step.room)?);
        self.guest.sessions.sent += 1;
        let transaction = format!("chatimg{}", self.guest.sessions.sent);
        let body = self.fill(&step.body)?;
        let path = sending(&room, &transaction);
        let answer = self.call(Method::PUT, &path, &[], Some(&by), Some(text_message(&body)))?;
        let event = text_at(&answer, "/event_id")?;
        if let Some(recorder) = &self.guest.recorder {
            self.guest.sessions.recorded.insert(body, recorder.count());
        }
        self.save(step.save.as_deref(), &event);
        Ok(())
    }

    /// Syncs until the message is there.
    pub(super) fn matrix_read(&mut self, step: &Read) -> Result<(), Stop> {
        let (by, room) = (self.fill(&step.by)?, self.fill(&step.room)?);
        let body = self.fill(&step.body)?;
        let mut since: Option<String> = None;
        let awaited = format!("the message \"{body}\"");
        self.until(&awaited, Duration::from_millis(500), |run| {
            let mut query = vec![("filter", SYNC_FILTER), ("timeout", SYNC_TIMEOUT)];
            if let Some(since) = &since {
                query.push(("since", since));
            }
            let answer = run.call(Method::GET, &["sync"], &query, Some(&by), None)?;
            let sync = answer.json().unwrap_or_default();
            if has_message(&sync, &room, &body) {
                return Ok(Look::Here(()));
            }
            since = Some(text_at(&answer, "/next_batch")?);
            Ok(Look::NotYet(format!("no such message in room {room}")))
        })?;
        let now = self.since_start();
        self.times.message.get_or_insert(now);
        Ok(())
    }

    /// The token of a user who has logged in.
    pub(super) fn token(&self, user: &str) -> Result<String, Stop> {
        let none = || Mismatch::new(format!("a login of {user}"), "no matrix-login before");
        Ok(self.guest.sessions.tokens.get(user).ok_or_else(none)?.clone())
    }

    /// One call of the client-server API; waits if the server says that there were too many.
    pub(super) fn call(
        &mut self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        by: Option<&str>,
        json: Option<Value>,
    ) -> Result<Answer, Stop> {
        let token = by.map(|user| self.token(user)).transpose()?;
        let url = address(self.guest.setup.domain, path, query)?;
        loop {
            let request = Request {
                method: method.clone(),
                url: url.clone(),
                token: token.clone(),
                json: json.clone(),
            };
            let answer = self.ask(request)??;
            match answer.status {
                200 => return Ok(answer),
                429 => {
                    let wait = answer.json().and_then(|json| json["retry_after_ms"].as_u64());
                    self.pause(Duration::from_millis(wait.unwrap_or(1000).min(60_000)))?;
                }
                _ => {
                    let expected = format!("status 200 to {method} {}", url.path());
                    return Err(Mismatch::new(expected, answer.shown()).into());
                }
            }
        }
    }
}

/// A command of the box that makes a user, and says what Synapse answered.
pub(super) fn registration(user: &str, password: &str, admin: bool) -> String {
    let kind = if admin { "admin" } else { "notadmin" };
    format!("sudo python3 -c {} {kind}", [REGISTER, user, password].map(quoted).join(" "))
}

/// Where a message is sent to.
pub(super) fn sending<'a>(room: &'a str, transaction: &'a str) -> [&'a str; 5] {
    ["rooms", room, "send", "m.room.message", transaction]
}

/// What is sent.
pub(super) fn text_message(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

pub(super) fn address(domain: &str, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Stop> {
    let wrong =
        |why: String| Mismatch::new(format!("a domain that makes an address: {domain}"), why);
    let mut url =
        Url::parse(&format!("https://{domain}")).map_err(|error| wrong(error.to_string()))?;
    url.path_segments_mut()
        .map_err(|()| wrong("it has no path".to_owned()))?
        .extend(["_matrix", "client", "v3"])
        .extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

fn text_at(answer: &Answer, pointer: &str) -> Result<String, Stop> {
    let json = answer.json();
    let text = json.as_ref().and_then(|json| json.pointer(pointer)).and_then(Value::as_str);
    let missing = || Mismatch::new(format!("a text at {pointer} of the JSON"), answer.shown());
    Ok(text.ok_or_else(missing)?.to_owned())
}

fn has_message(sync: &Value, room: &str, body: &str) -> bool {
    let events = sync["rooms"]["join"][room]["timeline"]["events"].as_array();
    events
        .into_iter()
        .flatten()
        .any(|event| event["type"] == "m.room.message" && event["content"]["body"] == body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ids_are_one_part_of_the_path() {
        let path = ["rooms", "!a/b?:x", "send"];
        let url = address("chat.example", &path, &[("filter", "{\"a\":1}")]).ok().expect("address");
        let wanted = "https://chat.example/_matrix/client/v3/rooms/!a%2Fb%3F:x/send\
            ?filter=%7B%22a%22%3A1%7D";
        assert_eq!(url.as_str(), wanted);
    }

    #[test]
    fn a_message_is_found_in_its_room_only() {
        let event = json!({"type": "m.room.message", "content": {"body": "hello"}});
        let sync = json!({"rooms": {"join": {"!a": {"timeline": {"events": [{}, event]}}}}});
        assert!(has_message(&sync, "!a", "hello"));
        assert!(!has_message(&sync, "!a", "hell"));
        assert!(!has_message(&sync, "!b", "hello"));
        assert!(!has_message(&json!({}), "!a", "hello"));
        let named = json!({"type": "m.room.name", "content": {"body": "hello"}});
        let sync = json!({"rooms": {"join": {"!a": {"timeline": {"events": [named]}}}}});
        assert!(!has_message(&sync, "!a", "hello"));
    }
}
