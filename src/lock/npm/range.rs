//! Versions and ranges as npm reads them (node-semver's grammar, without its loose mode).
//!
//! ```text
//! range  ::= set ( '||' set )*          set ::= hyphen | part ( ' ' part )*
//! hyphen ::= partial ' - ' partial      part ::= [ '<' '>' '<=' '>=' '=' '~' '^' ] partial
//! partial ::= x [ '.' x [ '.' x [ '-' pre ] [ '+' build ] ] ]      x ::= number | 'x' | 'X' | '*'
//! ```
//! <https://github.com/npm/node-semver#ranges>

use std::cmp::Ordering;
use std::fmt;

/// A part of a pre-release: numbers come before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

/// A version; what stands behind `+` is not kept, as it has no rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

impl Version {
    /// Parses a full version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let partial = Partial::parse(text.trim().trim_start_matches(['v', '=']))?;
        let numbers = [partial.numbers[0]?, partial.numbers[1]?, partial.numbers[2]?];
        Some(Self { numbers, pre: partial.pre })
    }

    pub(super) fn is_pre(&self) -> bool {
        !self.pre.is_empty()
    }

    fn new(numbers: [u64; 3]) -> Self {
        Self { numbers, pre: Vec::new() }
    }

    /// The least version with these numbers, before even its pre-releases.
    fn floor(numbers: [u64; 3]) -> Self {
        Self { numbers, pre: vec![Identifier::Number(0)] }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre.cmp(&other.pre),
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, identifier) in self.pre.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match identifier {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Text(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

/// A version of which parts may be left open.
struct Partial {
    numbers: [Option<u64>; 3],
    pre: Vec<Identifier>,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split('+').next()?;
        let (core, pre) =
            text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [None; 3];
        let mut open = core.is_empty();
        for (index, part) in core.split('.').filter(|_| !core.is_empty()).enumerate() {
            let slot = numbers.get_mut(index)?;
            if matches!(part, "x" | "X" | "*") {
                open = true;
            } else {
                let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                let number = if digits { part.parse().ok() } else { None };
                // What stands behind an open part is open too, whatever it says.
                *slot = Some(number?).filter(|_| !open);
            }
        }
        let pre = match pre {
            Some(pre) if numbers[2].is_some() => {
                pre.split('.').map(identifier).collect::<Option<_>>()?
            }
            Some(_) if !open && numbers[2].is_none() => return None,
            _ => Vec::new(),
        };
        Some(Self { numbers, pre })
    }

    fn lowest(&self) -> Version {
        Version { numbers: self.numbers.map(|n| n.unwrap_or(0)), pre: self.pre.clone() }
    }

    /// The numbers of the first version after all that this stands for; `None`: there is none.
    fn after(&self) -> Option<[u64; 3]> {
        match self.numbers {
            [None, ..] => None,
            [Some(major), None, _] => Some([major.saturating_add(1), 0, 0]),
            [Some(major), Some(minor), _] => Some([major, minor.saturating_add(1), 0]),
        }
    }

    /// The numbers that `^` stops at: the leftmost that is not zero moves.
    fn caret(&self) -> Option<[u64; 3]> {
        match self.numbers {
            [Some(0), Some(0), Some(patch)] => Some([0, 0, patch.saturating_add(1)]),
            [Some(0), Some(minor), _] => Some([0, minor.saturating_add(1), 0]),
            [Some(major), ..] => Some([major.saturating_add(1), 0, 0]),
            [None, ..] => None,
        }
    }
}

fn identifier(text: &str) -> Option<Identifier> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || !text.bytes().all(known) {
        return None;
    }
    Some(match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Identifier::Number(number),
        _ => Identifier::Text(text.to_owned()),
    })
}

#[derive(Clone, Debug)]
enum Bound {
    Less(Version),
    AtMost(Version),
    AtLeast(Version),
    More(Version),
}

impl Bound {
    fn holds(&self, version: &Version) -> bool {
        match self {
            Self::Less(bound) => version < bound,
            Self::AtMost(bound) => version <= bound,
            Self::AtLeast(bound) => version >= bound,
            Self::More(bound) => version > bound,
        }
    }

    fn version(&self) -> &Version {
        let (Self::Less(v) | Self::AtMost(v) | Self::AtLeast(v) | Self::More(v)) = self;
        v
    }
}

/// A range of versions.
#[derive(Clone, Debug)]
pub(super) struct Range(Vec<Vec<Bound>>);

impl Range {
    /// Parses a range. `None`: it is something else (a tag, an address).
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.split("||").map(set).collect::<Option<_>>().map(Self)
    }

    /// Whether a version lies in the range. A pre-release does only if the range names one of the
    /// same three numbers.
    pub(super) fn contains(&self, version: &Version) -> bool {
        self.0.iter().any(|bounds| {
            let named = |bound: &Bound| {
                bound.version().is_pre() && bound.version().numbers == version.numbers
            };
            bounds.iter().all(|bound| bound.holds(version))
                && (!version.is_pre() || bounds.iter().any(named))
        })
    }
}

fn set(text: &str) -> Option<Vec<Bound>> {
    if let Some((low, high)) = text.split_once(" - ") {
        let (low, high) = (Partial::parse(low.trim())?, Partial::parse(high.trim())?);
        let mut bounds = vec![Bound::AtLeast(low.lowest())];
        bounds.extend(at_most(&high));
        return Some(bounds);
    }
    let mut bounds = Vec::new();
    let mut operator = String::new();
    for word in text.split_whitespace() {
        let start = word.find(|c: char| !"<>=~^".contains(c)).unwrap_or(word.len());
        operator.push_str(&word[..start]);
        // `>= 1.2` has a space behind its operator.
        if start < word.len() {
            bounds.extend(part(&operator, &Partial::parse(&word[start..])?)?);
            operator.clear();
        }
    }
    operator.is_empty().then_some(bounds)
}

fn at_most(partial: &Partial) -> Option<Bound> {
    match partial.numbers[2] {
        Some(_) => Some(Bound::AtMost(partial.lowest())),
        None => partial.after().map(|after| Bound::Less(Version::floor(after))),
    }
}

fn part(operator: &str, partial: &Partial) -> Option<Vec<Bound>> {
    let low = partial.lowest();
    let exact = partial.numbers[2].is_some();
    let until = |end: Option<[u64; 3]>| end.map(|end| Bound::Less(Version::floor(end)));
    let from = |end: Option<[u64; 3]>| {
        std::iter::once(Bound::AtLeast(low.clone())).chain(until(end)).collect()
    };
    Some(match operator {
        "" | "=" if exact => vec![Bound::AtLeast(low.clone()), Bound::AtMost(low)],
        "" | "=" => from(partial.after()),
        "~" | "~>" => from(partial.after()),
        "^" => from(partial.caret()),
        ">=" => vec![Bound::AtLeast(low)],
        "<=" => at_most(partial).into_iter().collect(),
        "<" if exact => vec![Bound::Less(low)],
        "<" => vec![Bound::Less(Version::floor(low.numbers))],
        ">" if exact => vec![Bound::More(low)],
        ">" => match partial.after() {
            Some(after) => vec![Bound::AtLeast(Version::new(after))],
            // Nothing is more than everything.
            None => vec![Bound::Less(Version::floor([0, 0, 0]))],
        },
        _ => return None,
    })
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, "1.2.3"));
    let version = Version::parse(second);
    if let (Some(range), Some(version)) = (Range::parse(first), &version) {
        range.contains(version);
    }
    if let Some(version) = version {
        assert_eq!(Version::parse(&version.to_string()).as_ref(), Some(&version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn versions_are_ordered_as_semver_says() {
        let order = [
            "0.0.0-0",
            "0.9.9",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.10",
            "1.1.0",
            "10.0.0",
        ];
        assert!(order.map(version).is_sorted_by(|a, b| a < b));
        assert!(order.iter().all(|text| version(text).to_string() == *text));
        assert_eq!(version("v1.2.3+build"), version("1.2.3"));
        for bad in
            ["", "1", "1.2", "1.2.x", "1.2.3.4", "1.2.3-", "1.2.3-é", "a.b.c", "1.2.-3", "1..2"]
        {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ranges_hold_what_npm_says_they_do() {
        for (range, inside, outside) in [
            ("1.2.3", "1.2.3", "1.2.4 1.2.3-a 1.2.2"),
            ("=1.2.3", "1.2.3", "1.2.4"),
            ("v1.2", "1.2.0 1.2.9", "1.3.0 1.1.9 1.3.0-a"),
            ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0 2.0.0-a 1.3.0-a 1.2.3-a"),
            ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2 0.3.0-0"),
            ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
            ("^0.0", "0.0.0 0.0.9", "0.1.0"),
            ("^0", "0.0.0 0.9.0", "1.0.0"),
            ("^0.3", "0.3.0 0.3.1", "0.4.0 0.2.9"),
            ("^1.2.3-b.2", "1.2.3-b.2 1.2.3-b.11 1.2.3 1.5.0", "1.2.3-a 1.2.4-b.9"),
            (">=1.0.0-0", "1.0.0-a 1.0.0 2.0.0", "2.0.0-a 0.9.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"),
            ("~1.2", "1.2.0 1.2.9", "1.3.0"),
            ("~1", "1.0.0 1.9.9", "2.0.0"),
            ("~0", "0.0.0 0.9.9", "1.0.0"),
            ("1.x", "1.0.0 1.9.0", "2.0.0 0.9.0"),
            ("1.2.*", "1.2.0 1.2.5", "1.3.0"),
            ("*", "0.0.0 9.9.9", "1.0.0-a"),
            ("", "0.0.0 9.9.9", "1.0.0-a"),
            (">=1.2.3 <2", "1.2.3 1.9.9", "2.0.0 1.2.2 2.0.0-a"),
            (">= 1.2 <= 1.4", "1.2.0 1.4.9", "1.5.0 1.1.9"),
            (">1.2", "1.3.0", "1.2.9 1.2.0"),
            (">1.2.3", "1.2.4", "1.2.3"),
            ("<1.2", "1.1.9", "1.2.0"),
            (">*", "", "0.0.0 1.0.0"),
            ("1.2.3 - 2.3.4", "1.2.3 2.3.4", "1.2.2 2.3.5"),
            ("1.2 - 2", "1.2.0 2.9.9", "1.1.9 3.0.0"),
            ("^1 || ^3.1", "1.5.0 3.1.0", "2.0.0 3.0.9"),
            ("<1.0.0||>=2", "0.5.0 2.0.0", "1.0.0"),
        ] {
            let parsed = Range::parse(range).unwrap_or_else(|| panic!("{range}"));
            for (texts, expected) in [(inside, true), (outside, false)] {
                for text in texts.split_whitespace() {
                    assert_eq!(parsed.contains(&version(text)), expected, "{text} in {range}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_range_is_told_apart() {
        for bad in [
            "latest",
            "git+https://example.org/x",
            "file:../x",
            "npm:other@^1",
            "user/repo",
            "^",
            "1.2.3.4",
            ">>1",
            "https://example.org/x.tgz",
            "^1.2.3 ||| 2",
            "1.2-beta",
            "é",
        ] {
            assert!(Range::parse(bad).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_makes_it_panic(text in "[0-9xvX*.|<>=~^ ab+-]{0,30}", raw in ".{0,40}") {
            for text in [text, raw] {
                if let Some(range) = Range::parse(&text) {
                    range.contains(&version("1.2.3-a"));
                }
            }
        }
    }
}
