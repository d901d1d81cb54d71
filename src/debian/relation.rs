//! Relations between packages: `Depends`, `Pre-Depends`, `Conflicts`, `Breaks`, `Provides`.
//!
//! ```text
//! field = group { "," group }      group = relation { "|" relation }
//! relation = name [ ":" arch ] [ "(" op version ")" ]      op = << <= = >= >>
//! ```
//!
//! Source: Debian Policy 7.1, `deb-control(5)`. Binary packages have no `[arch]` or `<profile>`
//! parts.

use std::cmp::Ordering;
use std::fmt;

use super::version::{Version, VersionError};

/// One package asked for, or one provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package or virtual package.
    pub name: &'a str,
    /// What follows the name's colon.
    pub arch: ArchQualifier,
    /// What its version must be.
    pub version: Option<(Operator, Version<'a>)>,
}

/// The architecture a relation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchQualifier {
    /// None, or this one by name: a package of `amd64` or `all`.
    Native,
    /// `:any`: only a `Multi-Arch: allowed` package will do.
    Any,
    /// Another architecture, of which no package exists here.
    Foreign,
}

/// How versions compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// Alternatives, of which one is enough, the first preferred.
pub type OrGroup<'a> = Vec<Relation<'a>>;

/// Why a field cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelationError {
    /// Not of the form above.
    #[error("'{0}' is not a relation: name [:arch] [(<<|<=|=|>=|>> version)]")]
    Syntax(String),
    /// The part in parentheses is not a version.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl Operator {
    /// Whether `found` is what `(self wanted)` asks for.
    pub fn accepts(self, found: &Version<'_>, wanted: &Version<'_>) -> bool {
        let order = found.cmp(wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    fn split(text: &str) -> Option<(Self, &str)> {
        // Two-letter operators first; the ambiguous "<" and ">" of old are gone from the archive.
        let table = [
            ("<<", Self::Earlier),
            ("<=", Self::EarlierOrEqual),
            (">=", Self::LaterOrEqual),
            (">>", Self::Later),
            ("=", Self::Equal),
        ];
        table.iter().find_map(|&(sign, operator)| Some((operator, text.strip_prefix(sign)?)))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl<'a> Relation<'a> {
    /// Reads one relation.
    pub fn parse(text: &'a str) -> Result<Self, RelationError> {
        let syntax = || RelationError::Syntax(text.trim().escape_debug().to_string());
        let (head, version) = match text.split_once('(') {
            Some((head, rest)) => {
                let inside = rest.trim_end().strip_suffix(')').ok_or_else(syntax)?;
                let (operator, version) = Operator::split(inside.trim()).ok_or_else(syntax)?;
                (head.trim(), Some((operator, Version::parse(version.trim())?)))
            }
            None => (text.trim(), None),
        };
        let (name, arch) = match head.split_once(':') {
            None => (head, ArchQualifier::Native),
            Some((name, "amd64" | "native")) => (name, ArchQualifier::Native),
            Some((name, "any")) => (name, ArchQualifier::Any),
            Some((name, arch)) if is_package_name(arch) => (name, ArchQualifier::Foreign),
            Some(_) => return Err(syntax()),
        };
        is_package_name(name).then_some(Self { name, arch, version }).ok_or_else(syntax)
    }

    /// Whether `version` is what the relation asks for.
    pub fn accepts(&self, version: &Version<'_>) -> bool {
        self.version.is_none_or(|(operator, wanted)| operator.accepts(version, &wanted))
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        f.write_str(match self.arch {
            ArchQualifier::Native => "",
            ArchQualifier::Any => ":any",
            ArchQualifier::Foreign => " (of another architecture)",
        })?;
        self.version.map_or(Ok(()), |(operator, version)| write!(f, " ({operator} {version})"))
    }
}

/// Reads a whole field; an empty one has no groups.
pub fn parse_field(text: &str) -> Result<Vec<OrGroup<'_>>, RelationError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|group| group.split('|').map(Relation::parse).collect()).collect()
}

/// Two or more of `a-z 0-9 + - .`, a letter or digit first (Policy 5.6.1).
pub fn is_package_name(text: &str) -> bool {
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() >= 2
        && lower(text.as_bytes()[0])
        && text.bytes().all(|c| lower(c) || b"+-.".contains(&c))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_and_prints_the_same() {
        for text in [
            "libc6 (>= 2.38)",
            "python3:any (<< 3.14~)",
            "a1 (= 1:2-3)",
            "g++ (>> 4)",
            "x.y (<= 0~)",
        ] {
            assert_eq!(Relation::parse(text).unwrap().to_string(), text);
        }
        let groups =
            parse_field(" awk , default-mta|mail-transport-agent,libc6( >=2.38 ) ").unwrap();
        let printed: Vec<Vec<String>> =
            groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        let expected =
            [vec!["awk"], vec!["default-mta", "mail-transport-agent"], vec!["libc6 (>= 2.38)"]];
        assert_eq!(printed, expected);
        assert_eq!(parse_field(" ").unwrap(), Vec::<OrGroup>::new());
    }

    #[test]
    fn architectures_are_told_apart() {
        let arch = |text| Relation::parse(text).unwrap().arch;
        assert_eq!(arch("perl:amd64"), ArchQualifier::Native);
        assert_eq!(arch("perl:native"), ArchQualifier::Native);
        assert_eq!(arch("perl:any"), ArchQualifier::Any);
        assert_eq!(arch("perl:i386"), ArchQualifier::Foreign);
    }

    #[test]
    fn operators_compare() {
        let accepts = |text, version| {
            Relation::parse(text).unwrap().accepts(&Version::parse(version).unwrap())
        };
        for (text, versions) in [
            ("aa (<< 2)", [true, false, false]),
            ("aa (<= 2)", [true, true, false]),
            ("aa (= 2)", [false, true, false]),
            ("aa (>= 2)", [false, true, true]),
            ("aa (>> 2)", [false, false, true]),
            ("aa", [true, true, true]),
        ] {
            assert_eq!(["1", "2", "3"].map(|version| accepts(text, version)), versions, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "A",
            "a",
            "",
            "aa,,bb",
            "aa |",
            "aa (2)",
            "aa (< 2)",
            "aa (>= 2",
            "aa >= 2",
            "aa (>= 2) x",
            "aa:",
            "aa:b c",
            "aa (>= 2_3)",
            "aa [amd64]",
            "../x",
            "aa\0",
        ] {
            assert!(parse_field(bad).is_err() || bad.is_empty(), "{bad}");
        }
    }
}
