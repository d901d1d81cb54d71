//! Which kernel modules the initrd takes, and in which order they load.
//!
//! ```text
//! modules.dep      kernel/fs/ext4/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz
//! modules.softdep  softdep ext4 pre: crypto-crc32c
//! modules.alias    alias crypto-crc32c crc32c_generic
//! modules.builtin  kernel/fs/efivarfs/efivarfs.ko
//! ```
//!
//! Source: man pages modules.dep(5), modprobe.d(5). `-` and `_` are the same in a module's name.

use std::collections::{BTreeMap, BTreeSet};

/// A kernel's module indexes.
#[derive(Debug)]
pub struct Index<'a> {
    /// Path and dependencies by name.
    modules: BTreeMap<String, (&'a str, Vec<String>)>,
    /// What should be loaded before, by name.
    soft: BTreeMap<String, Vec<String>>,
    /// Modules by alias, as written.
    aliases: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

impl<'a> Index<'a> {
    /// Reads the four files.
    pub fn parse(dep: &'a str, softdep: &str, alias: &str, builtin: &str) -> Self {
        let modules = dep.lines().filter_map(|line| {
            let (path, needs) = line.split_once(':')?;
            Some((name_of(path), (path, needs.split_whitespace().map(name_of).collect())))
        });
        let mut aliases: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in alias.lines() {
            if let ["alias", alias, name] = line.split_whitespace().collect::<Vec<_>>()[..] {
                aliases.entry(normal(alias)).or_default().push(normal(name));
            }
        }
        let soft = softdep.lines().filter_map(parse_softdep).collect();
        let builtin = builtin.lines().map(name_of).collect();
        Self { modules: modules.collect(), soft, aliases, builtin }
    }

    /// The paths of the wanted modules and all they need, each after what it needs.
    ///
    /// # Errors
    /// The name of a module that the kernel neither has nor is built with.
    pub fn order(&self, wanted: &[&str]) -> Result<Vec<&'a str>, String> {
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for name in wanted {
            self.visit(&normal(name), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<&'a str>,
    ) -> Result<(), String> {
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let (path, needs) = self.modules.get(name).ok_or_else(|| name.to_owned())?;
        // A soft dependency may be an alias of several modules, or of none on this kernel.
        for soft in self.soft.get(name).into_iter().flatten() {
            let named = std::slice::from_ref(soft).iter().filter(|s| self.modules.contains_key(*s));
            for name in named.chain(self.aliases.get(soft).into_iter().flatten()) {
                self.visit(name, seen, order)?;
            }
        }
        // Named from the nearest need to the furthest.
        for need in needs.iter().rev() {
            self.visit(need, seen, order)?;
        }
        order.push(path);
        Ok(())
    }
}

fn parse_softdep(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.split_whitespace();
    (words.next()? == "softdep").then_some(())?;
    let name = normal(words.next()?);
    let before = words
        .skip_while(|word| *word != "pre:")
        .skip(1)
        .take_while(|word| *word != "post:")
        .map(normal);
    Some((name, before.collect()))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module at `path`: the last component up to `.ko`.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split_once(".ko").map_or(file, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "k/ext4.ko.xz: k/mbcache.ko.xz k/jbd2.ko.xz\nk/mbcache.ko.xz:\nk/jbd2.ko.xz:\n\
        k/crc32c-intel.ko.xz:\nk/crc32c_generic.ko.xz:\nk/a.ko: k/b.ko k/c.ko\nk/b.ko: k/c.ko\nk/c.ko:\n";
    const SOFT: &str =
        "# comment\nsoftdep ext4 pre: crypto-crc32c post: a\nsoftdep b pre: nothing-such";
    const ALIAS: &str = "alias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\n";

    #[test]
    fn a_module_comes_after_all_it_needs() {
        let index = Index::parse(DEP, SOFT, ALIAS, "kernel/x/built-in.ko\n");
        for (wanted, order) in [
            (&["a"][..], &["k/c.ko", "k/b.ko", "k/a.ko"][..]),
            (&["c", "a", "c"], &["k/c.ko", "k/b.ko", "k/a.ko"]),
            (&["built_in"], &[]),
            (&["crc32c_intel"], &["k/crc32c-intel.ko.xz"]),
            (
                &["ext4"],
                &[
                    "k/crc32c-intel.ko.xz",
                    "k/crc32c_generic.ko.xz",
                    "k/jbd2.ko.xz",
                    "k/mbcache.ko.xz",
                    "k/ext4.ko.xz",
                ],
            ),
        ] {
            assert_eq!(index.order(wanted).expect("known"), order, "{wanted:?}");
        }
    }

    #[test]
    fn an_unknown_module_is_named() {
        let index = Index::parse(DEP, SOFT, ALIAS, "");
        assert_eq!(index.order(&["c", "no-such"]), Err("no_such".to_owned()));
    }

    #[test]
    fn a_circle_ends() {
        let index = Index::parse("a.ko: b.ko\nb.ko: a.ko\n", "", "", "");
        assert_eq!(index.order(&["a"]).expect("ends"), ["b.ko", "a.ko"]);
    }
}
