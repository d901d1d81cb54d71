//! One HTTP request to the machine, from outside: any host name in it means the machine, no
//! certificate is checked (the box's own is self-signed until it has a real name).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Method;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use url::Url;

use super::text::shortened;

const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) token: Option<String>,
    pub(super) json: Option<Value>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// For a report.
    pub(super) fn shown(&self) -> String {
        format!("status {}, body: {}", self.status, shortened(self.body.trim(), 2000))
    }
}

impl Request {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, token: None, json: None }
    }

    /// Asks. `ports`: port of the guest → port of 127.0.0.1. Redirects are not followed.
    pub(super) fn send(self, ports: &BTreeMap<u16, u16>) -> Result<Answer, String> {
        self.send_within(ports, PATIENCE)
    }

    /// Asks, and does not wait longer than that.
    pub(super) fn send_within(
        self,
        ports: &BTreeMap<u16, u16>,
        patience: Duration,
    ) -> Result<Answer, String> {
        if !self.url.has_host() {
            return Err(format!("{} names no host", self.url));
        }
        let guest = self.url.port_or_known_default();
        let Some(port) = guest.and_then(|port| ports.get(&port)).copied() else {
            let known: Vec<_> = ports.keys().map(u16::to_string).collect();
            let known = known.join(", ");
            return Err(format!(
                "the machine is not reached at {}, only at ports {known}",
                self.url
            ));
        };
        let config = unchecked().timeout_global(Some(patience)).build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), At(port));
        let mut request = ureq::http::Request::builder().method(self.method).uri(self.url.as_str());
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = match &self.json {
            Some(json) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                request.body(json.to_string()).map(|request| agent.run(request))
            }
            None => request.body(()).map(|request| agent.run(request)),
        };
        let response = response.map_err(|error| reason(&error))?.map_err(|error| reason(&error))?;
        let status = response.status().as_u16();
        let body = response.into_body().into_with_config().limit(u64::MAX).lossy_utf8(true);
        let body = body.read_to_string().map_err(|error| reason(&error))?;
        Ok(Answer { status, body })
    }
}

/// For a box: no proxy, no redirects, no check of the certificate, and each status is an answer.
pub(super) fn unchecked() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let tls = TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Agent::config_builder()
        .tls_config(tls.build())
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
}

/// Any name is this port of 127.0.0.1.
#[derive(Debug)]
pub(super) struct At(pub(super) u16);

impl Resolver for At {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push((Ipv4Addr::LOCALHOST, self.0).into());
        Ok(addresses)
    }
}

/// An error with its causes, which say what really happened.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
