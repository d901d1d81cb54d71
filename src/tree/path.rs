//! Paths inside a tree: relative to its root, normalised, unable to leave it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// A normalised path below a tree's root: `etc/ssh/sshd_config`; no leading or trailing slash, no
/// empty, `.` or `..` component, no NUL or newline; at most 4095 bytes, each component at most 255.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

/// The text cannot name something inside a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("path {path:?} {why}")]
pub struct PathError {
    /// The path as it was given.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl TreePath {
    /// Takes an archive's spelling (`./usr/bin/`, `/usr/bin`, `usr/bin`) and normalises it.
    /// `None` stands for the root itself.
    ///
    /// # Errors
    /// The path holds `..`, a NUL or a newline, or is too long.
    pub fn from_archive(text: &str) -> Result<Option<Self>, PathError> {
        let error = |why| PathError { path: text.to_owned(), why };
        if text.contains(['\0', '\n']) {
            return Err(error("holds a NUL or a line break"));
        }
        let mut out = String::with_capacity(text.len());
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return Err(error("leaves its root by '..'"));
            }
            if part.len() > 255 {
                return Err(error("has a component of over 255 bytes"));
            }
            if !out.is_empty() {
                out.push('/');
            }
            out.push_str(part);
        }
        if out.len() > 4095 {
            return Err(error("is over 4095 bytes long"));
        }
        Ok((!out.is_empty()).then_some(Self(out)))
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that holds this entry; `None` when that is the root.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The path of `name` below this one.
    ///
    /// # Errors
    /// As [`TreePath::from_archive`].
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        format!("{self}/{name}").parse()
    }
}

impl FromStr for TreePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_archive(text)?
            .ok_or_else(|| PathError { path: text.to_owned(), why: "names the root itself" })
    }
}

impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_spellings_are_normalised() {
        for (given, wanted) in [
            ("./usr/bin/", Some("usr/bin")),
            ("/usr//bin", Some("usr/bin")),
            ("usr/./bin", Some("usr/bin")),
            ("./", None),
            ("/", None),
        ] {
            let path = TreePath::from_archive(given).expect(given);
            assert_eq!(path.as_ref().map(TreePath::as_str), wanted, "{given}");
        }
    }

    #[test]
    fn paths_that_escape_or_cannot_be_written_down_are_refused() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(2100);
        for bad in ["../etc/passwd", "usr/../../x", "a\0b", "a\nb", &long, &deep] {
            assert!(TreePath::from_archive(bad).is_err(), "{bad:?}");
        }
    }
}
