//! Sizes and durations, written for people: `50 MiB`, `90 d`.

/// A kind of quantity.
pub(super) struct Quantity {
    /// `a size`
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    /// Units by name, with their value; the larger of two that fit a number is the last.
    units: &'static [(&'static str, i64)],
}

/// What is wrong with a text, and what to do.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
}

const KB: i64 = 1000;
const KIB: i64 = 1024;

/// Bytes.
pub(super) const SIZE: Quantity = Quantity {
    what: "a size",
    example: "\"50 MiB\"",
    units: &[
        ("B", 1),
        ("kB", KB),
        ("KiB", KIB),
        ("MB", KB * KB),
        ("MiB", KIB * KIB),
        ("GB", KB * KB * KB),
        ("GiB", KIB * KIB * KIB),
        ("TB", KB * KB * KB * KB),
        ("TiB", KIB * KIB * KIB * KIB),
    ],
};

/// Seconds.
pub(super) const DURATION: Quantity = Quantity {
    what: "a duration",
    example: "\"5 min\"",
    units: &[("s", 1), ("min", 60), ("h", 3600), ("d", 86_400)],
};

impl Quantity {
    /// Bytes or seconds; a space before the unit may be missing.
    pub(super) fn parse(&self, text: &str) -> Result<i64, Wrong> {
        let units: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        let help = format!("write a whole number and a unit ({})", units.join(", "));
        let wrong = |help: String| Wrong { message: format!("must be {}", self.what), help };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        if number.is_empty() {
            return Err(wrong(help));
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            let near =
                units.iter().find(|name| !unit.is_empty() && name.eq_ignore_ascii_case(unit));
            let near = near.map(|near| format!("did you mean \"{number} {near}\"?"));
            return Err(wrong(near.unwrap_or(help)));
        };
        let large = || Wrong {
            message: "is too large".to_owned(),
            help: "write a smaller number".to_owned(),
        };
        number.parse::<i64>().ok().and_then(|n| n.checked_mul(*factor)).ok_or_else(large)
    }

    /// In the largest unit that leaves a whole number.
    pub(super) fn show(&self, value: i64) -> String {
        let fits = |(_, factor): &&(&str, i64)| value != 0 && value % factor == 0;
        let (unit, factor) = self.units.iter().rev().find(fits).unwrap_or(&self.units[0]);
        format!("{} {unit}", value / factor)
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for kind in [&SIZE, &DURATION] {
        _ = kind.parse(text).is_ok_and(|number| number >= 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(kind: &Quantity, text: &str) -> Option<i64> {
        kind.parse(text).ok()
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512 B", 512),
            ("1 KiB", 1024),
            ("50 MiB", 50 << 20),
            ("50MiB", 50 << 20),
            ("2 GB", 2_000_000_000),
            ("0 B", 0),
            ("3 TiB", 3 << 40),
        ] {
            assert_eq!(parse(&SIZE, text), Some(bytes), "{text}");
        }
        for text in ["", "5", "MiB", "5  MiB", " 5 MiB", "5 mib", "-1 B", "1.5 GiB", "9000000 TiB"]
        {
            assert_eq!(parse(&SIZE, text), None, "{text}");
        }
        assert_eq!(SIZE.parse("5 mib").err().unwrap().help, "did you mean \"5 MiB\"?");
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("60 s", 60), ("5 min", 300), ("2h", 7200), ("90 d", 7_776_000)] {
            assert_eq!(parse(&DURATION, text), Some(seconds), "{text}");
        }
        assert_eq!(parse(&DURATION, "5 m"), None);
    }

    #[test]
    fn what_is_shown_reads_the_same() {
        for text in ["512 B", "64 MiB", "2 GB", "1 TiB"] {
            assert_eq!(SIZE.show(SIZE.parse(text).ok().unwrap()), text);
        }
        assert_eq!(DURATION.show(90), "90 s");
        assert_eq!(DURATION.show(86_400), "1 d");
        assert_eq!(SIZE.show(0), "0 B");
    }
}
