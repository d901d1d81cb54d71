//! `overlays/debian/`: what scripts do that the model cannot read, and the ids of packages' users.
//!
//! `ids.toml` holds `[ids]`, a table from name to number. Every other file declares one package:
//!
//! ```toml
//! package = "linux-image-*-amd64"     # default: the file's name; one '*' for what varies
//!
//! [[script]]
//! name = "postinst"
//! sha256 = ["..."]                    # of the hand-written part, see `Parts::digest`
//! reason = "why these actions and no others"
//! actions = [{ link = { path = "/vmlinuz", to = "boot/vmlinuz-{*}-amd64" } }]
//!
//! [[discard]]                         # what scripts that are run leave, and the image must not have
//! paths = ["/var/lib/mysql/*"]        # '*' stands for anything
//! reason = "why not"
//!
//! [[later]]                           # what the box makes: scripts of others find empty files there, the image has none
//! paths = ["/etc/x/key.pem"]
//! reason = "who makes it when"
//!
//! [[published]]                       # what looks like a secret, and everybody has it
//! paths = ["/usr/share/doc/x/*.key"]
//! reason = "who has it from where"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::debian::scripts::{Action, Stage};
use crate::digest::{Digest, Hasher};

/// All declarations.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    packages: Vec<Declared>,
    ids: BTreeMap<String, u32>,
    digest: Option<Digest>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeclarationError {
    /// The operating system refused.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Clone, Debug)]
struct Declared {
    pattern: String,
    scripts: Vec<ScriptWire>,
    discards: Vec<PathsWire>,
    later: Vec<PathsWire>,
    published: Vec<PathsWire>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    package: Option<String>,
    #[serde(default)]
    script: Vec<ScriptWire>,
    #[serde(default)]
    discard: Vec<PathsWire>,
    #[serde(default)]
    later: Vec<PathsWire>,
    #[serde(default)]
    published: Vec<PathsWire>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathsWire {
    paths: Vec<String>,
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptWire {
    name: StageWire,
    sha256: Vec<Digest>,
    reason: String,
    /// Kept as TOML until `{*}` has its value.
    #[serde(default)]
    actions: Vec<toml::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StageWire {
    Preinst,
    Postinst,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdsWire {
    ids: BTreeMap<String, u32>,
}

/// What is declared about one script of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    /// The digests of hand-written parts it speaks of.
    pub(super) digests: Vec<Digest>,
    /// What they do.
    pub(super) actions: Vec<Action>,
}

impl Declarations {
    /// Reads every `.toml` file of a folder.
    ///
    /// # Errors
    /// The first that cannot be read or used.
    pub fn load(dir: &Path) -> Result<Self, DeclarationError> {
        let read = |path: &Path, source| DeclarationError::Read { path: path.to_owned(), source };
        let entries = fs::read_dir(dir).map_err(|source| read(dir, source))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
        paths.sort();
        let mut all = Self::default();
        let mut hasher = Hasher::new();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|source| read(&path, source))?;
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            hasher.field(name).field(&text);
            let added = all.add(name, &text);
            added.map_err(|why| DeclarationError::Bad { path: path.clone(), why })?;
        }
        all.digest = Some(hasher.finish());
        Ok(all)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        if name == "ids" {
            let wire: IdsWire = toml::from_str(text).map_err(|error| error.to_string())?;
            self.ids = wire.ids;
            return Ok(());
        }
        let wire: FileWire = toml::from_str(text).map_err(|error| error.to_string())?;
        let pattern = wire.package.unwrap_or_else(|| name.to_owned());
        let FileWire { script: scripts, discard: discards, later, published, .. } = wire;
        let declared = Declared { pattern, scripts, discards, later, published };
        // A mistake in an action is found now, not when the package is next used.
        for script in &declared.scripts {
            script.actions("1")?;
            if script.reason.trim().is_empty() {
                return Err("a script's reason is empty".to_owned());
            }
        }
        for (what, list) in [
            ("discard", &declared.discards),
            ("later", &declared.later),
            ("published", &declared.published),
        ] {
            for PathsWire { paths, reason } in list {
                if reason.trim().is_empty() {
                    return Err(format!("the reason of a [[{what}]] is empty"));
                }
                if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
                    return Err(format!(
                        "the path \"{path}\" of a [[{what}]] does not begin with /"
                    ));
                }
            }
        }
        self.packages.push(declared);
        Ok(())
    }

    /// Patterns of what scripts of these packages make, and the image is not to have; without leading slash.
    pub(super) fn discards<'a>(
        &self,
        packages: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<&str> {
        self.paths(packages, |declared| &declared.discards)
    }

    /// Paths at which scripts find empty files where these packages are, as the box makes them; without leading slash.
    pub(super) fn later<'a>(&self, packages: impl Iterator<Item = &'a str> + Clone) -> Vec<&str> {
        self.paths(packages, |declared| &declared.later)
    }

    /// Patterns of what looks like a secret in these packages, and everybody has; without leading slash.
    pub(super) fn published<'a>(
        &self,
        packages: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<&str> {
        self.paths(packages, |declared| &declared.published)
    }

    fn paths<'a>(
        &self,
        packages: impl Iterator<Item = &'a str> + Clone,
        list: impl Fn(&Declared) -> &[PathsWire],
    ) -> Vec<&str> {
        let theirs = |declared: &&Declared| {
            let fits =
                |name| declared.pattern == name || varying(&declared.pattern, name).is_some();
            packages.clone().any(fits)
        };
        let lists = self.packages.iter().filter(theirs).flat_map(list);
        lists.flat_map(|wire| &wire.paths).map(|path| path.trim_start_matches('/')).collect()
    }

    /// Changes when any declaration does.
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| Digest::of(b""))
    }

    /// The fixed ids of users and groups.
    pub(super) fn ids(&self) -> &BTreeMap<String, u32> {
        &self.ids
    }

    /// What is declared of a package's script, and the part of the package's name that varies.
    pub(super) fn find(
        &self,
        package: &str,
        stage: Stage,
    ) -> Result<(Option<Declaration>, Option<String>), String> {
        let exact = self.packages.iter().find(|declared| declared.pattern == package);
        let declared = match exact {
            Some(declared) => Some((declared, None)),
            None => self.packages.iter().find_map(|declared| {
                varying(&declared.pattern, package).map(|varying| (declared, Some(varying)))
            }),
        };
        let Some((declared, varying)) = declared else { return Ok((None, None)) };
        let wanted = match stage {
            Stage::Preinst => StageWire::Preinst,
            Stage::Postinst | Stage::Triggered => StageWire::Postinst,
        };
        let script = declared.scripts.iter().find(|script| script.name == wanted);
        let declaration = script.map(|script| {
            let actions = script.actions(varying.as_deref().unwrap_or_default())?;
            Ok::<_, String>(Declaration { digests: script.sha256.clone(), actions })
        });
        Ok((declaration.transpose()?, varying))
    }
}

impl ScriptWire {
    fn actions(&self, varying: &str) -> Result<Vec<Action>, String> {
        let filled = self.actions.iter().map(|action| {
            let mut action = action.clone();
            fill(&mut action, varying);
            let text = action.to_string();
            action.try_into().map_err(|error: toml::de::Error| format!("action {text}: {error}"))
        });
        filled.collect()
    }
}

/// What `*` stands for when `pattern` fits `name`: a digit, then letters, digits, `.`, `+` and `~`.
fn varying(pattern: &str, name: &str) -> Option<String> {
    let (before, after) = pattern.split_once('*')?;
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~');
    let fits = middle.starts_with(|c: char| c.is_ascii_digit()) && middle.chars().all(fits);
    fits.then(|| middle.to_owned())
}

fn fill(value: &mut toml::Value, varying: &str) {
    match value {
        toml::Value::String(text) => *text = text.replace("{*}", varying),
        toml::Value::Array(items) => items.iter_mut().for_each(|item| fill(item, varying)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, item)| fill(item, varying)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_version() {
        let fits = |name| varying("linux-image-*-amd64", name);
        assert_eq!(fits("linux-image-6.12.1+deb13-amd64").as_deref(), Some("6.12.1+deb13"));
        assert_eq!(fits("linux-image-amd64"), None);
        assert_eq!(fits("linux-image-6.12-cloud-amd64"), None);
        assert_eq!(varying("postgresql-client-*", "postgresql-client-common"), None);
        assert_eq!(varying("linux-image-amd64", "linux-image-amd64"), None);
    }

    #[test]
    fn mistakes_are_found_when_loading() {
        let head = "[[script]]\nname = \"postinst\"\nsha256 = []\nreason = \"r\"\n";
        let add = |text: String| Declarations::default().add("pkg", &text);
        assert_eq!(add(format!("{head}actions = [{{ group = \"a\" }}]")), Ok(()));
        for bad in [
            format!("{head}actions = [{{ grupp = \"a\" }}]"),
            format!("{head}actions = [{{ link = {{ path = \"/a\" }} }}]"),
            format!("{head}aktions = []"),
            head.replace("\"r\"", "\" \""),
            head.replace("postinst", "postrm"),
        ] {
            assert!(add(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_declared_of_packages_that_are_there() {
        let mut all = Declarations::default();
        let lists = |path: &str| {
            ["discard", "later", "published"]
                .map(|what| format!("[[{what}]]\npaths = [\"/{what}/{path}\"]\nreason = \"r\"\n"))
        };
        assert_eq!(all.add("one", &lists("1").concat()), Ok(()));
        assert_eq!(all.add("two", &lists("2").concat()), Ok(()));
        assert_eq!(all.discards(["two", "three"].into_iter()), ["discard/2"]);
        assert_eq!(all.later(["one"].into_iter()), ["later/1"]);
        assert_eq!(all.published(["one", "two"].into_iter()), ["published/1", "published/2"]);
        for text in lists("3") {
            for bad in [text.replace("\"r\"", "\" \""), text.replace("\"/", "\"")] {
                assert!(all.add("bad", &bad).is_err(), "{bad}");
            }
        }
    }
}
