//! Small text: `{{variable}}`, durations, shell words.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a test knows by name.
pub(super) type Variables = BTreeMap<String, String>;

/// Variables that every test has.
pub(super) const GIVEN: [&str; 3] = ["domain", "admin", "ssh_port"];

/// A part of a text with variables.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain(&'a str),
    Variable(&'a str),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, tail)| Some((before, tail.split_once("}}")?)))
    {
        parts.extend([Part::Plain(before), Part::Variable(name.trim())]);
        rest = after;
    }
    parts.push(Part::Plain(rest));
    parts
}

/// The names of the variables that `text` uses.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Variable(name) => Some(name),
        Part::Plain(_) => None,
    })
}

/// `text` with each `{{name}}` replaced by its value; what is put in is not looked at again.
/// The error is the name of a variable that there is not.
pub(super) fn fill(text: &str, variables: &Variables) -> Result<String, String> {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Plain(text) => Ok(text),
            Part::Variable(name) => {
                variables.get(name).map(String::as_str).ok_or_else(|| name.to_owned())
            }
        })
        .collect()
}

/// Whether `name` can be a variable's: small letters, digits, `_`, beginning with a letter.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// "15 min", "2 s", "500 ms", "1 h".
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_millis)
}

/// A duration for people: "4.2 s", "10 min".
pub(super) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, seconds % 60) {
        (120.., 0) => format!("{} min", seconds / 60),
        (120.., rest) => format!("{} min {rest} s", seconds / 60),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `text` as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `text` with `most` characters at most, the middle left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{start} […] {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let variables = [("a", "{{b}}"), ("b", "2")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for (text, wanted) in [
            ("", Ok("")),
            ("no braces", Ok("no braces")),
            ("x{{a}}y{{ b }}", Ok("x{{b}}y2")),
            ("{{a", Ok("{{a")),
            ("a}}{{b}}", Ok("a}}2")),
            ("${#x} {%", Ok("${#x} {%")),
            ("{{c}}", Err("c")),
            ("{{}}", Err("")),
        ] {
            let filled = fill(text, &variables);
            assert_eq!(filled.as_deref().map_err(|name| name.as_str()), wanted, "{text}");
        }
        assert_eq!(names("{{a}} {{b}}").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, wanted) in [
            ("15 min", Some(900_000)),
            ("2 s", Some(2000)),
            ("500 ms", Some(500)),
            ("1 h", Some(3_600_000)),
            ("15", None),
            ("15min", None),
            ("-1 s", None),
            ("1 week", None),
            ("99999999999999999 h", None),
        ] {
            assert_eq!(duration(text), wanted.map(Duration::from_millis), "{text}");
        }
        let shown: Vec<_> = [1500, 60_000, 600_000, 135_000]
            .map(|ms| super::shown(Duration::from_millis(ms)))
            .into();
        assert_eq!(shown, ["1.5 s", "60.0 s", "10 min", "2 min 15 s"]);
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shortened("abcdefgh", 4), "ab […] gh");
    }
}
