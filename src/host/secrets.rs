//! `[secrets]`: each a text, or `{ file = "..." }`. No message quotes one.

use std::fmt;
use std::net::IpAddr;

use super::load::{self, Privacy, Reading};
use super::names::is_dns_name;
use crate::appliance::document::{Place, Text};
use crate::appliance::walk::{Node, Table};
use crate::diagnostic::HIDDEN;

/// The names there are.
const NAMES: [&str; 3] = ["alerts-webhook", "cloudflare-token", "smtp-password"];
/// Characters.
const LENGTH_MAX: usize = 4096;
const TOKEN_MIN: usize = 20;
/// The box itself.
const LOCAL: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

/// A text that does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// All secrets by name; those in which something is wrong are `None`.
pub(super) fn read<'a>(
    table: Option<Table<'a>>,
    reading: &Reading<'_>,
) -> Vec<(Text<'a>, Option<Secret>)> {
    let Some(table) = table else { return Vec::new() };
    table.only(&NAMES);
    let known =
        table.entries().into_iter().filter(|(name, _)| NAMES.contains(&name.value.as_str()));
    known
        .map(|(name, node)| {
            let secret = secret(&name.value, &node, reading);
            (name, secret)
        })
        .collect()
}

fn secret(name: &str, node: &Node<'_>, reading: &Reading<'_>) -> Option<Secret> {
    let (value, place) = if node.is_string() {
        let text = node.string()?;
        if shared(reading, reading.mode) {
            let message = format!("others can read this secret (mode {:04o})", reading.mode);
            let help = format!(
                "chmod 600 {}, or put it into a file of its own: {{ file = \"...\" }}",
                reading.path.display()
            );
            text.fail(message, help);
        }
        (text.value, text.place)
    } else if node.is_table() {
        from_file(&node.table()?, reading)?
    } else {
        node.wrong_type("a text or { file = \"...\" }", "put it in quotes");
        return None;
    };
    match wrong(name, &value) {
        Some((what, help)) => {
            place.fail(format!("the secret \"{name}\" {what}"), help);
            None
        }
        None => Some(Secret(value)),
    }
}

fn shared(reading: &Reading<'_>, mode: u32) -> bool {
    reading.privacy == Privacy::Demanded && mode & 0o077 != 0
}

fn from_file<'a>(table: &Table<'a>, reading: &Reading<'_>) -> Option<(String, Place<'a>)> {
    table.only(&["file"]);
    let text = table.require("file", "file = \"...\"")?.string()?;
    let path = reading.dir.join(&text.value);
    match load::read(&path) {
        Ok((_, mode)) if shared(reading, mode) => {
            let path = path.display();
            text.fail(
                format!("others can read {path} (mode {mode:04o})"),
                format!("chmod 600 {path}"),
            );
            None
        }
        Ok((value, _)) => Some((value.trim_end_matches(['\n', '\r']).to_owned(), text.place)),
        Err(error) => {
            // Not the path: somebody may have put the secret itself here.
            let message = format!("reading the file that is named here: {error}");
            text.fail(message, "the path begins at the folder of this file");
            None
        }
    }
}

/// What is wrong with a secret, and what to do.
fn wrong(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    if value.is_empty() {
        Some(("is empty", "leave it out if there is none"))
    } else if value.chars().any(char::is_control) {
        Some(("is more than one line", "a secret is one line without control characters"))
    } else if value.trim() != value {
        Some(("has white space at an end", "copy it without"))
    } else if value.chars().count() > LENGTH_MAX {
        Some(("is too long", "at most 4096 characters"))
    } else if name == "alerts-webhook" && !is_http(value) {
        Some((
            "is not an address that alerts can be sent to",
            "https://HOST/..., without user and password; http:// is for a server on the box itself",
        ))
    } else if name == "smtp-password" && !value.is_ascii() {
        Some(("is not ASCII", "mail servers take nothing else; choose another one"))
    } else if name == "cloudflare-token" && !is_token(value) {
        Some((
            "is not an API token",
            "20 or more letters, digits, - and _; not the global API key's mail address",
        ))
    } else {
        None
    }
}

fn is_token(value: &str) -> bool {
    value.len() >= TOKEN_MIN
        && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
}

/// `https://HOST[:PORT][/...]`; `http` for the box itself.
pub(super) fn is_http(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    if !rest.bytes().all(|c| c.is_ascii_graphic()) {
        return false;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let scheme_ok = scheme == "https" || scheme == "http" && LOCAL.contains(&host);
    scheme_ok && port_ok && (is_dns_name(host) || host.parse::<IpAddr>().is_ok())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn addresses() {
        for good in [
            "https://hooks.example.org/a?b=c#d",
            "https://192.0.2.1:8080",
            "http://127.0.0.1:8080/x",
            "http://localhost",
            "https://[2001:db8::1]:443/x",
        ] {
            assert!(is_http(good), "{good}");
        }
        for bad in [
            "ftp://x",
            "https://",
            "https:///x",
            "https://a b",
            "https://a:0",
            "https://a:x",
            "x",
            "http://192.0.2.1:8080",
            "http://localhost.example.org/",
            "https://user:word@example.org/",
        ] {
            assert!(!is_http(bad), "{bad}");
        }
    }
}
