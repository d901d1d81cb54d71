//! `[network]`: interfaces, addresses, DNS and NTP servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::address::{Address, address, family, ip, is_link_local};
use super::load::Reading;
use super::names;
use crate::appliance::document::Text;
use crate::appliance::walk::Table;

/// Keys of one interface; in `[network]` itself if there is only one.
const INTERFACE: [&str; 6] = ["interface", "mac", "dhcp", "accept-ra", "addresses", "gateways"];
/// Keys of the whole box.
const BOX: [&str; 4] = ["dns", "search", "ntp", "interfaces"];
/// Linux has room for no more (IFNAMSIZ).
const NAME_MAX: usize = 15;

/// What only one interface may have.
#[derive(Default)]
struct Taken {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    gateways: Vec<&'static str>,
    /// Whether any interface gets addresses by DHCP or from routers.
    automatic: bool,
    /// Whether any has fixed ones.
    fixed: bool,
}

/// Reads the table; it comes back with the same keys.
pub(super) fn read(table: &Table<'_>, reading: &Reading<'_>) -> Value {
    table.only(&[&INTERFACE[..], &BOX[..]].concat());
    let mut taken = Taken::default();
    let interfaces = table.tables("interfaces");
    let mut network = if interfaces.is_empty() {
        interface(table, &mut taken)
    } else {
        for (key, _) in
            table.entries().iter().filter(|(key, _)| INTERFACE.contains(&key.value.as_str()))
        {
            let message = format!("\"{}\" belongs to one of [[network.interfaces]]", key.value);
            key.fail(message, "move it below the one it is meant for");
        }
        let several: Vec<Value> = interfaces
            .iter()
            .map(|table| {
                table.only(&INTERFACE);
                if table.get("interface").is_none() && table.get("mac").is_none() {
                    let help = "add interface = \"eno1\", or mac = \"52:54:00:12:34:56\"";
                    table.place.fail("nothing says which interface this is", help);
                }
                Value::Object(interface(table, &mut taken))
            })
            .collect();
        Map::from_iter([("interfaces".to_owned(), Value::from(several))])
    };
    let mut set = |key: &str, values: Vec<String>| {
        if table.get(key).is_some() {
            network.insert(key.to_owned(), values.into());
        }
    };
    let dns = table.strings("dns");
    set(
        "dns",
        dns.iter().filter(|text| ip(text).is_some()).map(|text| text.value.clone()).collect(),
    );
    set("search", table.strings("search").iter().filter_map(names::search).collect());
    let ntp = table.strings("ntp");
    set("ntp", ntp.iter().filter_map(|text| names::server(text, "ntp.example.org")).collect());
    warn(table, &taken, dns.is_empty(), reading);
    Value::Object(network)
}

/// An island may be meant; it rarely is.
fn warn(table: &Table<'_>, taken: &Taken, no_dns: bool, reading: &Reading<'_>) {
    if taken.automatic || !taken.fixed {
        return;
    }
    let place = table.place;
    if taken.gateways.is_empty() {
        let help = "add gateways = [\"...\"], unless nothing else is to be reached";
        reading
            .warnings
            .add(place.problem("there is no gateway: the box reaches its own network only", help));
    }
    if no_dns {
        let help = "add dns = [\"...\"], unless other servers are not to be reached";
        reading
            .warnings
            .add(place.problem("there is no DNS server: the box can look up no names", help));
    }
}

/// The keys of one interface, checked.
fn interface(table: &Table<'_>, taken: &mut Taken) -> Map<String, Value> {
    let mut found = Map::new();
    which(table, taken, &mut found);
    let texts = table.strings("addresses");
    let addresses: Vec<(Address, Text<'_>)> =
        texts.into_iter().filter_map(|text| Some((address(&text)?, text))).collect();
    for (address, text) in &addresses {
        if taken.addresses.contains(&address.ip) {
            let message = format!("the address {} is there twice", address.ip);
            text.fail(message, "remove one of the two");
        }
        taken.addresses.push(address.ip);
    }
    let (v4, v6) = dhcp(table, &addresses, &mut found);
    let accept_ra = table.get("accept-ra").map(|node| node.boolean());
    if let Some(Some(accept)) = accept_ra {
        found.insert("accept-ra".to_owned(), accept.into());
    }
    if table.get("addresses").is_some() {
        let written = addresses.iter().map(|(_, text)| text.value.clone());
        found.insert("addresses".to_owned(), written.collect());
    }
    if table.get("gateways").is_some() {
        let gateways = gateways(table, &addresses, taken);
        found.insert("gateways".to_owned(), gateways.into());
    }
    let asks_routers = accept_ra == Some(Some(true));
    let nothing = !v4 && !v6 && !asks_routers && table.strings("addresses").is_empty();
    if let Some(node) = table.get("dhcp").filter(|_| nothing) {
        let help = "add addresses = [\"...\"], or turn it on";
        node.fail("is off, and there are no addresses", help);
    }
    taken.automatic |= v4 || v6 || asks_routers;
    taken.fixed |= !addresses.is_empty();
    found
}

/// Which interface it is: by its name or hardware address.
fn which(table: &Table<'_>, taken: &mut Taken, found: &mut Map<String, Value>) {
    let (name, mac) = (table.string("interface"), table.string("mac"));
    if let (Some(_), Some(mac)) = (&name, &mac) {
        mac.fail("\"interface\" says already which interface this is", "remove one of the two");
    }
    name.iter().for_each(check_name);
    mac.iter().for_each(check_mac);
    for (key, text) in [("interface", name), ("mac", mac)] {
        let Some(text) = text else { continue };
        let plain = if key == "mac" { text.value.to_ascii_lowercase() } else { text.value.clone() };
        if taken.names.contains(&plain) {
            text.fail(format!("\"{plain}\" is there twice"), "put all of it into one table");
        }
        taken.names.push(plain.clone());
        found.insert(key.to_owned(), plain.into());
    }
}

fn check_name(text: &Text<'_>) {
    let name = text.value.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let special = ["", ".", "..", "lo", "all", "default"].contains(&name);
    let digits = name.bytes().all(|c| c.is_ascii_digit());
    if special || digits || name.len() > NAME_MAX || !name.chars().all(allowed) {
        let help = "as `ip link` on the box shows it, such as \"eno1\" or \"enp3s0\"";
        let message = format!("{} cannot be the name of a network interface", text.quoted());
        text.fail(message, help);
    }
}

fn check_mac(text: &Text<'_>) {
    let pairs: Vec<&str> = text.value.split(':').collect();
    let pair = |pair: &&str| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
    let first = pairs.first().and_then(|first| u8::from_str_radix(first, 16).ok());
    // The lowest bit of the first byte marks addresses of groups.
    let single = first.is_some_and(|first| first & 1 == 0);
    let zero = pairs.iter().all(|pair| *pair == "00");
    if pairs.len() != 6 || !pairs.iter().all(pair) || !single || zero {
        let help = "six pairs of hexadecimal digits, such as \"52:54:00:12:34:56\"";
        text.fail(format!("{} is not an interface's MAC address", text.quoted()), help);
    }
}

/// Whether IPv4 and IPv6 addresses are asked for; they are if none are given.
fn dhcp(
    table: &Table<'_>,
    addresses: &[(Address, Text<'_>)],
    found: &mut Map<String, Value>,
) -> (bool, bool) {
    let Some(node) = table.get("dhcp") else {
        let automatic = table.strings("addresses").is_empty();
        return (automatic, automatic);
    };
    let (value, both) = if node.is_string() {
        let text = node.string().map(|text| text.value).unwrap_or_default();
        let both = match text.as_str() {
            "ipv4" => (true, false),
            "ipv6" => (false, true),
            _ => {
                let help = "write true, false, \"ipv4\" or \"ipv6\"";
                node.fail("has a value that it cannot have", help);
                return (true, true);
            }
        };
        (json!(text), both)
    } else {
        let Some(on) = node.boolean() else { return (true, true) };
        (json!(on), (on, on))
    };
    for (address, text) in addresses {
        if if address.ip.is_ipv4() { both.0 } else { both.1 } {
            let family = family(address.ip);
            let other = if address.ip.is_ipv4() { "\"ipv6\"" } else { "\"ipv4\"" };
            let help = format!("remove the address, or write dhcp = false or dhcp = {other}");
            text.fail(format!("\"dhcp\" asks for the {family} address already"), help);
        }
    }
    found.insert("dhcp".to_owned(), value);
    both
}

fn gateways(
    table: &Table<'_>,
    addresses: &[(Address, Text<'_>)],
    taken: &mut Taken,
) -> Vec<String> {
    let mut found = BTreeMap::new();
    for text in table.strings("gateways") {
        let Some(gateway) = ip(&text) else { continue };
        let shown = &text.value;
        let family = family(gateway);
        if taken.gateways.contains(&family) {
            let help = "one for each of IPv4 and IPv6, on the interface that leads out";
            text.fail(format!("\"{shown}\" is a second {family} gateway"), help);
        } else if addresses.iter().any(|(address, _)| address.ip == gateway) {
            let help = "write the router's address";
            text.fail(format!("\"{shown}\" is the box's own address"), help);
        } else if !addresses.iter().any(|(address, _)| address.reaches(gateway)) {
            let help = if is_link_local(gateway) {
                "add an IPv6 address"
            } else {
                "it must be in the network of one of \"addresses\"; DHCP and routers tell theirs themselves"
            };
            text.fail(format!("the gateway \"{shown}\" cannot be reached"), help);
        }
        taken.gateways.push(family);
        found.insert(family, text.value);
    }
    found.into_values().collect()
}
