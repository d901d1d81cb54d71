//! The registry that npm uses on a machine: its environment variable, `registry` of its
//! configuration files (npm's order: the user's, the machine's), else the default built into npm.

use super::{Place, Settings, defaults, usable};

pub(super) fn places(settings: &Settings) -> Vec<Place> {
    for name in ["npm_config_registry", "NPM_CONFIG_REGISTRY"] {
        if let Some(url) = settings.var(name) {
            return usable([(url.to_owned(), name.to_owned())]);
        }
    }
    for path in files(settings) {
        let text = settings.text(&path).unwrap_or_default();
        if let Some(url) = registry(&text).and_then(|value| expand(settings, value)) {
            return usable([(url, path)]);
        }
    }
    usable(defaults::installed_npm(settings))
}

fn files(settings: &Settings) -> Vec<String> {
    let user = ["npm_config_userconfig", "NPM_CONFIG_USERCONFIG"];
    let mut files: Vec<String> =
        user.iter().filter_map(|name| settings.var(name)).map(str::to_owned).collect();
    files.extend(settings.var("HOME").map(|home| format!("{home}/.npmrc")));
    files.extend(settings.prefixes().into_iter().map(|prefix| format!("{prefix}/etc/npmrc")));
    files.push("/etc/npmrc".to_owned());
    files
}

/// `registry=URL`; registries of single scopes (`@scope:registry=`) are none for all.
fn registry(text: &str) -> Option<&str> {
    let mut pairs = text.lines().rev().filter_map(|line| line.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == "registry")?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// Replaces `${NAME}`; `None` if one is not set.
fn expand(settings: &Settings, value: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(settings.var(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env = [("A".to_owned(), "b".to_owned())].into();
    let settings = Settings { config: "/nowhere".into(), env, root: "/nowhere".into() };
    _ = registry(text).and_then(|value| expand(&settings, value));
}
