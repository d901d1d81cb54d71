//! Reading `host.toml`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::names;
use super::secrets::{self, Secret};
use super::{MAX_SIZE, Settings, acme, calls, mail, network, owner, recipient};
use crate::appliance::LoadError;
use crate::appliance::document::{Document, Text};
use crate::appliance::error::{Report, hint};
use crate::appliance::keys::public_key;
use crate::appliance::walk::Table;

/// The file's own keys.
const KEYS: [&str; 11] = [
    "hostname", "timezone", "network", "admin", "alerts", "mail", "acme", "calls", "backup",
    "update", "secrets",
];
/// The keys of all values that messages may quote; others may be secrets in the wrong place.
const PUBLIC: &str = "
    hostname timezone admin.authorized-keys alerts.mail-to backup.recipients update.keys
    mail.host mail.port mail.from mail.user mail.tls calls.external-ip
    acme.terms-agreed acme.email acme.server acme.challenge
    network.interface network.mac network.dhcp network.accept-ra network.addresses network.gateways
    network.dns network.search network.ntp
    network.interfaces.interface network.interfaces.mac network.interfaces.dhcp
    network.interfaces.accept-ra network.interfaces.addresses network.interfaces.gateways";
const ZONES: &str = include_str!("timezones.txt");

/// Whether others may read files that hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    Demanded,
    Ignored,
}

/// What reading the tables needs.
pub(super) struct Reading<'a> {
    /// The folder that files of secrets are named from.
    pub(super) dir: &'a Path,
    pub(super) privacy: Privacy,
    /// Permission bits of `host.toml`.
    pub(super) mode: u32,
    pub(super) path: &'a Path,
    pub(super) warnings: &'a Report,
}

impl Reading<'_> {
    /// Tells of what is allowed, but hardly meant.
    pub(super) fn warn(&self, text: &Text<'_>, message: &str, help: &str) {
        self.warnings.add(text.place.problem(message, help));
    }
}

/// Reads a file of limited size; with its permission bits.
pub(super) fn read(path: &Path) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    let mut text = String::new();
    file.take(MAX_SIZE as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok((text, mode))
}

pub(super) fn load(path: &Path, privacy: Privacy) -> Result<Settings, LoadError> {
    let help = "name a host.toml that you may read; docs/host.md describes it";
    let error = |source| LoadError::Read { path: path.to_owned(), source, help };
    let (text, mode) = read(path).map_err(error)?;
    parse(path, text, mode, privacy)
}

fn parse(path: &Path, text: String, mode: u32, privacy: Privacy) -> Result<Settings, LoadError> {
    let (report, warnings) = (Report::default(), Report::default());
    let document = Document::parse_private(path, text, &is_public)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let reading = Reading { dir, privacy, mode, path, warnings: &warnings };
    let root = document.root(&report);
    let mut settings = settings(&root, &reading);
    if settings.encode().len() > MAX_SIZE {
        root.place.fail("all settings together are larger than 1 MiB", "leave out some keys");
    }
    report.check()?;
    settings.warnings = warnings.take();
    Ok(settings)
}

/// Nothing is, but what is named above; and not if it looks like a secret after all.
fn is_public(keys: &[&str], written: &str) -> bool {
    let keys = keys.join(".");
    let secret = ["PRIVATE KEY", "AGE-SECRET-KEY"].iter().any(|word| written.contains(word))
        || owner::is_secret(written)
        || written.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    PUBLIC.split_whitespace().any(|public| public == keys) && !secret
}

fn settings(root: &Table<'_>, reading: &Reading<'_>) -> Settings {
    root.only(&KEYS);
    let mut public = std::collections::BTreeMap::new();
    let mut set = |key: &str, value: Option<Value>| {
        // An empty table says nothing.
        if let Some(value) = value.filter(|value| *value != json!({})) {
            public.insert(key.to_owned(), value);
        }
    };
    let secrets = secrets::read(root.table("secrets"), reading);
    let hostname = root.string("hostname").and_then(|text| names::hostname(&text));
    set("hostname", hostname.map(Value::from));
    set("timezone", root.string("timezone").and_then(|text| timezone(&text)).map(Value::from));
    set("network", root.table("network").map(|table| network::read(&table, reading)));
    let keys = |table: Table<'_>| list(&table, "authorized-keys", public_key);
    set("admin", root.table("admin").map(keys));
    set("alerts", root.table("alerts").map(|table| mail::alerts(&table, root)));
    set("mail", root.table("mail").map(|table| mail::relay(&table, &secrets)));
    set("acme", root.table("acme").map(|table| acme::read(&table)));
    set("calls", root.table("calls").map(|table| calls::read(&table)));
    let recipients = |table: Table<'_>| list(&table, "recipients", recipient::check);
    set("backup", root.table("backup").map(recipients));
    set("update", root.table("update").map(|table| list(&table, "keys", owner::check)));
    unused_password(root, &secrets, reading);
    let secrets = secrets.into_iter().filter_map(|(text, secret)| Some((text.value, secret?)));
    Settings { public, secrets: secrets.collect(), warnings: Vec::new() }
}

/// A table of nothing but a list of texts.
pub(super) fn list(
    table: &Table<'_>,
    key: &str,
    check: impl Fn(&Text<'_>) -> Option<String>,
) -> Value {
    table.only(&[key]);
    let texts = table.strings(key);
    let checked: Vec<String> = texts.iter().filter_map(check).collect();
    if table.get(key).is_some() { json!({ key: checked }) } else { json!({}) }
}

fn timezone(text: &Text<'_>) -> Option<String> {
    let zones = || ZONES.lines();
    if zones().any(|zone| zone == text.value) {
        return Some(text.value.clone());
    }
    let help = match hint(&text.value, "", zones()) {
        near if near.starts_with("did you mean") => near,
        _ => "write a name of the time zone database, such as \"Europe/Berlin\" or \"UTC\""
            .to_owned(),
    };
    text.fail(format!("there is no time zone {}", text.quoted()), help);
    None
}

fn unused_password(
    root: &Table<'_>,
    secrets: &[(Text<'_>, Option<Secret>)],
    reading: &Reading<'_>,
) {
    let password = secrets.iter().find(|(name, _)| name.value == "smtp-password");
    let user = root.get("mail").is_some_and(|mail| mail.is_table_with("user"));
    if let Some((name, _)) = password.filter(|_| !user) {
        reading.warn(name, "nothing uses this password", "set \"user\" of [mail] as well");
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("/nowhere/host.toml");
    match parse(path, text.to_owned(), 0o600, Privacy::Ignored) {
        Ok(settings) => assert!(settings.encode().len() <= MAX_SIZE),
        Err(error) => _ = error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_are_sorted_names_without_the_database_s_other_files() {
        let zones: Vec<&str> = ZONES.lines().collect();
        assert!(zones.is_sorted() && zones.len() > 400);
        for zone in ["Europe/Berlin", "UTC", "Etc/UTC", "America/Argentina/Buenos_Aires"] {
            assert!(zones.contains(&zone), "{zone}");
        }
        assert!(!zones.contains(&"localtime") && !zones.contains(&"zone.tab"));
    }

    #[test]
    fn only_what_is_known_to_be_public_is() {
        for (keys, written, expected) in [
            (vec!["hostname"], "'x'", true),
            (vec!["network", "interfaces", "mac"], "'x'", true),
            (vec!["secrets", "smtp-password"], "'x'", false),
            (vec!["mail", "password"], "'x'", false),
            (vec!["mail"], "'x'", false),
            (vec!["mail", "host"], "'smtp://box:secret@example.org'", false),
            (vec!["admin", "authorized-keys"], "'-----BEGIN OPENSSH PRIVATE KEY-----'", false),
            (vec!["backup", "recipients"], "'AGE-SECRET-KEY-1X'", false),
            (vec!["update", "keys"], "'RWQX'", true),
            (vec!["update", "keys"], "'RWQAAEIyX'", false),
        ] {
            assert_eq!(is_public(&keys, written), expected, "{keys:?}");
        }
    }
}
