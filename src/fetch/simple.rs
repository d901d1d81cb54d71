//! Project pages of Python package indexes: HTML (PEP 503) or JSON (PEP 691).
//!
//! ```text
//! <a href="../../packages/x/foo-1.0-py3-none-any.whl#sha256=HEX"
//!    data-requires-python="&gt;=3.8" data-yanked="reason"
//!    data-core-metadata="sha256=HEX">foo-1.0-py3-none-any.whl</a>
//! ```

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use url::Url;

use super::wanted::web_url;
use super::{FetchError, Http, Page};
use crate::digest::Digest;

/// No project page is larger.
const MAX_PAGE: u64 = 64 << 20;
/// No project has more files; those behind are left out.
const MAX_LINKS: usize = 100_000;
/// Bytes of all links, so that a long `<base>` in front of many short addresses takes no more memory than a page.
const MAX_BYTES: usize = 64 << 20;
/// What matters of an `<a>` or a `<base>`.
const ATTRIBUTES: [&str; 5] = [
    "href",
    "data-requires-python",
    "data-yanked",
    "data-core-metadata",
    "data-dist-info-metadata",
];
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

impl Link {
    /// Bytes that it takes.
    pub(crate) fn weight(&self) -> usize {
        let python = self.requires_python.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.name.len() + self.url.as_str().len() + python
    }
}

/// The links of a page, as far as there is room.
#[derive(Default)]
struct Links {
    all: Vec<Link>,
    weight: usize,
}

impl Links {
    fn add(&mut self, link: Link) {
        self.weight = self.weight.saturating_add(link.weight());
        if !self.full() {
            self.all.push(link);
        }
    }

    fn full(&self) -> bool {
        self.all.len() == MAX_LINKS || self.weight > MAX_BYTES
    }
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
    let (mut links, mut anchors) = (Links::default(), 0);
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<')
        && anchors < MAX_LINKS
        && !links.full()
    {
        let (name, attributes, end) = tag(after);
        rest = end;
        let href = attributes[0].as_deref().unwrap_or_default();
        if name.eq_ignore_ascii_case("base") {
            base = base.join(href).unwrap_or(base);
        } else if name.eq_ignore_ascii_case("a") {
            anchors += 1;
            if let Some(link) = anchor(page, &base, attributes) {
                links.add(link);
            }
        }
    }
    links.all
}

/// The address of a file, from a page: only the web's, and none that anybody on the way could change if the page's own
/// could not be changed.
fn file_url(page: &Url, base: &Url, text: &str) -> Option<Url> {
    let url = web_url(base.join(text).ok()?.as_str())?;
    (page.scheme() != "https" || url.scheme() == "https").then_some(url)
}

fn anchor(page: &Url, base: &Url, attributes: Attributes) -> Option<Link> {
    let [href, requires_python, yanked, metadata, older_metadata] = attributes;
    let mut url = file_url(page, base, &href.unwrap_or_default())?;
    let digest = url.fragment().and_then(sha256);
    url.set_fragment(None);
    Some(Link {
        name: file_name(&url)?,
        url,
        digest,
        requires_python,
        yanked: yanked.is_some(),
        metadata: [metadata, older_metadata].iter().flatten().find_map(|text| sha256(text)),
    })
}

/// The last part of the path. Wheel names need no escapes but `%2B` (a local version's plus) and
/// `!`.
fn file_name(url: &Url) -> Option<String> {
    let name = url.path_segments()?.next_back()?;
    Some(name.replace("%2B", "+").replace("%2b", "+").replace("%21", "!"))
        .filter(|name| !name.is_empty())
}

/// The values of [`ATTRIBUTES`].
type Attributes = [Option<String>; ATTRIBUTES.len()];

/// Splits `a href="x" data-y>rest` into name, attributes and rest.
fn tag(text: &str) -> (&str, Attributes, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    let name = &text[..end];
    let mut attributes = Attributes::default();
    let mut rest = &text[end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '>');
        let Some(end) = end else { return (name, attributes, "") };
        let key = &rest[..end];
        rest = &rest[end..];
        if key.is_empty() && rest.starts_with('>') {
            return (name, attributes, &rest[1..]);
        }
        let mut value = "";
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
            (value, rest) = (text, end);
        }
        let known = ATTRIBUTES.iter().position(|name| key.eq_ignore_ascii_case(name));
        if let Some(at) = known {
            attributes[at].get_or_insert_with(|| unescape(value));
        }
    }
}

/// The entities that index pages use.
fn unescape(text: &str) -> String {
    let plain = [("&gt;", ">"), ("&lt;", "<"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    let text = plain.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    files: Files<'a>,
}

/// The files as they stand there: what is in an entry that cannot be understood takes no memory.
struct Files<'a>(Vec<JsonFile<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Files<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(OneByOne).map(Self)
    }
}

/// Keeps none of what is left out.
struct OneByOne;

impl<'de> Visitor<'de> for OneByOne {
    type Value = Vec<JsonFile<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut files = Vec::new();
        while let Some(raw) = all.next_element::<&RawValue>()? {
            if let (true, Ok(file)) = (files.len() < MAX_LINKS, serde_json::from_str(raw.get())) {
                files.push(file);
            }
        }
        Ok(files)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile<'a> {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
    requires_python: Option<String>,
    /// Whether, or why.
    #[serde(borrow)]
    yanked: Option<&'a RawValue>,
    /// Whether, or the digests (PEP 714; the second is its older name).
    #[serde(borrow)]
    core_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    dist_info_metadata: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

impl Hashes {
    fn digest(self) -> Option<Digest> {
        self.sha256?.parse().ok()
    }
}

fn json(page: &Page) -> Vec<Link> {
    let Ok(document) = serde_json::from_slice::<Document>(&page.body) else { return Vec::new() };
    let metadata = |raw: &RawValue| serde_json::from_str::<Hashes>(raw.get()).ok()?.digest();
    let link = |file: JsonFile| {
        let said = [file.core_metadata, file.dist_info_metadata];
        Some(Link {
            name: file.filename,
            url: file_url(&page.url, &page.url, &file.url)?,
            digest: file.hashes.digest(),
            requires_python: file.requires_python,
            yanked: file.yanked.is_some_and(|raw| !matches!(raw.get(), "false" | "null")),
            metadata: said.into_iter().flatten().find_map(metadata),
        })
    };
    let mut links = Links::default();
    for file in document.files.0 {
        if let Some(link) = link(file).filter(|_| !links.full()) {
            links.add(link);
        }
    }
    links.all
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

    #[test]
    fn no_page_takes_much_more_memory_than_it_has_bytes() {
        let long = format!("<base href='https://example.org/{}/'>", "x".repeat(1 << 20));
        let links = parse(&page("text/html", &(long + &"<a href=y>".repeat(1000))));
        assert_eq!(links.len(), 63, "each has the base's megabyte");
        // What stands in an attribute or entry that nobody wants is not kept, whatever it is.
        let tag = format!("<a {}href=x data-yanked=1 data-yanked=2>", "a=b ".repeat(1 << 20));
        assert_eq!(parse(&page("text/html", &tag)).len(), 1);
        let odd =
            format!("{{\"filename\":\"x\",\"url\":\"y\",\"odd\":[{}0]}}", "0,".repeat(1 << 20));
        let json = format!("{{\"files\":[{odd},[{odd}],{odd}],\"odd\":{odd}}}");
        assert_eq!(parse(&page("application/vnd.pypi.simple.v1+json", &json)).len(), 2);
    }

    #[test]
    fn metadata_is_known_by_both_its_names() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let of = |said: &str| {
            let json = format!("{{\"files\":[{{\"filename\":\"x\",\"url\":\"y\"{said}}}]}}");
            let links = parse(&page("application/vnd.pypi.simple.v1+json", &json));
            links.first().expect("a file").metadata
        };
        let core = format!(",\"core-metadata\":{{\"sha256\":\"{a}\"}}");
        let older = format!(",\"dist-info-metadata\":{{\"sha256\":\"{b}\"}}");
        assert_eq!(of(&core), Some(a));
        assert_eq!(of(&older), Some(b));
        assert_eq!(of(&format!("{older}{core}")), Some(a), "a server may say both");
        assert_eq!(of(",\"core-metadata\":true"), None);
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
