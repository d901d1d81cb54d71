//! What names and paths look like.

use super::document::Text;
use crate::debian::relation::is_package_name;
use crate::diagnostic::clipped;

/// Accounts of Debian's base-passwd (`/usr/share/base-passwd/passwd.master`), there on every
/// system.
const BASE_ACCOUNTS: [&str; 18] = [
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
    "www-data", "backup", "list", "irc", "_apt", "nobody",
];

/// Groups of the same (`group.master`), those of the accounts left out.
const BASE_GROUPS: [&str; 23] = [
    "adm", "tty", "disk", "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape", "sudo",
    "audio", "dip", "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff",
    "users", "nogroup",
];

/// Kinds of units that can be enabled or masked.
const UNITS: [&str; 7] = ["service", "socket", "timer", "target", "mount", "path", "slice"];

/// Lower-case letters, digits and dashes, a letter first: overlays, options, inputs, checks.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Refuses keys that are not [`is_name`]. `what`: `an option's name`.
pub(super) fn name(text: &Text<'_>, what: &str) -> Option<String> {
    if is_name(&text.value) {
        return Some(text.value.clone());
    }
    let help = "lower-case letters, digits and dashes, beginning with a letter";
    text.fail(format!("\"{}\" cannot be {what}", text.value), help);
    None
}

/// A Debian package's name.
pub(super) fn package(text: &Text<'_>) -> Option<String> {
    if is_package_name(&text.value) {
        return Some(text.value.clone());
    }
    let lower = text.value.to_lowercase();
    let help = match is_package_name(&lower) {
        true => format!("did you mean \"{lower}\"?"),
        false => "two or more lower-case letters, digits, +, - and ., \
                  beginning with a letter or digit"
            .to_owned(),
    };
    text.fail(format!("\"{}\" is not the name of a Debian package", text.value), help);
    None
}

/// A login name that is free to be given to somebody (useradd(8)).
pub(super) fn login(text: &Text<'_>) -> Option<String> {
    checked(text, check_login)
}

/// The text, if it is right.
fn checked(text: &Text<'_>, check: fn(&str) -> Result<(), (String, String)>) -> Option<String> {
    match check(&text.value) {
        Ok(()) => Some(text.value.clone()),
        Err((message, help)) => {
            text.fail(message, help);
            None
        }
    }
}

/// Whether it can be the login name of the administrator; else what is wrong, and what to do.
///
/// # Errors
/// It cannot.
pub fn check_login(name: &str) -> Result<(), (String, String)> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    if !name.starts_with(first) || !name.chars().all(rest) || name.len() > 32 {
        let help = "up to 32 lower-case letters, digits, - and _, beginning with a letter or _";
        let message = format!("\"{}\" cannot be a login name", clipped(name));
        return Err((message, help.to_owned()));
    }
    let group = BASE_GROUPS.contains(&name);
    if group || BASE_ACCOUNTS.contains(&name) {
        let what = if group { "a group" } else { "an account" };
        let message = format!("\"{name}\" is {what} of every Debian system");
        return Err((message, "take another name".to_owned()));
    }
    Ok(())
}

/// A user or group that may come from a package, `Debian-exim` among them.
pub(super) fn account(text: Text<'_>) -> Option<String> {
    let name = &text.value;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit() || c == '-')
        && name.len() <= 32
    {
        return Some(text.value);
    }
    let help = "name a user, such as \"root\" or one of [[users]]";
    text.fail(format!("\"{name}\" cannot be the name of a user or group"), help);
    None
}

/// Characters of a domain: a user's identifier holds it and has at most 255 (Matrix specification, "User
/// Identifiers"); DNS itself allows 253.
const DOMAIN_MAX: usize = 230;
/// Characters of any name in the DNS (RFC 1035, section 2.3.4, as it is written).
const DNS_MAX: usize = 253;

/// A DNS name of two labels or more (RFC 1123, section 2.1).
pub(super) fn domain(text: &Text<'_>) -> Option<String> {
    checked(text, check_domain)
}

/// Whether it can be the name of a server; else what is wrong, and what to do.
///
/// # Errors
/// It cannot.
pub fn check_domain(name: &str) -> Result<(), (String, String)> {
    let message = || format!("\"{}\" is not a domain name", clipped(name));
    if let Some(help) = no_dns_name(name) {
        return Err((message(), help));
    }
    if name.len() > DOMAIN_MAX {
        let help = format!(
            "at most {DOMAIN_MAX} characters: Matrix allows 255 for a user's name and it together"
        );
        return Err((message(), help));
    }
    Ok(())
}

/// What to write instead, if it is no name in the DNS of two labels or more.
pub(super) fn no_dns_name(name: &str) -> Option<String> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let lower = name.to_ascii_lowercase();
    let numeric = |label: &str| label.bytes().all(|c| c.is_ascii_digit());
    Some(if name != lower && lower.chars().all(letters) {
        format!("write it in lower case: \"{}\"", clipped(&lower))
    } else if name.contains("//") || name.contains('@') || name.contains(':') {
        "only the name: no address, no user, no port; such as \"chat.example.org\"".to_owned()
    } else if !name.chars().all(letters) {
        "lower-case letters, digits, dashes and dots; others as punycode (xn--...)".to_owned()
    } else if name.len() > DNS_MAX {
        format!("the DNS allows {DNS_MAX} characters")
    } else if name.strip_suffix('.').is_some_and(|plain| plain.split('.').all(label)) {
        format!("write it without the dot at its end: \"{}\"", name.trim_end_matches('.'))
    } else if !name.split('.').all(label) {
        "its parts have 1 to 63 characters, and no dash at either end".to_owned()
    } else if !name.contains('.') {
        format!("a name in the DNS has a dot; such as \"{name}.example.org\"")
    } else if name.rsplit('.').next().is_some_and(numeric) {
        "an IP address is not a name; users are named after this for ever".to_owned()
    } else {
        return None;
    })
}

/// An absolute path in its plainest form, and not `/` itself.
pub(super) fn path(text: &Text<'_>) -> Option<String> {
    let path = text.value.as_str();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let plain = format!("/{}", parts.join("/"));
    let help = if !path.starts_with('/') {
        format!("it must be absolute: \"{plain}\"")
    } else if parts.is_empty() {
        "name something below /".to_owned()
    } else if parts.iter().any(|part| matches!(*part, "." | "..")) {
        "write it without . and ..".to_owned()
    } else if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "write it without white space".to_owned()
    } else if path != plain {
        format!("did you mean \"{plain}\"?")
    } else {
        return Some(plain);
    };
    text.fail(format!("\"{path}\" is not a path on the box"), help);
    None
}

/// A unit of systemd (systemd.unit(5)).
pub(super) fn unit(text: &Text<'_>) -> Option<String> {
    let unit = text.value.as_str();
    let (stem, suffix) = unit.rsplit_once('.').unwrap_or((unit, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let help = if stem.is_empty() || !unit.chars().all(allowed) {
        "letters, digits, and : - _ . \\ @".to_owned()
    } else if suffix.is_empty() {
        format!("did you mean \"{unit}.service\"?")
    } else if !UNITS.contains(&suffix) {
        let suffix = super::error::hint(suffix, "endings", UNITS);
        format!("a unit ends with its type; {suffix}")
    } else {
        return Some(unit.to_owned());
    };
    text.fail(format!("\"{unit}\" is not the name of a unit"), help);
    None
}

/// Permission bits: `"0750"`.
pub(super) fn mode(text: &Text<'_>) -> Option<u16> {
    let digits =
        (3..=4).contains(&text.value.len()) && text.value.bytes().all(|c| c.is_ascii_digit());
    let mode = u16::from_str_radix(&text.value, 8).ok().filter(|_| digits);
    if mode.is_none() {
        let help = "three or four octal digits, such as \"0750\"";
        text.fail(format!("\"{}\" is not a file mode", text.value), help);
    }
    mode
}
