//! `[mail]`, the relay that takes the box's mail, and `[alerts]`, who gets it.

use serde_json::{Map, Value};

use super::secrets::Secret;
use super::{load, names};
use crate::appliance::document::Text;
use crate::appliance::error::hint;
use crate::appliance::walk::Table;

const TLS: [&str; 2] = ["starttls", "tls"];

/// `[alerts]`; `root` is to have `[mail]`.
pub(super) fn alerts(table: &Table<'_>, root: &Table<'_>) -> Value {
    let texts = table.strings("mail-to");
    if let Some(first) = texts.first().filter(|_| root.get("mail").is_none()) {
        first.fail("there is no [mail] to send this by", "add [mail] with host and from");
    }
    load::list(table, "mail-to", names::mailbox)
}

/// `[mail]`.
pub(super) fn relay(table: &Table<'_>, secrets: &[(Text<'_>, Option<Secret>)]) -> Value {
    table.only(&["host", "port", "from", "user", "tls"]);
    let mut found = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            found.insert(key.to_owned(), value);
        }
    };
    let host = table.require("host", "host = \"smtp.example.org\"").and_then(|node| node.string());
    let host = host.and_then(|text| names::server(&text, "smtp.example.org"));
    set("host", host.map(Value::from));
    let port = table
        .get("port")
        .and_then(|node| node.within(node.integer()?, (1, 65_535), |number| number.to_string()));
    set("port", port.map(Value::from));
    let from = table.require("from", "from = \"box@example.org\"").and_then(|node| node.string());
    set("from", from.and_then(|text| names::mailbox(&text)).map(Value::from));
    set("user", table.string("user").and_then(|text| user(&text, secrets)).map(Value::from));
    set("tls", table.string("tls").and_then(|text| tls(&text)).map(Value::from));
    Value::Object(found)
}

fn user(text: &Text<'_>, secrets: &[(Text<'_>, Option<Secret>)]) -> Option<String> {
    let name = &text.value;
    if name.is_empty()
        || name.trim() != name
        || name.chars().any(char::is_control)
        || !name.is_ascii()
    {
        text.fail("this cannot be a user's name", "as the relay's operator gave it to you");
        return None;
    }
    if !secrets.iter().any(|(secret, _)| secret.value == "smtp-password") {
        let help = "add smtp-password to [secrets], or remove the user";
        text.fail("a user without a password", help);
        return None;
    }
    Some(name.clone())
}

fn tls(text: &Text<'_>) -> Option<String> {
    if TLS.contains(&text.value.as_str()) {
        return Some(text.value.clone());
    }
    text.fail(format!("unknown kind of TLS {}", text.quoted()), hint(&text.value, "kinds", TLS));
    None
}
