//! `[acme]`: the authority that certificates come from, where a box needs another answer than its image has.

use serde_json::{Map, Value};

use super::names;
use super::secrets::is_http;
use crate::appliance::document::Text;
use crate::appliance::error::hint;
use crate::appliance::walk::Table;

const CHALLENGES: [&str; 2] = ["http", "dns-cloudflare"];
/// Let's Encrypt's, and the one that it has for trying things out.
const SERVERS: [&str; 2] = ["letsencrypt", "staging"];

/// Reads the table; it comes back with the same keys.
pub(super) fn read(table: &Table<'_>) -> Value {
    table.only(&["terms-agreed", "email", "server", "challenge"]);
    let mut found = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            found.insert(key.to_owned(), value);
        }
    };
    let agreed = table.get("terms-agreed").and_then(|node| node.boolean());
    set("terms-agreed", agreed.map(Value::from));
    let email = table.string("email").and_then(|text| names::mailbox(&text));
    set("email", email.map(Value::from));
    set("server", table.string("server").and_then(|text| server(&text)).map(Value::from));
    set("challenge", table.string("challenge").and_then(|text| challenge(&text)).map(Value::from));
    Value::Object(found)
}

fn server(text: &Text<'_>) -> Option<String> {
    let url = text.value.starts_with("https://") && is_http(&text.value);
    if url || SERVERS.contains(&text.value.as_str()) {
        return Some(text.value.clone());
    }
    let help = "letsencrypt, staging, or the address of the authority's directory: \"https://...\"";
    text.fail(format!("{} is no authority", text.quoted()), help);
    None
}

fn challenge(text: &Text<'_>) -> Option<String> {
    if CHALLENGES.contains(&text.value.as_str()) {
        return Some(text.value.clone());
    }
    let help = hint(&text.value, "challenges", CHALLENGES);
    text.fail(format!("unknown challenge {}", text.quoted()), help);
    None
}
