//! The proxies that the environment names, by curl's rules: `HTTP_PROXY`, `HTTPS_PROXY`, for both `ALL_PROXY`, but for what
//! `NO_PROXY` lists; each in lower case, too.

use std::net::IpAddr;

use url::{Host, Url};

/// One of each, if there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    pub(super) http: Option<Proxy>,
    pub(super) https: Option<Proxy>,
    spared: Vec<Spared>,
}

/// Where a proxy is, with name and password.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) address: Url,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::shown(&self.address))
    }
}

/// What is reached without one.
#[derive(Clone, Debug)]
enum Spared {
    All,
    /// And what is below it.
    Domain(String),
    /// An address, or those that share so many first bits with it.
    Net(IpAddr, u32),
}

impl Proxies {
    pub(super) fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        // Of a CGI program HTTP_PROXY is what a client says (CVE-2016-5385).
        if variable("REQUEST_METHOD").is_some() {
            return Self::default();
        }
        let first = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
        let proxy = |name| first(name).and_then(|text| Proxy::parse(text.trim()));
        let all = proxy("ALL_PROXY");
        let list = first("NO_PROXY").unwrap_or_default();
        Self {
            http: proxy("HTTP_PROXY").or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY").or(all),
            spared: list.split(',').filter_map(|item| Spared::parse(item.trim())).collect(),
        }
    }

    /// Whether `url` is reached directly in any case.
    pub(super) fn spare(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| self.spared.iter().any(|spared| spared.has(&host)))
    }
}

impl Proxy {
    fn parse(text: &str) -> Option<Self> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let address = Url::parse(&whole).ok()?;
        address.has_host().then_some(Self { address })
    }
}

impl Spared {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let width = if ip.is_ipv4() { 32 } else { 128 };
            return Some(Self::Net(ip, bits.unwrap_or(width))).filter(|_| bits <= Some(width));
        }
        match text.strip_prefix('.').unwrap_or(text) {
            "" => None,
            "*" => Some(Self::All),
            name => Some(Self::Domain(name.to_lowercase())),
        }
    }

    fn has(&self, host: &Host<&str>) -> bool {
        let ip = match *host {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain(_) => None,
        };
        match (self, host, ip) {
            (Self::All, ..) => true,
            (Self::Domain(name), Host::Domain(host), _) => {
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Net(IpAddr::V4(net), bits), _, Some(IpAddr::V4(ip))) => {
                let differ = u32::from(*net) ^ u32::from(ip);
                differ.leading_zeros() >= *bits
            }
            (Self::Net(IpAddr::V6(net), bits), _, Some(IpAddr::V6(ip))) => {
                let differ = u128::from(*net) ^ u128::from(ip);
                differ.leading_zeros() >= *bits
            }
            _ => false,
        }
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    Proxies::of(|_| Some(text.to_owned()));
    _ = super::parse_url(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| {
            variables.iter().find(|it| it.0 == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let shown = |proxy: &Option<Proxy>| format!("{proxy:?}");
        let some = proxies(&[("http_proxy", "a:3128"), ("ALL_PROXY", "http://me:word@b:1/")]);
        assert_eq!(shown(&some.http), "Some(http://a:3128/)");
        assert_eq!(shown(&some.https), "Some(http://me:...@b:1/)");
        let none = proxies(&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")]);
        assert!(none.http.is_none());
        assert!(proxies(&[("HTTPS_PROXY", ""), ("HTTP_PROXY", "http://")]).http.is_none());
    }

    #[test]
    fn what_no_proxy_lists_is_reached_directly() {
        let some = proxies(&[("no_proxy", ".Example.org, 10.0.0.0/8, ::1, 192.0.2.7, x/y, ")]);
        let all = proxies(&[("NO_PROXY", "*")]);
        for (url, spared) in [
            ("http://example.org/", true),
            ("https://a.example.org:8443/", true),
            ("http://notexample.org/", false),
            ("http://10.255.0.1/", true),
            ("http://11.0.0.1/", false),
            ("http://192.0.2.7:81/", true),
            ("http://192.0.2.8/", false),
            ("http://[::1]/", true),
            ("http://[::2]/", false),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(some.spare(&url), spared, "{url}");
            assert!(all.spare(&url) && !Proxies::default().spare(&url));
        }
    }
}
