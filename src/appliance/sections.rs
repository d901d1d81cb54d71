//! The part of `overlay.toml` that may use templates: users, ports, state, secrets, files, health,
//! units.

use std::path::Path;

use super::document::{Place, Text};
use super::error::hint;
use super::render::Renderer;
use super::walk::{Node, Table};
use super::{Check, FileRule, HealthCheck, Port, Protocol, Secret, StateDir, User, names};

/// Ids for overlays' users; Debian's own are below 100 and from 900 on.
const IDS: (i64, i64) = (400, 499);
/// Seconds.
const TIMEOUT: i64 = 60;
const TIMEOUTS: (i64, i64) = (1, 3600);

/// What is read, and where it stands.
pub(super) type Placed<'a, T> = (T, Text<'a>);

/// `[[users]]`, with the place of the name and of the id.
pub(super) fn users<'a>(
    root: &Table<'a>,
    render: &Renderer<'a>,
) -> Vec<(User, Text<'a>, Node<'a>)> {
    root.tables("users").iter().filter_map(|table| user(table, render)).collect()
}

fn user<'a>(table: &Table<'a>, render: &Renderer<'a>) -> Option<(User, Text<'a>, Node<'a>)> {
    table.only(&["name", "id", "home", "shell", "comment", "groups"]);
    let text = table.require("name", "name = \"...\"").and_then(|node| node.string());
    let id = table.require("id", "id = 400, or another that is free, up to 499");
    let number = id.as_ref().and_then(|node| {
        let number = node.within(node.integer()?, IDS, |id| id.to_string())?;
        u32::try_from(number).ok()
    });
    let path = |key, default: &str| match table.get(key) {
        Some(_) => render.get(table, key).as_ref().and_then(names::path),
        None => Some(default.to_owned()),
    };
    let (home, shell) = (path("home", "/nonexistent"), path("shell", "/usr/sbin/nologin"));
    let comment = render.get(table, "comment");
    if let Some(comment) = comment.as_ref().filter(|text| text.value.contains([':', '\n'])) {
        comment.fail("a comment has no colons or line breaks", "write it without; see passwd(5)");
    }
    let groups = table.strings("groups").into_iter().filter_map(names::account).collect();
    let text = text?;
    let name = names::login(&text)?;
    let comment = comment.map(|text| text.value).unwrap_or_default();
    let user = User { name, id: number?, home: home?, shell: shell?, groups, comment };
    Some((user, text, id?))
}

/// `[[ports]]`, with the place of the number, or of the option that decides it.
pub(super) fn ports<'a>(root: &Table<'a>, render: &Renderer<'a>) -> Vec<(Port, Place<'a>)> {
    root.tables("ports").iter().filter_map(|table| port(table, render)).collect()
}

fn port<'a>(table: &Table<'a>, render: &Renderer<'a>) -> Option<(Port, Place<'a>)> {
    table.only(&["number", "to", "protocol", "purpose", "open"]);
    let open = table.get("open").is_none_or(|node| node.boolean().unwrap_or(true));
    let node = table.require("number", "number = 443");
    let number = node.and_then(|node| port_number(node, render));
    let place = number.as_ref().map(|(_, node)| node.place);
    let number = number.map(|(number, _)| number);
    let to = match table.get("to") {
        Some(node) => port_number(node, render)
            .and_then(|(to, node)| is_last(&node, to, number).then_some(to)),
        None => number,
    };
    let purpose = render.require(table, "purpose", "purpose = \"What it is for\"");
    let protocol = match render.get(table, "protocol") {
        None if table.get("protocol").is_none() => Some(Protocol::Tcp),
        None => None,
        Some(text) => match text.value.as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            other => {
                let help = hint(other, "protocols", ["tcp", "udp"]);
                text.fail(format!("unknown protocol \"{other}\""), help);
                None
            }
        },
    };
    let (number, to, protocol, purpose) = (number?, to?, protocol?, purpose?.value);
    Some((Port { number, to, protocol, purpose, open }, place?))
}

/// Whether `to` can be the last port of a range that begins with `number`.
fn is_last(node: &Node<'_>, to: u16, number: Option<u16>) -> bool {
    let Some(number) = number.filter(|number| to < *number) else { return true };
    let help = format!("it is the last port of a range; the first one is {number}");
    node.fail("is below \"number\"", help);
    false
}

/// The number, and its node at the option that decides it.
fn port_number<'a>(mut node: Node<'a>, render: &Renderer<'a>) -> Option<(u16, Node<'a>)> {
    let number = if node.is_string() {
        let text = render.text(node.string()?)?;
        let number = text.value.trim().parse::<i64>();
        node.place = text.place;
        if number.is_err() {
            let help = "write a number, or a template that gives one: \"{{ options.port }}\"";
            node.fail(format!("must be a number, not \"{}\"", text.value), help);
        }
        number.ok()?
    } else {
        node.integer()?
    };
    let number = node.within(number, (1, 65_535), |number| number.to_string())?;
    Some((u16::try_from(number).ok()?, node))
}

/// `[[state]]`
pub(super) fn state<'a>(root: &Table<'a>, render: &Renderer<'a>) -> Vec<Placed<'a, StateDir>> {
    let state = |table: &Table<'a>| {
        table.only(&["path", "owner", "group", "mode", "rollback"]);
        let text = render.require(table, "path", "path = \"/var/lib/...\"");
        let path = text.as_ref().and_then(names::path);
        let rollback = match table.get("rollback") {
            Some(node) => node.boolean(),
            None => Some(true),
        };
        let (owner, group, mode) = render.access(table)?;
        Some((StateDir { path: path?, owner, group, mode, rollback: rollback? }, text?))
    };
    root.tables("state").iter().filter_map(state).collect()
}

/// `[[secrets]]`
pub(super) fn secrets<'a>(root: &Table<'a>, render: &Renderer<'a>) -> Vec<Placed<'a, Secret>> {
    let secret = |table: &Table<'a>| {
        table.only(&["path", "owner", "group", "mode", "generate"]);
        let text = render.require(table, "path", "path = \"/var/lib/.../secret\"");
        let path = text.as_ref().and_then(names::path);
        let generate = "generate = \"openssl rand -hex 32 > \\\"$OUT\\\"\"";
        let generate = render.require(table, "generate", generate);
        let generate = generate.and_then(|text| {
            let command = command(&text, "generate")?;
            if !command.contains("$OUT") && !command.contains("${OUT}") {
                let help = "the command must write the secret to the file \"$OUT\"";
                text.fail("\"generate\" does not mention $OUT", help);
                return None;
            }
            Some(command)
        });
        let (owner, group, mode) = render.access(table)?;
        Some((Secret { path: path?, owner, group, mode, generate: generate? }, text?))
    };
    root.tables("secrets").iter().filter_map(secret).collect()
}

/// A shell command: one line, for the box reads it as one.
fn command(text: &Text<'_>, what: &str) -> Option<String> {
    let command = text.value.trim();
    if command.is_empty() {
        text.fail(format!("\"{what}\" is empty"), "write a shell command");
        return None;
    }
    if command.contains('\n') {
        let help = "join its lines with && or ;, or put it in a script in files/ and run that";
        text.fail(format!("\"{what}\" must be one line"), help);
        return None;
    }
    Some(command.to_owned())
}

/// `[[files]]`; every one must be among `files`, the paths of the overlay's own files on the box.
pub(super) fn files<'a>(
    root: &Table<'a>,
    render: &Renderer<'a>,
    files: &[String],
) -> Vec<Placed<'a, FileRule>> {
    let rule = |table: &Table<'a>| {
        table.only(&["path", "owner", "group", "mode"]);
        let text = render.require(table, "path", "path = \"/etc/...\"");
        let path = text.as_ref().and_then(|text| {
            let path = names::path(text)?;
            if !files.contains(&path) {
                let what = "files of this overlay";
                let help = hint(&path, what, files.iter().map(String::as_str));
                text.fail(format!("\"{path}\" is not among this overlay's files/"), help);
                return None;
            }
            Some(path)
        });
        let (owner, group, mode) = render.access(table)?;
        Some((FileRule { path: path?, owner, group, mode }, text?))
    };
    root.tables("files").iter().filter_map(rule).collect()
}

/// Paths on the box of all files in the folder `files/` of `overlay`, sorted.
pub fn own_files(overlay: &Path) -> std::io::Result<Vec<String>> {
    files_below(&overlay.join("files"))
}

/// All files below a folder, each with a `/` before its path there and without `.j2`, sorted.
pub(super) fn files_below(root: &Path) -> std::io::Result<Vec<String>> {
    fn walk(dir: &Path, inside: &str, found: &mut Vec<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = format!("{inside}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                walk(&entry.path(), &path, found)?;
            } else {
                found.push(path.strip_suffix(".j2").unwrap_or(&path).to_owned());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    if root.is_dir() {
        walk(root, "", &mut found)?;
    }
    found.sort();
    Ok(found)
}

/// The list `enable` or `mask`.
pub(super) fn units<'a>(root: &Table<'a>, key: &str, render: &Renderer<'a>) -> Vec<String> {
    render.list(root, key).iter().filter_map(names::unit).collect()
}

/// `[[health]]`
pub(super) fn health<'a>(root: &Table<'a>, render: &Renderer<'a>) -> Vec<HealthCheck> {
    let mut checks: Vec<HealthCheck> = Vec::new();
    for table in root.tables("health") {
        table.only(&["name", "timeout", "unit", "tcp", "http", "command"]);
        let text = table.require("name", "name = \"answers\"").and_then(|node| node.string());
        let name = text.as_ref().and_then(|text| names::name(text, "a check's name"));
        if let Some(text) = text
            && checks.iter().any(|check| check.name == text.value)
        {
            let message = format!("this overlay has two checks \"{}\"", text.value);
            text.fail(message, "give one another name");
        }
        let timeout = table.get("timeout").map_or(Some(TIMEOUT), |node| {
            let show = |seconds| super::units::DURATION.show(seconds);
            node.within(node.duration()?, TIMEOUTS, show)
        });
        let check = check(&table, render);
        if let (Some(name), Some(check), Some(timeout)) = (name, check, timeout) {
            checks.push(HealthCheck { name, check, timeout: timeout.unsigned_abs() });
        }
    }
    checks
}

fn check<'a>(table: &Table<'a>, render: &Renderer<'a>) -> Option<Check> {
    let kinds = ["unit", "tcp", "http", "command"];
    let mut entries = table.entries();
    entries.retain(|(key, _)| kinds.contains(&key.value.as_str()));
    let Some((kind, node)) = entries.first() else {
        let help = "add one of unit, tcp, http, command";
        table.place.fail("the check does not say what to check", help);
        return None;
    };
    if let Some((second, _)) = entries.get(1) {
        let message =
            format!("a check has one of unit, tcp, http, command; this is \"{}\" ", kind.value);
        second.fail(message + "already", "make it two checks");
        return None;
    }
    let text = render.text(node.string()?)?;
    Some(match kind.value.as_str() {
        "unit" => Check::Unit(names::unit(&text)?),
        "tcp" => Check::Tcp(socket(&text)?),
        "http" => Check::Http(address(&text)?),
        _ => Check::Command(command(&text, "command")?),
    })
}

/// `host:port`
fn socket(text: &Text<'_>) -> Option<String> {
    let (host, port) = text.value.rsplit_once(':').unwrap_or_default();
    let host_ok = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    if host_ok && port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Some(text.value.clone());
    }
    let help = "write HOST:PORT, such as \"127.0.0.1:22\"";
    text.fail(format!("\"{}\" is not where TCP connects to", text.value), help);
    None
}

fn address(text: &Text<'_>) -> Option<String> {
    let url = url::Url::parse(&text.value);
    let http = |url: &url::Url| matches!(url.scheme(), "http" | "https");
    if url.as_ref().is_ok_and(http) && !text.value.contains(char::is_whitespace) {
        return Some(text.value.clone());
    }
    let help = "such as \"http://127.0.0.1:8008/health\"";
    text.fail(format!("\"{}\" is not an HTTP address", text.value), help);
    None
}
