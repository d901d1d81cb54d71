//! Project pages of Python package indexes: HTML (PEP 503) or JSON (PEP 691).
//!
//! ```text
//! <a href="../../packages/x/foo-1.0-py3-none-any.whl#sha256=HEX"
//!    data-requires-python="&gt;=3.8" data-yanked="reason"
//!    data-core-metadata="sha256=HEX">foo-1.0-py3-none-any.whl</a>
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use url::Url;

use super::wanted::web_url;
use super::{FetchError, Http, Page};
use crate::digest::Digest;

/// No project page is larger.
const MAX_PAGE: u64 = 64 << 20;
/// No project has more files; those behind are left out.
const MAX_LINKS: usize = 100_000;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/// A file that a project page names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// File name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) url: Url,
    /// SHA-256, where the page says it.
    pub(crate) digest: Option<Digest>,
    /// The Pythons it is for, a PEP 440 specifier.
    pub(crate) requires_python: Option<String>,
    /// Withdrawn by its author.
    pub(crate) yanked: bool,
    /// Digest of its metadata, which `URL.metadata` has (PEP 658).
    pub(crate) metadata: Option<Digest>,
}

/// Gets and reads a project page.
///
/// # Errors
/// It does not come.
pub(crate) fn project(http: &Http, url: &Url) -> Result<Vec<Link>, FetchError> {
    let page = http.get_page(url.as_str(), ACCEPT, MAX_PAGE)?;
    Ok(parse(&page))
}

/// The files that a page names; what cannot be understood is left out.
fn parse(page: &Page) -> Vec<Link> {
    if page.content_type.starts_with("application/vnd.pypi.simple.v1+json") {
        return json(page);
    }
    html(&page.url, &String::from_utf8_lossy(&page.body))
}

/// `sha256=HEX`
fn sha256(text: &str) -> Option<Digest> {
    text.strip_prefix("sha256=")?.parse().ok()
}

fn html(page: &Url, text: &str) -> Vec<Link> {
    let mut base = page.clone();
    let mut links = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let (name, attributes, end) = tag(after);
        rest = end;
        let href = attributes.get("href").map(String::as_str).unwrap_or_default();
        if name == "base" {
            base = base.join(href).unwrap_or(base);
        } else if name == "a" {
            links.extend(anchor(page, &base, href, &attributes));
            if links.len() == MAX_LINKS {
                break;
            }
        }
    }
    links
}

/// The address of a file, from a page: only the web's, and none that anybody on the way could change if the page's own
/// could not be changed.
fn file_url(page: &Url, base: &Url, text: &str) -> Option<Url> {
    let url = web_url(base.join(text).ok()?.as_str())?;
    (page.scheme() != "https" || url.scheme() == "https").then_some(url)
}

fn anchor(
    page: &Url,
    base: &Url,
    href: &str,
    attributes: &BTreeMap<String, String>,
) -> Option<Link> {
    let mut url = file_url(page, base, href)?;
    let digest = url.fragment().and_then(sha256);
    url.set_fragment(None);
    let metadata = ["data-core-metadata", "data-dist-info-metadata"];
    Some(Link {
        name: file_name(&url)?,
        url,
        digest,
        requires_python: attributes.get("data-requires-python").cloned(),
        yanked: attributes.contains_key("data-yanked"),
        metadata: metadata.iter().find_map(|name| sha256(attributes.get(*name)?)),
    })
}

/// The last part of the path. Wheel names need no escapes but `%2B` (a local version's plus) and
/// `!`.
fn file_name(url: &Url) -> Option<String> {
    let name = url.path_segments()?.next_back()?;
    Some(name.replace("%2B", "+").replace("%2b", "+").replace("%21", "!"))
        .filter(|name| !name.is_empty())
}

/// Splits `a href="x" data-y>rest` into name, attributes and rest.
fn tag(text: &str) -> (String, BTreeMap<String, String>, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    let name = text[..end].to_ascii_lowercase();
    let mut attributes = BTreeMap::new();
    let mut rest = &text[end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '>');
        let Some(end) = end else { return (name, attributes, "") };
        let key = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        if key.is_empty() && rest.starts_with('>') {
            return (name, attributes, &rest[1..]);
        }
        let mut value = String::new();
        if let Some(after) = rest.trim_start().strip_prefix('=') {
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (text, end) = match quote {
                Some(quote) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                None => {
                    let end = after.find(|c: char| c.is_whitespace() || c == '>');
                    after.split_at(end.unwrap_or(after.len()))
                }
            };
            value = unescape(text);
            rest = end;
        }
        attributes.entry(key).or_insert(value);
    }
}

/// The entities that index pages use.
fn unescape(text: &str) -> String {
    let plain = [("&gt;", ">"), ("&lt;", "<"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    let text = plain.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

#[derive(Deserialize)]
struct Document {
    files: Files,
}

/// The files that can be understood.
struct Files(Vec<JsonFile>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    File(Box<JsonFile>),
    Odd(serde::de::IgnoredAny),
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(OneByOne).map(Self)
    }
}

/// Keeps none of what is left out.
struct OneByOne;

impl<'de> Visitor<'de> for OneByOne {
    type Value = Vec<JsonFile>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut files = Vec::new();
        while let Some(listed) = all.next_element()? {
            match listed {
                Listed::File(file) if files.len() < MAX_LINKS => files.push(*file),
                Listed::File(_) | Listed::Odd(_) => {}
            }
        }
        Ok(files)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    requires_python: Option<String>,
    yanked: Option<serde_json::Value>,
    #[serde(alias = "dist-info-metadata")]
    core_metadata: Option<serde_json::Value>,
}

fn json(page: &Page) -> Vec<Link> {
    let Ok(document) = serde_json::from_slice::<Document>(&page.body) else { return Vec::new() };
    let link = |file: JsonFile| {
        Some(Link {
            name: file.filename,
            url: file_url(&page.url, &page.url, &file.url)?,
            digest: file.hashes.get("sha256").and_then(|digest| digest.parse().ok()),
            requires_python: file.requires_python,
            yanked: !matches!(
                file.yanked,
                None | Some(serde_json::Value::Bool(false) | serde_json::Value::Null)
            ),
            metadata: file.core_metadata.and_then(|value| value["sha256"].as_str()?.parse().ok()),
        })
    };
    document.files.0.into_iter().filter_map(link).collect()
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(url) = Url::parse("https://example.org/simple/a/") else { return };
    for content_type in ["text/html", "application/vnd.pypi.simple.v1+json"] {
        let page =
            Page { url: url.clone(), content_type: content_type.to_owned(), body: bytes.to_vec() };
        for link in parse(&page) {
            assert_eq!(link.url.scheme(), "https", "nothing less than the page's own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(content_type: &str, body: &str) -> Page {
        Page {
            url: Url::parse("https://example.org/simple/foo/").expect("a URL"),
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn html_and_json_pages_say_the_same() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let html = format!(
            "<!DOCTYPE html><html><body><h1>Links</h1>\n\
             <a href=\"../../files/foo-1.0%2Bx-py3-none-any.whl#sha256={a}\" data-requires-python=\"&gt;=3.8\" \
             data-core-metadata=\"sha256={b}\">foo</a><br/>\n\
             <A HREF='https://files.example.org/foo-2.0.tar.gz' data-yanked>foo</A></body></html>"
        );
        let json = format!(
            "{{\"meta\":{{}},\"files\":[{{\"filename\":\"foo-1.0+x-py3-none-any.whl\",\
             \"url\":\"../../files/foo-1.0%2Bx-py3-none-any.whl\",\"hashes\":{{\"sha256\":\"{a}\"}},\
             \"requires-python\":\">=3.8\",\"yanked\":false,\"core-metadata\":{{\"sha256\":\"{b}\"}}}},\
             {{\"filename\":\"foo-2.0.tar.gz\",\"url\":\"https://files.example.org/foo-2.0.tar.gz\",\
             \"hashes\":{{}},\"yanked\":\"broken\"}},{{\"odd\":1}}]}}"
        );
        let from_html = parse(&page("text/html", &html));
        assert_eq!(from_html, parse(&page("application/vnd.pypi.simple.v1+json", &json)));
        let first = &from_html[0];
        assert_eq!(first.url.as_str(), "https://example.org/files/foo-1.0%2Bx-py3-none-any.whl");
        assert_eq!((first.digest, first.metadata), (Some(a), Some(b)));
        assert_eq!(first.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!((first.yanked, from_html[1].yanked), (false, true));
        assert_eq!(from_html.len(), 2);
    }

    #[test]
    fn rubbish_is_no_page_and_no_link_leads_into_the_machine() {
        for rubbish in
            ["", "<", "<a", "<a href", "<a href=", "<a href=\"", "<a href='x", "<<<>>>", "<é é=é>"]
        {
            assert!(parse(&page("text/html", rubbish)).len() < 2, "{rubbish}");
        }
        assert_eq!(parse(&page("text/html", "<a href=file:///etc/passwd>x</a>")), []);
        assert_eq!(parse(&page("application/vnd.pypi.simple.v1+json", "[]")), []);
        // What comes by https leads to nothing less.
        let plain = "http://files.example.org/foo-1-py3-none-any.whl";
        for body in
            [format!("<a href={plain}>x</a>"), format!("<base href={plain}><a href=x>x</a>")]
        {
            assert_eq!(parse(&page("text/html", &body)), [], "{body}");
        }
        let json = format!("{{\"files\":[{{\"filename\":\"x\",\"url\":\"{plain}\"}}]}}");
        assert_eq!(parse(&page("application/vnd.pypi.simple.v1+json", &json)), []);
    }

    #[test]
    fn a_page_of_any_length_gives_no_more_files_than_a_project_has() {
        let html = "<a href=x>".repeat(MAX_LINKS + 7);
        assert_eq!(parse(&page("text/html", &html)).len(), MAX_LINKS);
        let file = "{\"filename\":\"x\",\"url\":\"x\"},1,";
        let json = format!("{{\"files\":[{}0]}}", file.repeat(MAX_LINKS + 7));
        let links = parse(&page("application/vnd.pypi.simple.v1+json", &json));
        assert_eq!(links.len(), MAX_LINKS);
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(text in "[<>a-c hrefA=\"'/&#;:é.\n-]{0,80}", raw in ".{0,80}") {
            parse(&page("text/html", &text));
            parse(&page("text/html", &raw));
            parse(&page("application/vnd.pypi.simple.v1+json", &raw));
        }
    }
}
