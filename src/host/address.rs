//! IP addresses and the networks they are in.

use std::net::IpAddr;

use crate::appliance::document::Text;

/// An address of the box and the length of its network's prefix: `192.0.2.10/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    prefix: u32,
}

/// All bits as one number, and how many they are.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// fe80::/10.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

impl Address {
    /// Whether `ip` is in the same network; everything is for an address that is a network of its own, which
    /// hosting providers give out: its gateway is told to be on the link.
    pub(super) fn reaches(self, ip: IpAddr) -> bool {
        let ((own, size), (other, other_size)) = (bits(self.ip), bits(ip));
        let same = (own ^ other).checked_shr(size - self.prefix).unwrap_or(0) == 0;
        size == other_size && (same || self.prefix == size || is_link_local(ip))
    }

    /// What an interface cannot have, and why.
    fn unusable(self) -> Option<&'static str> {
        let (own, size) = bits(self.ip);
        let hosts = 1u128.checked_shl(size - self.prefix).map_or(u128::MAX, |count| count - 1);
        if self.ip.is_unspecified() || self.ip.is_loopback() || self.ip.is_multicast() {
            Some("it is a special address")
        } else if size - self.prefix < 2 {
            None
        } else if own & hosts == 0 {
            Some("it is the network itself")
        } else if self.ip.is_ipv4() && own & hosts == hosts {
            Some("it is the network's broadcast address")
        } else {
            None
        }
    }
}

/// An address alone.
pub(super) fn ip(text: &Text<'_>) -> Option<IpAddr> {
    let ip = text.value.parse();
    if ip.is_err() {
        let help = match text.value.split_once('/') {
            Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => {
                format!("write it without a prefix length: \"{ip}\"")
            }
            _ => "such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned(),
        };
        text.fail(format!("{} is not an IP address", text.quoted()), help);
    }
    ip.ok()
}

/// An address with its prefix length.
pub(super) fn address(text: &Text<'_>) -> Option<Address> {
    let (ip, prefix) = text.value.split_once('/').unwrap_or((&text.value, ""));
    let Ok(parsed) = ip.parse::<IpAddr>() else {
        let help = "such as \"192.0.2.10/24\" or \"2001:db8::10/64\"";
        text.fail(format!("{} is not an IP address", text.quoted()), help);
        return None;
    };
    let (_, size) = bits(parsed);
    let usual = if parsed.is_ipv4() { 24 } else { 64 };
    let plain = prefix.len() <= 3 && prefix.bytes().all(|c| c.is_ascii_digit());
    let Some(prefix) = prefix.parse().ok().filter(|prefix| plain && (1..=size).contains(prefix))
    else {
        let help = format!("write how many of its {size} bits name the network: \"{ip}/{usual}\"");
        text.fail(format!("\"{}\" has no valid prefix length", text.value), help);
        return None;
    };
    let address = Address { ip: parsed, prefix };
    if let Some(why) = address.unusable() {
        let help = format!("{why}; write the box's own address in it");
        text.fail(format!("\"{}\" cannot be a box's address", text.value), help);
        return None;
    }
    Some(address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reaches(ip: &str, prefix: u32, other: &str) -> bool {
        Address { ip: ip.parse().unwrap(), prefix }.reaches(other.parse().unwrap())
    }

    #[test]
    fn networks() {
        assert!(reaches("192.0.2.10", 24, "192.0.2.1"));
        assert!(!reaches("192.0.2.10", 24, "192.0.3.1"));
        assert!(reaches("192.0.2.10", 1, "130.0.0.1"));
        assert!(reaches("192.0.2.10", 32, "172.31.1.1"));
        assert!(!reaches("192.0.2.10", 32, "fe80::1"));
        assert!(reaches("2001:db8::10", 64, "fe80::1"));
        assert!(reaches("2001:db8::10", 64, "2001:db8::1"));
        assert!(!reaches("2001:db8::10", 64, "2001:db8:0:1::1"));
        assert!(!reaches("2001:db8::10", 64, "192.0.2.1"));
    }
}
