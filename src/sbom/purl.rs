//! Package URLs (ECMA-427, <https://github.com/package-url/purl-spec>): how programs know a package.

/// A Debian package. `source`: name and version of what it was built from, if they differ; the qualifier that scanners of holes
/// look at. `release`: `13`.
pub fn deb(
    name: &str,
    version: &str,
    arch: &str,
    source: Option<(&str, &str)>,
    release: &str,
) -> String {
    let mut purl = format!("pkg:deb/debian/{}@{}?arch={arch}", coded(name), coded(version));
    if !release.is_empty() {
        purl += &format!("&distro=debian-{release}");
    }
    if let Some((name, version)) = source {
        purl += &format!("&upstream={}", coded(&format!("{name}@{version}")));
    }
    purl
}

/// A Python package, by its normalised name.
pub fn wheel(name: &str, version: &str) -> String {
    format!("pkg:pypi/{}@{}", coded(name), coded(version))
}

/// An npm package, perhaps with a scope.
pub fn npm(name: &str, version: &str) -> String {
    let name = match name.split_once('/') {
        Some((scope, name)) => format!("{}/{}", coded(scope), coded(name)),
        None => coded(name),
    };
    format!("pkg:npm/{name}@{}", coded(version))
}

/// Percent-encoded, but for the colon.
fn coded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    let code =
        |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_the_specification_has_it() {
        let plain = deb("bash", "5.2.37-2+b5", "amd64", None, "13");
        assert_eq!(plain, "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64&distro=debian-13");
        let source = deb("libstdc++6", "1:2~3", "amd64", Some(("gcc-14", "14.2.0-19")), "");
        let expected = "pkg:deb/debian/libstdc%2B%2B6@1:2~3?arch=amd64&upstream=gcc-14%4014.2.0-19";
        assert_eq!(source, expected);
        assert_eq!(npm("@matrix-org/olm", "3.2.8"), "pkg:npm/%40matrix-org/olm@3.2.8");
        assert_eq!(wheel("zope-interface", "8.0+x"), "pkg:pypi/zope-interface@8.0%2Bx");
    }
}
