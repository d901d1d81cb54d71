//! What an appliance does not need: manuals, documentation but copyright files, translations; logs and
//! backups that installing leaves. dpkg's lists still name them, as with dpkg's own path-exclude.

use crate::tree::{Node, Tree};

const FOLDERS: [&str; 9] = [
    "usr/share/man",
    "usr/share/info",
    "usr/share/doc-base",
    "usr/share/lintian",
    "usr/share/linda",
    "usr/share/bug",
    "usr/share/groff",
    "usr/share/help",
    "usr/share/gtk-doc",
];
/// Translations that stay: the C locale and what it falls back on.
const LOCALES: [&str; 5] = ["C", "C.UTF-8", "POSIX", "en", "locale.alias"];

/// Takes all of it out of a tree.
pub fn strip(tree: &mut Tree) {
    tree.remove_where(|path, entry| needless(path, entry.node == Node::Dir));
}

fn needless(path: &str, dir: bool) -> bool {
    if dir && FOLDERS.contains(&path) {
        return true;
    }
    if let Some(rest) = path.strip_prefix("usr/share/locale/") {
        return !rest.contains('/') && !LOCALES.contains(&rest);
    }
    if let Some(rest) = path.strip_prefix("usr/share/doc/") {
        // A folder that is a link to another package's has that one's copyright.
        return rest.contains('/') && !dir && !rest.ends_with("/copyright");
    }
    (path.starts_with("etc/") && path.ends_with('-') && !dir)
        || (path.starts_with("var/log/") && !dir)
        || (path.starts_with("var/cache/") && !dir)
        || (path.starts_with("var/lib/dpkg/") && path.ends_with("-old"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Meta};

    #[test]
    fn copyright_files_and_the_c_locale_stay() {
        let mut tree = Tree::new();
        let files = [
            ("usr/share/doc/bash/copyright", true),
            ("usr/share/doc/bash/README.gz", false),
            ("usr/share/doc/bash/examples/x", false),
            ("usr/share/locale/de/LC_MESSAGES/bash.mo", false),
            ("usr/share/locale/en/LC_MESSAGES/bash.mo", true),
            ("usr/share/man/man1/bash.1.gz", false),
            ("usr/bin/bash", true),
            ("etc/passwd", true),
            ("etc/passwd-", false),
            ("var/log/dpkg.log", false),
        ];
        for (path, _) in files {
            let parent = path.rsplit_once('/').expect("a folder").0;
            tree.make_dirs(&parent.parse().expect("path"), 0).expect("folders");
            let entry = Entry { meta: Meta::root(0o644, 0), node: Node::Fifo };
            tree.insert(path.parse().expect("path"), entry).expect(path);
        }
        strip(&mut tree);
        for (path, stays) in files {
            assert_eq!(tree.get(path).is_some(), stays, "{path}");
        }
        assert!(tree.get("var/log").is_some());
    }
}
