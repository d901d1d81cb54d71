//! A difference for people: short.

use indicatif::HumanBytes;

use super::{About, Configuration, Difference};
use crate::deliver::preview::{Change, Kind, section};

/// Most lines of differing text that are shown; all of them are in the page and the JSON.
const MOST_TEXT: usize = 120;

/// What to print.
pub fn lines(difference: &Difference) -> Vec<String> {
    let Difference { from, to, .. } = difference;
    let mut lines = vec![format!("image {} -> {}", from.id, to.id)];
    if from.appliance != to.appliance {
        lines.push(format!("  of {} -> {}", from.appliance, to.appliance));
    }
    if difference.is_empty() {
        lines.push("nothing differs".to_owned());
        return lines;
    }
    lines.push(size(from, to));
    section(&mut lines, "packages", &difference.packages);
    section(&mut lines, "units", &difference.units);
    section(&mut lines, "users", &difference.users);
    section(&mut lines, "groups", &difference.groups);
    section(&mut lines, "open ports", &difference.ports);
    configuration(&mut lines, &difference.configuration);
    let files = difference.files.iter().filter(|file| !file.path.starts_with("/etc/"));
    let change = |file: &super::FileChange| Change {
        name: match file.differs.join(", ") {
            what if what.is_empty() || what == "contents" => file.path.clone(),
            what => format!("{} ({what})", file.path),
        },
        change: file.change,
        from: None,
        to: None,
    };
    section(&mut lines, "other files", &files.map(change).collect::<Vec<_>>());
    lines
}

fn size(from: &About, to: &About) -> String {
    let change = |a: u64, b: u64| match (a, b) {
        (a, b) if b >= a => format!("+{}", HumanBytes(b - a)),
        (a, b) => format!("-{}", HumanBytes(a - b)),
    };
    format!(
        "size: {} -> {} ({}); {} -> {} files, {} -> {} in them",
        HumanBytes(from.root),
        HumanBytes(to.root),
        change(from.root, to.root),
        from.files,
        to.files,
        HumanBytes(from.bytes),
        HumanBytes(to.bytes),
    )
}

fn configuration(lines: &mut Vec<String>, all: &[Configuration]) {
    let change = |file: &Configuration| Change {
        name: match file.notes.join("; ") {
            notes if notes.is_empty() => file.path.clone(),
            notes => format!("{} ({notes})", file.path),
        },
        change: file.change,
        from: None,
        to: None,
    };
    section(lines, "configuration", &all.iter().map(change).collect::<Vec<_>>());
    // Of what is new or gone the name says it.
    let changed = all.iter().filter(|file| file.change == Kind::Changed && !file.hunks.is_empty());
    let mut text = Vec::new();
    for file in changed {
        text.push(format!("  {}", file.path));
        for hunk in &file.hunks {
            text.push(format!("    {}", hunk.heading()));
            text.extend(hunk.lines.iter().map(|line| format!("    {}", printable(line))));
        }
    }
    let more = text.len().saturating_sub(MOST_TEXT);
    text.truncate(MOST_TEXT);
    lines.extend(text);
    if more > 0 {
        lines.push(format!("  and {more} more lines; --html and --json have all"));
    }
}

/// An image may come from elsewhere: nothing in it gets at the terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{FileChange, hunks};

    fn about(id: &str, root: u64) -> About {
        About {
            id: id.to_owned(),
            appliance: "chat.example".to_owned(),
            epoch: 0,
            root,
            files: 3,
            bytes: 1024,
        }
    }

    pub fn sample() -> Difference {
        let change = |name: &str, change, from: Option<&str>, to: Option<&str>| Change {
            name: name.to_owned(),
            change,
            from: from.map(ToOwned::to_owned),
            to: to.map(ToOwned::to_owned),
        };
        let file = |path: &str, change, differs: &[&'static str]| FileChange {
            path: path.to_owned(),
            change,
            differs: differs.to_vec(),
            from: None,
            to: None,
        };
        Difference {
            from: about("a", 2048),
            to: about("b", 1024),
            packages: vec![change("nginx", Kind::Changed, Some("1"), Some("2"))],
            configuration: vec![Configuration {
                path: "/etc/motd".to_owned(),
                change: Kind::Changed,
                notes: vec!["mode 0644 -> 0600".to_owned()],
                hunks: hunks("hello\n", "hello\u{1b}[2J <you>\n"),
            }],
            units: vec![],
            users: vec![change("eve", Kind::Added, None, Some("uid 7"))],
            groups: vec![],
            ports: vec![change("443/tcp", Kind::Removed, None, None)],
            files: vec![
                file("/etc/motd", Kind::Changed, &["contents", "mode"]),
                file("/usr/bin/x", Kind::Changed, &["contents", "owner"]),
                file("/usr/bin/y", Kind::Added, &[]),
            ],
        }
    }

    #[test]
    fn a_difference_is_short_and_harmless() {
        assert_eq!(
            lines(&sample()).join("\n"),
            "image a -> b\nsize: 2.00 KiB -> 1.00 KiB (-1.00 KiB); 3 -> 3 files, 1.00 KiB -> 1.00 KiB in them\n\
             packages: 1 changed\n  ~ nginx 1 -> 2\nunits: no changes\nusers: 1 new\n  + eve uid 7\n\
             groups: no changes\nopen ports: 1 gone\n  - 443/tcp\nconfiguration: 1 changed\n  \
             ~ /etc/motd (mode 0644 -> 0600)\n  /etc/motd\n    @@ -1,1 +1,1 @@\n    -hello\n    +hello\u{fffd}[2J <you>\n\
             other files: 1 new, 1 changed\n  ~ /usr/bin/x (contents, owner)\n  + /usr/bin/y"
        );
    }

    #[test]
    fn the_same_image_has_no_differences() {
        let none = Difference {
            packages: vec![],
            configuration: vec![],
            users: vec![],
            ports: vec![],
            files: vec![],
            ..sample()
        };
        assert_eq!(lines(&none), ["image a -> b", "nothing differs"]);
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_is_harmless() {
        let page = crate::compare::page(&sample()).expect("a page");
        assert!(page.contains("&lt;you&gt;") && !page.contains("<you>"), "{page}");
        for word in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        for word in ["nginx", "/etc/motd", "443/tcp", "/usr/bin/y", "eve", "mode 0644"] {
            assert!(page.replace("&#x2f;", "/").contains(word), "{word}");
        }
        assert_eq!(page, crate::compare::page(&sample()).expect("a page"));
    }
}
