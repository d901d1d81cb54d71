//! Names of hosts and mailboxes.

use std::net::IpAddr;

use crate::appliance::document::Text;

/// Linux allows no longer one.
const HOSTNAME_MAX: usize = 64;

/// A name in the DNS (RFC 1123, section 2.1), or one without a dot.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let numeric = |label: &str| label.bytes().all(|c| c.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

/// The box's own name.
pub(super) fn hostname(text: &Text<'_>) -> Option<String> {
    let name = text.value.as_str();
    let lower = name.to_ascii_lowercase();
    let help = if name == "localhost" || name.starts_with("localhost.") {
        "every machine calls itself that; such as \"chat1\"".to_owned()
    } else if name != lower && is_dns_name(&lower) {
        format!("write it in lower case: \"{lower}\"")
    } else if name.len() > HOSTNAME_MAX {
        format!("at most {HOSTNAME_MAX} characters")
    } else if name == lower && is_dns_name(name) {
        return Some(name.to_owned());
    } else {
        "lower-case letters, digits and dashes, in parts of up to 63 with a dot between; not only \
         digits at the end"
            .to_owned()
    };
    text.fail(format!("{} cannot be a host's name", text.quoted()), help);
    None
}

/// A domain to look up names in.
pub(super) fn search(text: &Text<'_>) -> Option<String> {
    if is_dns_name(&text.value) {
        return Some(text.value.clone());
    }
    let help = "such as \"example.org\"";
    text.fail(format!("{} is not a domain name", text.quoted()), help);
    None
}

/// Where a server is. `example`: `ntp.example.org`.
pub(super) fn server(text: &Text<'_>, example: &str) -> Option<String> {
    if is_dns_name(&text.value) || text.value.parse::<IpAddr>().is_ok() {
        return Some(text.value.clone());
    }
    let help = format!("write the name or the IP address alone, such as \"{example}\"");
    text.fail(format!("{} is neither a DNS name nor an IP address", text.quoted()), help);
    None
}

/// A mailbox: `me@example.org`, no name beside it.
pub(super) fn mailbox(text: &Text<'_>) -> Option<String> {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-.".contains(c);
    let (local, domain) = text.value.rsplit_once('@').unwrap_or_default();
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    if (1..=64).contains(&local.len()) && local.chars().all(atom) && !dots && is_dns_name(domain) {
        return Some(text.value.clone());
    }
    let help = "write the address alone, such as \"me@example.org\"";
    text.fail(format!("{} is not a mail address", text.quoted()), help);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["chat1", "a.b.example.org", "xn--bcher-kva.example", "3com.com", "A"] {
            assert!(is_dns_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "192.0.2.1", "a b", "ä", &long]
        {
            assert!(!is_dns_name(name), "{name}");
        }
    }
}
