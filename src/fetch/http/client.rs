//! One exchange with a server, directly or by a proxy; redirects are followed by our own rules.
//!
//! ureq asks a proxy for a tunnel (CONNECT) whatever it is for, and proxies in front of archives often refuse that for
//! http, or could keep nothing of what passes. So what is asked by http goes to a proxy as RFC 9112, section 3.2.2 has it:
//! `GET http://host/path`. [`Forward`] writes that.

use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
};
use ureq::http::{Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Body, config};
use url::Url;

use super::proxy::{Proxies, Proxy};
use super::{Patience, shown};
use crate::fetch::Answer;

const MAX_REDIRECTS: usize = 10;
/// Of a redirect's body; read, so that the connection can be used again.
const MAX_REDIRECT_BODY: u64 = 64 << 10;
/// Kept open for further requests; as many as there are downloads at once.
const IDLE_CONNECTIONS: usize = 16;
const IDLE_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// Sends requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    direct: Agent,
    http: Way,
    https: Way,
    proxies: Proxies,
}

/// How the servers of a scheme are reached.
#[derive(Clone, Debug)]
enum Way {
    Direct,
    /// By a proxy, with this header in each request.
    By(Agent, Option<HeaderValue>),
    Unusable(String),
}

/// An answer that begins.
pub(super) struct Got {
    /// The address after redirects.
    pub(super) url: Url,
    pub(super) response: Response<Body>,
    /// Whether the request said so.
    pub(super) may_be_zipped: bool,
}

impl Client {
    /// An error is one of the machine's certificates.
    pub(super) fn new(patience: Patience, proxies: &Proxies) -> Result<Self, String> {
        let tls = tls()?;
        let config = |proxy: Option<ureq::Proxy>| settings(patience, tls.clone(), proxy);
        let tunnel = |proxy: &Proxy| match ureq::Proxy::new(proxy.address.as_str()) {
            Ok(way) => Way::By(config(Some(way)).new_agent(), None),
            Err(error) => Way::Unusable(error.to_string()),
        };
        let way = |proxy: &Option<Proxy>, forwards: bool| match proxy {
            None => Way::Direct,
            Some(proxy) => match proxy.address.scheme() {
                "http" if forwards => forward(proxy, config(None)),
                "http" | "https" => tunnel(proxy),
                _ => Way::Unusable("only http and https proxies can be used".to_owned()),
            },
        };
        Ok(Self {
            direct: config(None).new_agent(),
            http: way(&proxies.http, true),
            https: way(&proxies.https, false),
            proxies: proxies.clone(),
        })
    }

    /// Asks for `url` until there is no further redirect.
    pub(super) fn get(
        &self,
        mut url: Url,
        headers: &[(HeaderName, String)],
    ) -> Result<Got, Answer> {
        let may_be_zipped =
            headers.iter().any(|(name, value)| *name == ACCEPT_ENCODING && value == "gzip");
        let mut login = take_login(&mut url);
        let mut previous = Vec::new();
        loop {
            let response = self.ask(&url, headers, login.as_ref())?;
            let Some(mut next) = redirect(&response, &url) else {
                return Ok(Got { url, response, may_be_zipped });
            };
            // Whatever goes wrong here, only the connection is lost.
            let mut rest = response.into_body().into_reader().take(MAX_REDIRECT_BODY);
            _ = io::copy(&mut rest, &mut io::sink());
            previous.push(url);
            if let Some(why) = refusal(&previous, &next) {
                return Err(Answer::Redirect(why));
            }
            // A password is for who asked for it.
            let stays = previous.last().is_some_and(|url| url.origin() == next.origin());
            login = take_login(&mut next).or(login.filter(|_| stays));
            url = next;
        }
    }

    fn ask(
        &self,
        url: &Url,
        headers: &[(HeaderName, String)],
        login: Option<&HeaderValue>,
    ) -> Result<Response<Body>, Answer> {
        let way = if url.scheme() == "https" { &self.https } else { &self.http };
        let (agent, proxy_login) = match way {
            _ if self.proxies.spare(url) => (&self.direct, None),
            Way::Direct => (&self.direct, None),
            Way::By(agent, login) => (agent, login.as_ref()),
            Way::Unusable(why) => return Err(Answer::Broken(format!("the proxy: {why}"))),
        };
        let mut address = url.clone();
        address.set_fragment(None);
        let mut request = Request::get(address.as_str());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in [(AUTHORIZATION, login), (PROXY_AUTHORIZATION, proxy_login)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(()).map_err(|error| Answer::Broken(error.to_string()))?;
        agent.run(request).map_err(|error| Answer::Broken(reason(error)))
    }
}

/// The machine's certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`, or the distribution's), and ring.
fn tls() -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("this machine has no certificates of authorities{why}"));
    }
    let certificates: Vec<_> =
        found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(tls.build())
}

fn settings(patience: Patience, tls: TlsConfig, proxy: Option<ureq::Proxy>) -> config::Config {
    Agent::config_builder()
        .user_agent(concat!("chatimg/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.stall))
        .timeout_per_read(Some(patience.stall))
        .timeout_per_write(Some(patience.stall))
        .max_idle_connections(2 * IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .max_idle_age(IDLE_TIME)
        .build()
}

/// What an answer leads to, if it does.
fn redirect(response: &Response<Body>, from: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// Why a redirect is not followed.
pub(super) fn refusal(previous: &[Url], next: &Url) -> Option<String> {
    if previous.len() > MAX_REDIRECTS {
        return Some(format!("more than {MAX_REDIRECTS} redirects"));
    }
    let from_https = previous.last().is_some_and(|url| url.scheme() == "https");
    if from_https && next.scheme() != "https" {
        return Some(format!("redirected from https to {}, which is not followed", shown(next)));
    }
    if !matches!(next.scheme(), "http" | "https") {
        return Some(format!("redirected to {}, which is not followed", shown(next)));
    }
    None
}

/// Takes name and password out of an address: what they become in a header.
fn take_login(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let (name, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    // An address with a host has room for them, so it can be without.
    _ = url.set_username("");
    _ = url.set_password(None);
    let words = BASE64_STANDARD.encode([&name[..], b":", &password].concat());
    let mut value = HeaderValue::try_from(format!("Basic {words}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn reason(error: ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => super::reason(&error),
        ureq::Error::Timeout(phase) => format!("timed out ({phase})"),
        error => error.to_string(),
    }
}

/// The way by a proxy that is told the whole address.
fn forward(proxy: &Proxy, config: config::Config) -> Way {
    let mut address = proxy.address.clone();
    let login = take_login(&mut address);
    match address.as_str().parse() {
        Ok(uri) => {
            let connector = ().chain(TcpConnector::default()).chain(Forward);
            Way::By(Agent::with_parts(config, connector, AtProxy(uri)), login)
        }
        Err(error) => Way::Unusable(format!("{error}")),
    }
}

/// Whatever is asked for, it is the proxy that is connected to.
#[derive(Debug)]
struct AtProxy(Uri);

impl Resolver for AtProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.0, config, timeout)
    }
}

/// Makes connections on which requests name their server.
#[derive(Debug)]
struct Forward;

impl<T: Transport> Connector<T> for Forward {
    type Out = Forwarded<T>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<T>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let origin = format!("http://{}", details.uri.authority().map_or("", |it| it.as_str()));
        Ok(chained.map(|connection| Forwarded { connection, origin }))
    }
}

#[derive(Debug)]
struct Forwarded<T> {
    connection: T,
    /// `http://host:port`
    origin: String,
}

impl<T: Transport> Transport for Forwarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    /// A header never begins like that, and a GET has no body.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        const METHOD: &[u8] = b"GET ";
        let output = self.connection.buffers().output();
        if !(output[..amount].starts_with(METHOD) && output.get(METHOD.len()) == Some(&b'/')) {
            return self.connection.transmit_output(amount, timeout);
        }
        let (start, longer) = (METHOD.len(), amount + self.origin.len());
        if longer > output.len() {
            return Err(io::Error::other("the address is too long").into());
        }
        output.copy_within(start..amount, start + self.origin.len());
        output[start..start + self.origin.len()].copy_from_slice(self.origin.as_bytes());
        self.connection.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.connection.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }
}
