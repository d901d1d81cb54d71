//! The index and registry addresses that pip and npm have built in, read from their own files:
//! installed ones, or, for pip, those inside Debian's package on a machine that has none.

use std::io::Read;

use super::Settings;

/// pip's `PyPI = PackageIndex("https://...")`.
const PIP_FILE: &str = "pip/_internal/models/index.py";
/// npm's `registry: new Definition('registry', { default: 'https://...'`.
const NPM_FILE: &str = "@npmcli/config/lib/definitions/definitions.js";
/// The same in npm 9 as Debian has it: `define('registry', { default: 'https://...'`.
const NPM9_FILE: &str = "npm/lib/utils/config/definitions.js";
/// No file of interest is larger.
const MAX_FILE: u64 = 1 << 20;

/// What the installed pips say: address and file. The first that says anything decides.
pub(super) fn installed_pypi(settings: &Settings) -> Option<(String, String)> {
    let mut dirs = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for prefix in settings.prefixes() {
        let libraries = settings.folders(&format!("{prefix}/lib"));
        for library in libraries.iter().filter(|library| library.contains("/python3")) {
            dirs.extend([format!("{library}/site-packages"), format!("{library}/dist-packages")]);
        }
    }
    dirs.iter().map(|dir| format!("{dir}/{PIP_FILE}")).find_map(|path| {
        let url = pypi_in(&settings.text(&path)?)?;
        Some((url, format!("pip's default, {path}")))
    })
}

/// What the installed npms say: address and file.
pub(super) fn installed_npm(settings: &Settings) -> Option<(String, String)> {
    let mut paths = vec![
        format!("/usr/share/nodejs/npm/node_modules/{NPM_FILE}"),
        format!("/usr/share/nodejs/{NPM_FILE}"),
        format!("/usr/share/nodejs/{NPM9_FILE}"),
    ];
    for prefix in settings.prefixes() {
        paths.push(format!("{prefix}/lib/node_modules/npm/node_modules/{NPM_FILE}"));
        paths.push(format!("{prefix}/lib/node_modules/{NPM9_FILE}"));
    }
    paths.into_iter().find_map(|path| {
        let url = npm_in(&settings.text(&path)?)?;
        Some((url, format!("npm's default, {path}")))
    })
}

/// The default index of the pip inside Debian's package `python3-pip`.
pub(super) fn pypi_from_deb(deb: &[u8]) -> Option<String> {
    pypi_in(&member(deb, PIP_FILE)?)
}

fn pypi_in(text: &str) -> Option<String> {
    let rest = text.split_once("\nPyPI = PackageIndex(")?.1;
    let base = rest.trim_start().strip_prefix(['"', '\''])?.split(['"', '\'']).next()?;
    base.starts_with("https://").then(|| format!("{}/simple/", base.trim_end_matches('/')))
}

fn npm_in(text: &str) -> Option<String> {
    let rest = text.split_once("'registry', {")?.1;
    let rest = rest.trim_start().strip_prefix("default:")?;
    let base = rest.trim_start().strip_prefix(['"', '\'', '`'])?.split(['"', '\'', '`']).next()?;
    base.starts_with("https://").then(|| base.to_owned())
}

/// The text of the first file in a .deb's data whose path ends with `suffix`.
fn member(deb: &[u8], suffix: &str) -> Option<String> {
    let mut archive = ar::Archive::new(deb);
    while let Some(Ok(entry)) = archive.next_entry() {
        let name = entry.header().identifier().to_vec();
        let data: Box<dyn Read> = match name.as_slice() {
            b"data.tar.xz" => Box::new(liblzma::read::XzDecoder::new(entry)),
            b"data.tar.zst" => Box::new(zstd::Decoder::new(entry).ok()?),
            b"data.tar.gz" => Box::new(flate2::read::GzDecoder::new(entry)),
            b"data.tar" => Box::new(entry),
            _ => continue,
        };
        let mut tar = tar::Archive::new(data);
        for file in tar.entries().ok()? {
            let file = file.ok()?;
            let path = file.path_bytes();
            if path.ends_with(format!("/{suffix}").as_bytes()) {
                let mut text = String::new();
                file.take(MAX_FILE).read_to_string(&mut text).ok()?;
                return Some(text);
            }
        }
    }
    None
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    pypi_from_deb(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    pypi_in(text);
    npm_in(text);
}
