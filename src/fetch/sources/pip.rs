//! The Python index that pip uses on a machine: `PIP_INDEX_URL`, `index-url` of its configuration
//! files (pip's order: `PIP_CONFIG_FILE`, the user's, the machine's), else the default built into
//! pip.
//!
//! `extra-index-url` is left out on purpose: with two indexes of equal rank, whoever registers a
//! private project's name on the other one wins.

use super::{Place, Settings, defaults, usable};

pub(super) fn places(settings: &Settings) -> Vec<Place> {
    if let Some(url) = settings.var("PIP_INDEX_URL") {
        return usable([(url.to_owned(), "PIP_INDEX_URL".to_owned())]);
    }
    for path in files(settings) {
        let text = settings.text(&path).unwrap_or_default();
        if let Some(url) = index_url(&text) {
            return usable([(url, path)]);
        }
    }
    usable(defaults::installed_pypi(settings))
}

fn files(settings: &Settings) -> Vec<String> {
    let mut files: Vec<String> =
        settings.var("PIP_CONFIG_FILE").map(str::to_owned).into_iter().collect();
    if let Some(home) = settings.var("HOME") {
        let config = settings.var("XDG_CONFIG_HOME").map(str::to_owned);
        let config = config.unwrap_or_else(|| format!("{home}/.config"));
        files.extend([format!("{config}/pip/pip.conf"), format!("{home}/.pip/pip.conf")]);
    }
    files.extend(["/etc/pip.conf".to_owned(), "/etc/xdg/pip/pip.conf".to_owned()]);
    files
}

/// `index-url` of an INI file: of `[download]` or `[install]` if there, else of `[global]`.
fn index_url(text: &str) -> Option<String> {
    let mut section = "";
    let mut found: Option<(u8, String)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if let Some((key, value)) = line.split_once(['=', ':']) {
            let rank = ["global", "install", "download"].iter().position(|known| *known == section);
            let rank = rank.and_then(|rank| u8::try_from(rank).ok());
            let is_index = key.trim().replace('_', "-").eq_ignore_ascii_case("index-url");
            if let (true, Some(rank)) = (is_index, rank)
                && found.as_ref().is_none_or(|(best, _)| rank >= *best)
            {
                found = Some((rank, value.trim().to_owned()));
            }
        }
    }
    found.map(|(_, url)| url)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    _ = index_url(text);
}
