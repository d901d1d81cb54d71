//! Licences as their packages state them, as SPDX expressions. What SPDX has no name for becomes a `LicenseRef-`, with the
//! name that the package gives it.

use std::collections::{BTreeMap, BTreeSet};

/// An SPDX expression, and the names behind its `LicenseRef-`s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Licence {
    pub(super) expression: String,
    pub(super) refs: BTreeMap<String, String>,
}

/// Debian's short names (copyright-format 1.0), and what SPDX calls the same. A `+` behind the number is "or later".
const DEBIAN: &[(&str, &str)] = &[
    ("expat", "MIT"),
    ("mit", "MIT"),
    ("mit/x11", "MIT"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("0bsd", "0BSD"),
    ("isc", "ISC"),
    ("zlib", "Zlib"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("unlicense", "Unlicense"),
    ("bsl-1.0", "BSL-1.0"),
    ("curl", "curl"),
    ("postgresql", "PostgreSQL"),
    ("openssl", "OpenSSL"),
    ("psf-2", "PSF-2.0"),
    ("python-2.0", "Python-2.0"),
];
/// Families with versions: Debian's name, SPDX's.
const GNU: &[(&str, &str)] =
    &[("agpl", "AGPL"), ("gpl", "GPL"), ("lgpl", "LGPL"), ("gfdl", "GFDL")];

/// PyPI's classifiers that name one licence.
const CLASSIFIERS: &[(&str, &str)] = &[
    ("MIT License", "MIT"),
    ("BSD License", "BSD-3-Clause"),
    ("Apache Software License", "Apache-2.0"),
    ("ISC License (ISCL)", "ISC"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("Zope Public License", "ZPL-2.1"),
    ("GNU Affero General Public License v3", "AGPL-3.0-only"),
    ("GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL-3.0-or-later"),
];

/// All licences that a machine-readable copyright file names for any file of the package.
pub(super) fn debian(copyright: &str) -> Option<Licence> {
    let mut names = BTreeSet::new();
    if !copyright.trim_start().to_ascii_lowercase().starts_with("format:") {
        return None;
    }
    for line in copyright.lines() {
        let field = line.get(..8).filter(|name| name.eq_ignore_ascii_case("license:"));
        let Some(value) = field.map(|_| line[8..].trim()).filter(|value| !value.is_empty()) else {
            continue;
        };
        // "GPL-2+ or Artistic, and BSD": whoever gets it has all of the texts before them.
        for part in value
            .split([',', '|'])
            .flat_map(|part| part.split(" and "))
            .flat_map(|part| part.split(" or "))
        {
            let part = part
                .trim()
                .trim_start_matches("and ")
                .trim_start_matches("or ")
                .trim_matches(['(', ')'])
                .trim();
            if !part.is_empty() {
                names.insert(part.to_owned());
            }
        }
    }
    all(names.iter().map(String::as_str), "Debian")
}

/// Of a wheel's METADATA.
pub(super) fn python(metadata: &str) -> Option<Licence> {
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| {
        let prefix = format!("{name}: ");
        head.lines()
            .filter_map(move |line| line.strip_prefix(&prefix))
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    if let [expression] = field("License-Expression")[..] {
        return Some(stated(expression));
    }
    let classifiers = field("Classifier");
    let named =
        classifiers.iter().filter_map(|line| line.strip_prefix("License :: OSI Approved :: "));
    let named: Vec<&str> = named.collect();
    let named = if named.is_empty() { field("License") } else { named };
    let names = named.into_iter().map(|name| {
        let found = CLASSIFIERS.iter().find(|(classifier, _)| *classifier == name);
        found.map_or(name, |(_, spdx)| *spdx)
    });
    let names = names.filter(|name| !name.is_empty() && name.len() < 80);
    all(names.collect::<BTreeSet<_>>().into_iter(), "PyPI")
}

/// npm's field: an SPDX expression, says its documentation.
pub(super) fn npm(field: &str) -> Option<Licence> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.+ ()".contains(c);
    let ok = !field.is_empty()
        && field.chars().all(plain)
        && !field.starts_with("SEE ")
        && field != "UNLICENSED";
    match ok {
        true => Some(stated(field)),
        false => all([field].into_iter().filter(|field| !field.is_empty()), "npm"),
    }
}

/// An expression that the package itself has; SPDX wants its `LicenseRef-`s to be told.
fn stated(expression: &str) -> Licence {
    let words = expression.split([' ', '(', ')']);
    let refs = words.filter_map(|word| {
        let name = word.strip_prefix("LicenseRef-")?;
        Some((word.to_owned(), name.to_owned()))
    });
    Licence { expression: expression.to_owned(), refs: refs.collect() }
}

fn all<'a>(names: impl Iterator<Item = &'a str>, whose: &str) -> Option<Licence> {
    let mut refs = BTreeMap::new();
    let mut parts = BTreeSet::new();
    for name in names {
        parts.insert(spdx(name).unwrap_or_else(|| {
            let plain =
                |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' };
            let reference =
                format!("LicenseRef-{whose}-{}", name.chars().map(plain).collect::<String>());
            refs.insert(reference.clone(), name.to_owned());
            reference
        }));
    }
    let expression = parts.into_iter().collect::<Vec<_>>().join(" AND ");
    (!expression.is_empty()).then_some(Licence { expression, refs })
}

/// SPDX's name for one of Debian's, or for one that is SPDX's already.
fn spdx(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, spdx)) = DEBIAN.iter().find(|(debian, _)| *debian == lower) {
        return Some((*spdx).to_owned());
    }
    if CLASSIFIERS.iter().any(|(_, spdx)| *spdx == name) {
        return Some(name.to_owned());
    }
    let (family, version) = lower.rsplit_once('-')?;
    let (_, family) = GNU.iter().find(|(debian, _)| *debian == family)?;
    let (number, later) = match version.strip_suffix('+') {
        Some(number) => (number, "or-later"),
        None => (version, "only"),
    };
    let number = if number.contains('.') { number.to_owned() } else { format!("{number}.0") };
    let known = match *family {
        "AGPL" => &["1.0", "3.0"][..],
        "GPL" => &["1.0", "2.0", "3.0"],
        "LGPL" => &["2.0", "2.1", "3.0"],
        _ => &["1.1", "1.2", "1.3"],
    };
    known.contains(&number.as_str()).then(|| format!("{family}-{number}-{later}"))
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    debian(text);
    python(text);
    npm(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_names_become_those_of_spdx() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ or Artistic\n\
            \nFiles: x\nLicense: Expat\n text\n\nFiles: y\nLicense: LGPL-2.1, and public-domain\n\nLicense: GPL-2+\n text\n";
        let licence = debian(text).expect("licences");
        assert_eq!(
            licence.expression,
            "Artistic-1.0-Perl AND GPL-2.0-or-later AND LGPL-2.1-only AND LicenseRef-Debian-public-domain AND MIT"
        );
        assert_eq!(licence.refs["LicenseRef-Debian-public-domain"], "public-domain");
        assert_eq!(debian("This package was debianized by ..."), None, "not machine-readable");
        assert_eq!(spdx("GPL-9+"), None);
    }

    #[test]
    fn wheels_and_npm_packages_tell_theirs() {
        let python =
            |text: &str| python(text).map(|licence| licence.expression).unwrap_or_default();
        assert_eq!(
            python("Name: a\nLicense-Expression: MIT OR Apache-2.0\nLicense: x\n\nLicense: y\n"),
            "MIT OR Apache-2.0"
        );
        assert_eq!(
            python("Classifier: License :: OSI Approved :: BSD License\nLicense: whatever\n"),
            "BSD-3-Clause"
        );
        assert_eq!(python("License: MIT\n"), "MIT");
        assert_eq!(python("License: My own\n"), "LicenseRef-PyPI-My-own");
        assert_eq!(python("Name: a\n\nLicense: MIT\n"), "");
        assert_eq!(npm("(MIT OR Apache-2.0)").expect("one").expression, "(MIT OR Apache-2.0)");
        assert_eq!(
            npm("SEE LICENSE IN x").expect("one").expression,
            "LicenseRef-npm-SEE-LICENSE-IN-x"
        );
    }
}
