//! One HTTP request to the machine, from outside: any host name in it means the machine, no
//! certificate is checked (the box's own is self-signed until it has a real name).

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::header::HOST;
use reqwest::{Method, Url, redirect};
use serde_json::Value;

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
        let Some(name) = self.url.host_str().map(str::to_owned) else {
            return Err(format!("{} names no host", self.url));
        };
        let guest = self.url.port_or_known_default();
        let Some(port) = guest.and_then(|port| ports.get(&port)).copied() else {
            let known: Vec<_> = ports.keys().map(u16::to_string).collect();
            let known = known.join(", ");
            return Err(format!(
                "the machine is not reached at {}, only at ports {known}",
                self.url
            ));
        };
        let host = match self.url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.clone(),
        };
        let mut url = self.url;
        if url.set_port(Some(port)).is_err() {
            return Err(format!("{url} cannot have a port"));
        }
        // An error says that it was installed before, which is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .resolve(&name, (std::net::Ipv4Addr::LOCALHOST, port).into())
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .redirect(redirect::Policy::none())
            .timeout(patience)
            .build()
            .map_err(|error| reason(&error))?;
        let mut request = client.request(self.method, url).header(HOST, host);
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(json) = &self.json {
            request = request.json(json);
        }
        let response = request.send().map_err(|error| reason(&error))?;
        let status = response.status().as_u16();
        let body = response.text().map_err(|error| reason(&error))?;
        Ok(Answer { status, body })
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
