//! Addresses and networks as values of options.

use std::net::IpAddr;

use super::units::Wrong;

/// Networks whose addresses nobody reaches from everywhere, and what they are: IANA's registries of special-purpose
/// addresses.
const SPECIAL: [(&str, u32, &str); 27] = [
    ("0.0.0.0", 8, "is no machine's address"),
    ("10.0.0.0", 8, "is private"),
    ("100.64.0.0", 10, "is shared by a provider's customers"),
    ("127.0.0.0", 8, "is the machine itself"),
    ("169.254.0.0", 16, "reaches one cable only"),
    ("172.16.0.0", 12, "is private"),
    ("192.0.0.0", 24, "is reserved"),
    ("192.0.2.0", 24, "is for examples"),
    ("192.88.99.0", 24, "is reserved"),
    ("192.168.0.0", 16, "is private"),
    ("198.18.0.0", 15, "is for measurements"),
    ("198.51.100.0", 24, "is for examples"),
    ("203.0.113.0", 24, "is for examples"),
    ("224.0.0.0", 4, "is for multicast"),
    ("240.0.0.0", 4, "is reserved"),
    ("::", 128, "is no machine's address"),
    ("::1", 128, "is the machine itself"),
    ("::", 8, "is reserved"),
    ("64:ff9b::", 32, "stands for an IPv4 address"),
    ("100::", 8, "is reserved"),
    ("2001:db8::", 32, "is for examples"),
    ("2001::", 23, "is reserved"),
    ("2002::", 16, "stands for an IPv4 address"),
    ("3fff::", 20, "is for examples"),
    ("fc00::", 7, "is private"),
    ("fe80::", 10, "reaches one cable only"),
    ("ff00::", 8, "is for multicast"),
];

/// What a text must be.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// An address with the length of its network's prefix, too.
    pub(super) network: bool,
    /// 4 or 6; any.
    pub(super) version: Option<u8>,
    /// Whether everybody must reach it.
    pub(super) public: bool,
    /// Bits that a network's prefix must have.
    pub(super) min_prefix: u32,
}

/// All bits as one number, and how many they are.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

/// The bits of an address that are not of its network.
fn rest(ip: IpAddr, prefix: u32) -> u128 {
    let (own, size) = bits(ip);
    let mask = u128::MAX.checked_shl(size - prefix).unwrap_or(0);
    own & !mask
}

/// What keeps an address from being reached from everywhere.
fn special(ip: IpAddr) -> Option<&'static str> {
    let (own, size) = bits(ip);
    let within = |(network, prefix, _): &&(&str, u32, &str)| {
        let (network, other) = bits(network.parse().expect("the table's own addresses"));
        size == other && (own ^ network).checked_shr(size - prefix).unwrap_or(0) == 0
    };
    let found = SPECIAL.iter().find(within).map(|(_, _, what)| *what);
    // Of IPv6, no more is given out.
    let given = ip.is_ipv4() || own >> 125 == 1;
    found.or((!given).then_some("is reserved"))
}

impl Shape {
    /// The text in its usual form, or what is wrong with it.
    pub(super) fn parse(self, text: &str) -> Result<String, Wrong> {
        let (alone, prefix) = match text.split_once('/') {
            Some((alone, prefix)) if self.network => (alone, Some(prefix)),
            _ => (text, None),
        };
        let Ok(ip) = alone.parse::<IpAddr>() else { return Err(self.wrong(text)) };
        if let IpAddr::V6(six) = ip
            && let Some(four) = six.to_ipv4_mapped()
        {
            return Err(wrong("is an IPv4 address", format!("write it as one: \"{four}\"")));
        }
        if self.version.is_some_and(|version| (version == 4) != ip.is_ipv4()) {
            return Err(self.wrong(text));
        }
        let Some(prefix) = prefix else {
            let what = special(ip).filter(|_| self.public || !self.network && unusable(ip));
            let kind = if self.public { "public" } else { "machine's" };
            return match what {
                Some(what) => {
                    let message = format!("must be a {kind} address; this one {what}");
                    Err(wrong(&message, String::new()))
                }
                None => Ok(ip.to_string()),
            };
        };
        let (_, size) = bits(ip);
        let plain = prefix.len() <= 3 && prefix.bytes().all(|c| c.is_ascii_digit());
        let Some(prefix) = prefix.parse().ok().filter(|prefix| plain && *prefix <= size) else {
            let help = format!("write how many of its {size} bits name the network: 0 to {size}");
            return Err(wrong("has no valid prefix length", help));
        };
        if prefix < self.min_prefix {
            let help = format!("its prefix length must be {} or more", self.min_prefix);
            return Err(wrong("is too large a network", help));
        }
        match rest(ip, prefix) {
            0 => Ok(format!("{ip}/{prefix}")),
            rest => {
                let (own, _) = bits(ip);
                let network = match ip {
                    IpAddr::V4(_) => IpAddr::V4(u32::try_from(own - rest).unwrap_or(0).into()),
                    IpAddr::V6(_) => IpAddr::V6((own - rest).into()),
                };
                let help = format!("did you mean \"{network}/{prefix}\", or \"{ip}\"?");
                Err(wrong("does not begin where the network does", help))
            }
        }
    }

    /// What could be there.
    pub(super) fn example(self) -> &'static str {
        match (self.network, self.version) {
            (false, Some(4)) => "\"192.0.2.1\"",
            (false, Some(_)) => "\"2001:db8::1\"",
            (false, None) => "\"192.0.2.1\" or \"2001:db8::1\"",
            (true, Some(4)) => "\"192.0.2.0/24\"",
            (true, Some(_)) => "\"2001:db8::/32\"",
            (true, None) => "\"192.0.2.0/24\" or \"2001:db8::/32\"",
        }
    }

    fn wrong(self, text: &str) -> Wrong {
        let ip = self.version.map_or("IP".to_owned(), |version| format!("IPv{version}"));
        let what = if self.network { "address or network" } else { "address" };
        let help = match text.split_once('/') {
            Some((alone, _)) if !self.network && alone.parse::<IpAddr>().is_ok() => {
                format!("write it without a prefix length: \"{alone}\"")
            }
            _ => String::new(),
        };
        wrong(&format!("is not an {ip} {what}"), help)
    }
}

/// Whether no machine can have it.
fn unusable(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4])
}

fn wrong(message: &str, help: String) -> Wrong {
    Wrong { message: message.to_owned(), help }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for (version, network, public) in
        [(None, false, false), (Some(4), true, false), (Some(6), true, true), (None, true, true)]
    {
        let shape = Shape { version, network, public, min_prefix: 0 };
        if let Ok(usual) = shape.parse(text) {
            assert!(shape.parse(&usual).is_ok_and(|again| again == usual));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Shape = Shape { network: false, version: None, public: false, min_prefix: 0 };
    const NETWORK: Shape = Shape { network: true, ..ADDRESS };
    const PUBLIC: Shape = Shape { version: Some(4), public: true, ..ADDRESS };

    fn message(shape: Shape, text: &str) -> String {
        match shape.parse(text) {
            Ok(value) => format!("taken as {value}"),
            Err(wrong) => format!("{}: {}", wrong.message, wrong.help),
        }
    }

    #[test]
    fn addresses_are_addresses_and_nothing_else() {
        for (text, usual) in [
            ("192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
        ] {
            assert_eq!(ADDRESS.parse(text).ok().as_deref(), Some(usual), "{text}");
        }
        for text in [
            "",
            " ",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.4 ",
            "1.2.3.4\n",
            ":",
            ":::",
            "1::2::3",
            "fe80::1%eth0",
            "1.2.3.4/24",
            "localhost",
            "١.2.3.4",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:192.0.2.1",
            "[::1]",
            "1.2.3.4:53",
        ] {
            assert!(ADDRESS.parse(text).is_err(), "{text:?}");
        }
        assert!(message(ADDRESS, "1.2.3.4/24").contains("without a prefix length: \"1.2.3.4\""));
        assert!(message(ADDRESS, "::ffff:9.9.9.9").contains("write it as one: \"9.9.9.9\""));
    }

    #[test]
    fn networks_begin_where_they_begin() {
        for text in
            ["::1", "192.0.2.1", "192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128"]
        {
            assert_eq!(NETWORK.parse(text).ok().as_deref(), Some(text));
        }
        for text in [
            "",
            "/",
            "/24",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/24/8",
            "2001:db8::/129",
            "x/8",
        ] {
            assert!(NETWORK.parse(text).is_err(), "{text:?}");
        }
        let inside = message(NETWORK, "192.0.2.9/24");
        assert!(inside.contains("did you mean \"192.0.2.0/24\", or \"192.0.2.9\"?"), "{inside}");
        assert!(message(NETWORK, "2001:db8:1::1/32").contains("\"2001:db8::/32\""));
        let wide = Shape { min_prefix: 8, ..NETWORK };
        assert!(wide.parse("10.0.0.0/8").is_ok() && wide.parse("10.0.0.1").is_ok());
        assert!(message(wide, "0.0.0.0/0").contains("is too large a network"));
    }

    #[test]
    fn public_addresses_are_those_that_everybody_reaches() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
        ] {
            assert!(PUBLIC.parse(text).is_ok(), "{text}: {}", message(PUBLIC, text));
        }
        for (text, why) in [
            ("10.1.2.3", "is private"),
            ("172.31.0.1", "is private"),
            ("192.168.1.1", "is private"),
            ("127.0.0.1", "is the machine itself"),
            ("169.254.1.1", "one cable"),
            ("100.64.0.1", "customers"),
            ("192.0.2.1", "for examples"),
            ("198.51.100.1", "for examples"),
            ("203.0.113.1", "for examples"),
            ("198.19.0.1", "for measurements"),
            ("0.1.2.3", "no machine's"),
            ("239.0.0.1", "multicast"),
            ("250.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("2a00::1", "is not an IPv4 address"),
        ] {
            let told = message(PUBLIC, text);
            assert!(told.contains(why), "{text}: {told}");
        }
        let six = Shape { version: Some(6), ..PUBLIC };
        assert!(six.parse("2a00:1450::1").is_ok());
        for text in
            ["::1", "fe80::1", "fd00::1", "2001:db8::1", "2002::1", "3fff::1", "4000::1", "1.1.1.1"]
        {
            assert!(six.parse(text).is_err(), "{text}");
        }
    }
}
