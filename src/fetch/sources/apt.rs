//! The places that a machine's apt sources name: one-line `*.list` and deb822 `*.sources`
//! (sources.list(5)).
//!
//! An entry is Debian's if its suite is one of Debian's, it has the component `main`, and either
//! its path ends as Debian's mirrors do (`/debian`, `/debian-security`) or its key is Debian's
//! archive keyring. A wrong guess does no harm: every index is checked against the pinned keyring.

use std::collections::BTreeMap;

use super::{Archive, Place, Settings, usable};

/// Names under which a Debian suite may be asked for.
const SUITES: [&str; 14] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "oldoldstable",
    "rc-buggy",
    "experimental",
];

/// One line, or one stanza: an address and what is said about it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
}

impl Entry {
    /// Which archive `uri` is, if it is one of Debian's.
    fn archive(&self, uri: &str) -> Option<Archive> {
        let security = |suite: &str| suite.ends_with("-security") || suite.ends_with("/updates");
        let debian = |suite: &str| {
            let (name, rest) = suite.split_at(suite.find(['-', '/']).unwrap_or(suite.len()));
            let rests = ["", "-updates", "-security", "/updates", "-backports"];
            SUITES.contains(&name) && (rests.contains(&rest) || rest == "-proposed-updates")
        };
        let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let named = ["debian", "debian-security"].contains(&last)
            || self.signed_by.contains("debian-archive");
        if !named || !self.components.iter().any(|component| component == "main") {
            return None;
        }
        let suites: Vec<_> = self.suites.iter().filter(|suite| debian(suite)).collect();
        match suites.as_slice() {
            [] => None,
            suites if suites.iter().any(|suite| security(suite)) => Some(Archive::DebianSecurity),
            _ => Some(Archive::Debian),
        }
    }
}

/// The places named by apt's configuration, or failing that by python-apt's templates, which know
/// Debian on Ubuntu too.
pub(super) fn places(settings: &Settings) -> BTreeMap<Archive, Vec<Place>> {
    let mut named: BTreeMap<Archive, Vec<(String, String)>> = BTreeMap::new();
    let mut snapshots = Vec::new();
    for path in files(settings) {
        let text = settings.text(&path).unwrap_or_default();
        for entry in if path.ends_with(".list") { lines(&text) } else { stanzas(&text) } {
            for uri in entry.uris.iter().flat_map(|uri| mirrors(settings, uri)) {
                if let Some(archive) = entry.archive(&uri) {
                    named.entry(archive).or_default().push((uri, path.clone()));
                }
            }
        }
        snapshots.extend(snapshot(&text).map(|base| (base, format!("a comment in {path}"))));
    }
    named.insert(Archive::DebianSnapshot, snapshots);
    if !named.contains_key(&Archive::Debian) {
        templates(settings, &mut named);
    }
    beside(&mut named);
    named
        .into_iter()
        .map(|(archive, addresses)| (archive, usable(addresses)))
        .filter(|(_, places)| !places.is_empty())
        .collect()
}

fn files(settings: &Settings) -> Vec<String> {
    let mut files = vec!["/etc/apt/sources.list".to_owned()];
    let parts = settings.folders("/etc/apt/sources.list.d");
    files.extend(parts.into_iter().filter(|p| p.ends_with(".list") || p.ends_with(".sources")));
    files
}

/// `deb [OPTION=VALUE ...] URI SUITE COMPONENT ...`
fn lines(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
        Some(Entry {
            uris: vec![words.next()?],
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: signed_by.unwrap_or_default().to_owned(),
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Stanzas of `Field: value` lines, continued by lines that begin with a space.
fn stanzas(text: &str) -> Vec<Entry> {
    let mut all = Vec::new();
    for stanza in fields(text) {
        let words = |key: &str| {
            let value = stanza.get(key).map(String::as_str).unwrap_or_default();
            value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let enabled =
            !matches!(stanza.get("enabled").map(|v| v.trim()), Some("no" | "false" | "0"));
        if enabled && words("types").iter().any(|kind| kind == "deb") {
            all.push(Entry {
                uris: words("uris"),
                suites: words("suites"),
                components: words("components"),
                signed_by: words("signed-by").join(" "),
            });
        }
    }
    all
}

/// The stanzas of a deb822 text, keys in lower case; comments are left out.
fn fields(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    let mut key = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let last = all.last_mut().expect("never empty");
        if line.trim().is_empty() {
            all.push(BTreeMap::new());
        } else if line.starts_with([' ', '\t']) {
            last.entry(key.clone())
                .or_insert_with(String::new)
                .push_str(&format!(" {}", line.trim()));
        } else if let Some((name, value)) = line.split_once(':') {
            key = name.to_ascii_lowercase();
            last.insert(key.clone(), value.trim().to_owned());
        }
    }
    all
}

/// An address, or those that a `mirror+file:` list holds (as Debian's cloud images have it).
fn mirrors(settings: &Settings, uri: &str) -> Vec<String> {
    let Some(list) = uri.strip_prefix("mirror+file:") else { return vec![uri.to_owned()] };
    let text = settings.text(list).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The base of a snapshot archive from a comment such as Debian's container images carry:
/// `# https://.../archive/debian/20250520T000000Z`.
fn snapshot(text: &str) -> Option<String> {
    let comments = text.lines().filter_map(|line| line.strip_prefix('#'));
    comments.flat_map(str::split_whitespace).find_map(|word| {
        let (base, _) = word.split_once("/archive/debian/")?;
        base.contains("://").then(|| base.to_owned())
    })
}

/// `BaseURI` of the suites `{series}` and `{series}-security` in python-apt's Debian.info.
fn templates(settings: &Settings, named: &mut BTreeMap<Archive, Vec<(String, String)>>) {
    let path = "/usr/share/python-apt/templates/Debian.info";
    for stanza in fields(&settings.text(path).unwrap_or_default()) {
        let archive = match stanza.get("suite").map(String::as_str) {
            Some("{series}") => Archive::Debian,
            Some("{series}-security") => Archive::DebianSecurity,
            _ => continue,
        };
        if let Some(base) = stanza.get("baseuri") {
            named.entry(archive).or_default().push((base.clone(), path.to_owned()));
        }
    }
}

/// Mirrors keep the security archive beside the main one; tried after what is named outright.
fn beside(named: &mut BTreeMap<Archive, Vec<(String, String)>>) {
    let main = named.get(&Archive::Debian).cloned().unwrap_or_default();
    let guesses = main.into_iter().filter_map(|(uri, found)| {
        let parent = uri.trim_end_matches('/').strip_suffix("/debian")?;
        Some((format!("{parent}/debian-security"), format!("{found}, beside the main archive")))
    });
    named.entry(Archive::DebianSecurity).or_default().extend(guesses);
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    snapshot(text);
    for entry in lines(text).into_iter().chain(stanzas(text)) {
        entry.uris.iter().for_each(|uri| _ = entry.archive(uri));
        _ = usable(entry.uris.into_iter().map(|uri| (uri, String::new())));
    }
}
