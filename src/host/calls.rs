//! `[calls]`: how the outside reaches a box behind NAT that relays calls.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::appliance::document::Text;
use crate::appliance::walk::Table;

/// Reads the table; it comes back with the same key.
pub(super) fn read(table: &Table<'_>) -> Value {
    table.only(&["external-ip"]);
    match table.string("external-ip").and_then(|text| public(&text)) {
        Some(ip) => json!({ "external-ip": ip.to_string() }),
        None => json!({}),
    }
}

fn public(text: &Text<'_>) -> Option<Ipv4Addr> {
    let Ok(ip) = text.value.parse::<Ipv4Addr>() else {
        let help = "the router's address on the internet, such as \"192.0.2.1\"";
        text.fail(format!("{} is not an IPv4 address", text.quoted()), help);
        return None;
    };
    if is_special(ip) {
        let help = "the address that the internet knows your router by; where the provider shares one \
                    among customers (100.64.0.0/10), nobody outside can reach the box by IPv4";
        text.fail(format!("{} is not a public address", text.quoted()), help);
        return None;
    }
    Some(ip)
}

fn is_special(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xc0 == 64;
    first == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || shared
        || first >= 224
}
