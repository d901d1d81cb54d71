//! Splits a script into debhelper's fragments and what is written by hand.
//!
//! ```text
//! # Automatically added by dh_installsystemd/13.24.2
//! ...
//! # End automatically added section
//! ```

use crate::digest::Digest;

/// A script taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What debhelper generated.
    pub fragments: Vec<Fragment>,
    /// The other lines with their 1-based numbers.
    pub rest: Vec<(usize, &'a str)>,
}

/// One generated part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `dh_installsystemd`
    pub helper: String,
    /// The line its text begins on, 1-based.
    pub line: usize,
    /// The lines between the marks.
    pub text: String,
}

/// Takes a script apart. A fragment without end is hand-written.
pub fn split(text: &str) -> Parts<'_> {
    let mut parts = Parts { fragments: Vec::new(), rest: Vec::new() };
    let lines: Vec<_> = text.lines().collect();
    let mut at = 0;
    while let Some(&line) = lines.get(at) {
        let helper = line.strip_prefix("# Automatically added by ");
        let end = lines[at..].iter().position(|line| *line == "# End automatically added section");
        if let (Some(helper), Some(length)) = (helper, end) {
            let helper = helper.split('/').next().unwrap_or(helper).trim().to_owned();
            let text = lines[at + 1..at + length].join("\n");
            parts.fragments.push(Fragment { helper, line: at + 2, text });
            at += length + 1;
        } else {
            parts.rest.push((at + 1, line));
            at += 1;
        }
    }
    parts
}

impl Parts<'_> {
    /// The digest that a declaration pins: of the hand-written lines without comments, blank lines and
    /// trailing space. `varying` is a part of the package's name that changes between versions of
    /// it (`6.12.117+deb13`), and is replaced by `{*}`.
    pub fn digest(&self, varying: Option<&str>) -> Digest {
        // A comment in a here-document is contents.
        let keep_comments = self.rest.iter().any(|(_, line)| line.contains("<<"));
        let mut text = String::new();
        for (_, line) in &self.rest {
            let line = line.trim_end();
            let bare = line.trim_start();
            if bare.is_empty() || (bare.starts_with('#') && !keep_comments) {
                continue;
            }
            match varying {
                Some(varying) => text.push_str(&line.replace(varying, "{*}")),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        Digest::of(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/bin/sh\nset -e\n# Automatically added by dh_x/13\na\nb\n\
        # End automatically added section\nexit 0\n";

    #[test]
    fn fragments_and_the_rest_keep_their_line_numbers() {
        let parts = split(SCRIPT);
        let fragment = Fragment { helper: "dh_x".into(), line: 4, text: "a\nb".into() };
        assert_eq!(parts.fragments, [fragment]);
        assert_eq!(parts.rest, [(1, "#!/bin/sh"), (2, "set -e"), (7, "exit 0")]);
    }

    #[test]
    fn the_digest_sees_code_and_not_comments_or_fragments() {
        let digest = |text: &str| split(text).digest(None);
        let same = SCRIPT.replace("set -e", "# a comment\n\nset -e  ").replace("a\nb", "c");
        assert_eq!(digest(SCRIPT), digest(&same));
        assert_ne!(digest(SCRIPT), digest(&SCRIPT.replace("exit 0", "exit 1")));
        let here = "cat <<E\n# text\nE\n";
        assert_ne!(digest(here), digest(&here.replace("# text", "# other")));
    }

    #[test]
    fn a_varying_part_of_the_name_leaves_the_digest_as_it_is() {
        let digest = |version: &str| split(&format!("depmod {version}\n")).digest(Some(version));
        assert_eq!(digest("6.12.1"), digest("6.12.2"));
    }

    #[test]
    fn a_fragment_without_end_is_hand_written() {
        let parts = split("# Automatically added by dh_x/13\na\n");
        assert!(parts.fragments.is_empty());
        assert_eq!(parts.rest.len(), 2);
    }
}
