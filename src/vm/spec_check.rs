//! Which keys of a test go together, and what they name: checked on the document, where every key has its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::{self, GIVEN};
use crate::diagnostic::Fault;

const TOP: [&str; 14] = [
    "description",
    "firmware",
    "raid",
    "boot",
    "appliance",
    "flash",
    "host",
    "images",
    "guests",
    "controller",
    "disks",
    "timeout",
    "console-may-say",
    "step",
];
const COMMON: [&str; 4] = ["name", "timeout", "firmware", "on"];

/// What is said of a command's end.
const COMMAND: &[&str] =
    &["expect-exit", "expect-stdout", "stdout-contains", "stdout-lacks", "save", "eventually"];
const SSH: &[&str] = &[
    "stdin",
    "expect-exit",
    "expect-stdout",
    "stdout-contains",
    "stdout-lacks",
    "save",
    "eventually",
];
const HTTP: &[&str] =
    &["as", "expect-status", "expect-json", "body-contains", "save", "save-json", "eventually"];
/// Every action, with the keys that belong to it alone.
const ACTIONS: [(&str, &[&str]); 26] = [
    ("wait-console", &[]),
    ("wait-ssh", &[]),
    ("ssh", SSH),
    ("chatimg", COMMAND),
    ("local", COMMAND),
    ("ssh-auth-methods", &[]),
    ("http", HTTP),
    ("matrix-register", &[]),
    ("matrix-login", &[]),
    ("matrix-create-room", &[]),
    ("matrix-join", &[]),
    ("matrix-send", &[]),
    ("matrix-read", &[]),
    ("matrix-load", &[]),
    ("matrix-load-end", &[]),
    ("reboot", &[]),
    ("power-cut", &[]),
    ("power-off", &[]),
    ("power-on", &[]),
    ("reset", &[]),
    ("pull-disk", &[]),
    ("plug-disk", &["blank"]),
    ("swap-disks", &[]),
    ("sleep", &[]),
    ("record-writes", &[]),
    ("replay-power-cuts", &[]),
];

/// What a test that shares its boot cannot say: nobody else's machine is of that kind.
const OF_ITS_OWN: [&str; 5] = ["appliance", "flash", "host", "images", "guests"];
/// What a test of a changed appliance cannot say: these are about the image that is there.
const OF_THE_IMAGE: [&str; 3] = ["flash", "host", "images"];
/// What it cannot do: the machine would be another one afterwards, or none.
const ENDS_A_BOOT: [&str; 10] = [
    "reboot",
    "power-cut",
    "power-on",
    "power-off",
    "reset",
    "pull-disk",
    "plug-disk",
    "swap-disks",
    "record-writes",
    "replay-power-cuts",
];

type Table<'a> = DeTable<'a>;

/// Checks the document's keys and variables.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let document = DeTable::parse(text).map_err(|error| Fault::from_toml(&error))?;
    let top = document.get_ref();
    for key in top.keys() {
        if !TOP.contains(&&**key.get_ref()) {
            let known = TOP.into_iter();
            return Err(Fault::unknown(key.span(), "key", key.get_ref(), known));
        }
    }
    let steps = top.iter().find(|(key, _)| **key.get_ref() == *"step");
    let Some((key, value)) = steps else {
        return Err(Fault::new(0..0, "the test has no steps").hint("add a [[step]]"));
    };
    let DeValue::Array(steps) = value.get_ref() else {
        return Err(Fault::new(key.span(), "'step' is not a list").hint("write [[step]]"));
    };
    let boot = top.get("boot").map(Spanned::get_ref);
    let shares = matches!(boot, Some(DeValue::String(boot)) if **boot != *"own");
    if shares {
        check_shared(top, &OF_ITS_OWN)?;
    }
    if top.get("appliance").is_some() {
        check_unchanged(top)?;
    }
    let mut variables: Vec<&str> = GIVEN.into();
    if let Some(DeValue::Table(images)) = top.get("images").map(Spanned::get_ref) {
        for name in images.keys() {
            if GIVEN.contains(&&**name.get_ref()) || !text::is_variable(name.get_ref()) {
                return Err(not_a_variable(name.span(), name.get_ref()));
            }
            variables.push(name.get_ref());
        }
    }
    let guests = guests(top)?;
    for step in steps.iter() {
        let DeValue::Table(table) = step.get_ref() else {
            return Err(Fault::new(step.span(), "a step is a table").hint("write [[step]]"));
        };
        check_step(step.span(), table)?;
        if shares {
            check_shared(table, &ENDS_A_BOOT)?;
        }
        check_guest(table, &guests)?;
        check_strings(step, &variables)?;
        saved(table, &mut variables)?;
    }
    Ok(())
}

/// A changed appliance starts from its own image.
fn check_unchanged(top: &Table<'_>) -> Result<(), Fault> {
    let keys = top.keys().filter(|key| OF_THE_IMAGE.contains(&&**key.get_ref()));
    match keys.min_by_key(|key| key.span().start) {
        Some(key) => {
            let message = format!("'{}' does not go with 'appliance'", key.get_ref());
            Err(Fault::new(key.span(), message).hint("remove one of the two"))
        }
        None => Ok(()),
    }
}

/// One action, and only keys that belong to it.
fn check_step(span: std::ops::Range<usize>, step: &Table<'_>) -> Result<(), Fault> {
    let names = || ACTIONS.into_iter().map(|(name, _)| name);
    let mut keys: Vec<_> = step.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    let mut found: Option<(&str, &[&str])> = None;
    for key in &keys {
        let Some(action) = ACTIONS.into_iter().find(|(name, _)| name == key.get_ref()) else {
            continue;
        };
        if let Some((first, _)) = found {
            let message = format!("a step does one thing; this one has '{first}' already");
            return Err(Fault::new(key.span(), message).hint("make two steps of it"));
        }
        found = Some(action);
    }
    let known = found.map_or(&[][..], |(_, keys)| keys);
    for key in keys {
        let name = &**key.get_ref();
        let is_action = found.is_some_and(|(action, _)| action == name);
        if is_action || COMMON.contains(&name) || known.contains(&name) {
            continue;
        }
        let owners: Vec<_> =
            ACTIONS.iter().filter(|(_, keys)| keys.contains(&name)).map(|(own, _)| *own).collect();
        return Err(match (found, &owners[..]) {
            (Some((action, _)), [_, ..]) => {
                let message = format!("'{name}' does not go with '{action}'");
                Fault::new(key.span(), message).hint(format!("it goes with {}", owners.join(", ")))
            }
            (None, [_, ..]) => continue,
            (_, []) => {
                let known = names().chain(COMMON).chain(known.iter().copied());
                Fault::unknown(key.span(), "key", name, known)
            }
        });
    }
    match found {
        Some(_) => Ok(()),
        None => {
            let actions = names().collect::<Vec<_>>().join(", ");
            Err(Fault::new(span, "this step does nothing")
                .hint(format!("give it one of {actions}")))
        }
    }
}

/// The names of a test's other boxes.
fn guests<'a>(top: &'a Table<'_>) -> Result<Vec<&'a str>, Fault> {
    let Some(DeValue::Table(guests)) = top.get("guests").map(Spanned::get_ref) else {
        return Ok(Vec::new());
    };
    let mut keys: Vec<_> = guests.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    if let Some(key) = keys.iter().find(|key| !text::is_variable(key.get_ref())) {
        let message = format!("'{}' cannot be a guest's name", key.get_ref());
        return Err(Fault::new(key.span(), message).hint("small letters, digits and _"));
    }
    if let Some(third) = keys.get(1) {
        let message = "a test has two boxes at most: its own and one other";
        return Err(Fault::new(third.span(), message).hint("a cable has two ends"));
    }
    for (key, guest) in guests.iter() {
        if guest.get_ref().get("domain").is_none() {
            let message = format!("the guest '{}' has no 'domain'", key.get_ref());
            let hint = "write domain = \"other.example\": two boxes cannot have one name";
            return Err(Fault::new(key.span(), message).hint(hint));
        }
    }
    Ok(keys.into_iter().map(|key| &**key.get_ref()).collect())
}

/// The box that a step acts on is there.
fn check_guest(step: &Table<'_>, guests: &[&str]) -> Result<(), Fault> {
    let Some(on) = step.get("on") else { return Ok(()) };
    match on.get_ref() {
        DeValue::String(name) if !guests.contains(&&**name) => {
            let fault = Fault::unknown(on.span(), "guest", name, guests.iter().copied());
            let hint = "there is none but the test's own box, which is meant without 'on'";
            Err(if guests.is_empty() { fault.hint(hint) } else { fault })
        }
        _ => Ok(()),
    }
}

/// Nothing that a test which shares its boot cannot have.
fn check_shared(table: &Table<'_>, not: &[&str]) -> Result<(), Fault> {
    let found = table.keys().find(|key| not.contains(&&**key.get_ref()));
    found.map_or(Ok(()), |key| {
        let name = key.get_ref();
        let message = format!("a test that shares its boot cannot have '{name}'");
        Err(Fault::new(key.span(), message).hint("leave 'boot' out: it then boots by itself"))
    })
}

/// Every variable that a string uses is there by then.
fn check_strings(value: &Spanned<DeValue<'_>>, variables: &[&str]) -> Result<(), Fault> {
    match value.get_ref() {
        DeValue::String(text) => match text::names(text).find(|name| !variables.contains(name)) {
            Some(name) => {
                let known = variables.iter().copied();
                Err(Fault::unknown(value.span(), "variable here", name, known))
            }
            None => Ok(()),
        },
        DeValue::Array(items) => items.iter().try_for_each(|item| check_strings(item, variables)),
        DeValue::Table(table) => table.values().try_for_each(|item| check_strings(item, variables)),
        _ => Ok(()),
    }
}

fn not_a_variable(span: std::ops::Range<usize>, name: &str) -> Fault {
    let hint = format!("small letters, digits and _; not {}", GIVEN.join(", "));
    Fault::new(span, format!("'{name}' cannot be a variable's name")).hint(hint)
}

/// Adds the variables that a step saves.
fn saved<'a>(step: &'a Table<'_>, variables: &mut Vec<&'a str>) -> Result<(), Fault> {
    for (key, value) in step.iter() {
        match value.get_ref() {
            DeValue::Table(inner) => saved(inner, variables)?,
            DeValue::String(name) if **key.get_ref() == *"save" => {
                if GIVEN.contains(&&**name) || !text::is_variable(name) {
                    return Err(not_a_variable(value.span(), name));
                }
                variables.push(name);
            }
            _ => (),
        }
    }
    Ok(())
}
