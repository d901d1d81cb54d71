//! Which versions the programs have whose data have a format, and which the oldest are that read what they write.

use std::collections::BTreeMap;

use crate::appliance::Plan;
use crate::lock::{Group, Lock};

/// By name: the locked version, and the oldest that reads what it writes.
pub type Formats = BTreeMap<String, (String, String)>;

/// A format is declared wrongly.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Nothing has its version.
    #[error(
        "overlays/{overlay}/overlay.toml: [formats.{name}]: the image has no package \"{package}\"\n  help: name the wheel \
         or Debian package of appliance.lock whose version counts"
    )]
    Unknown {
        /// Whose.
        overlay: String,
        /// Which.
        name: String,
        /// What it names.
        package: String,
    },
    /// Nobody could read it, not even the program itself.
    #[error(
        "overlays/{overlay}/overlay.toml: [formats.{name}]: safe-back-to is {safe_back_to}, but {package} itself is only \
         {version}\n  help: name the oldest version that can read what this one writes"
    )]
    Newer {
        /// Whose.
        overlay: String,
        /// Which.
        name: String,
        /// The package.
        package: String,
        /// Its locked version.
        version: String,
        /// What is declared.
        safe_back_to: String,
    },
}

/// What the overlays declare, with the lock's versions.
///
/// # Errors
/// A package is not in the lock, or older than what is declared of it.
pub fn formats(plan: &Plan, lock: &Lock) -> Result<Formats, FormatError> {
    let mut found = Formats::new();
    for overlay in &plan.overlays {
        for format in &overlay.formats {
            let (overlay, name) = (overlay.name.clone(), format.name.clone());
            let (package, safe_back_to) = (format.package.clone(), format.safe_back_to.clone());
            let Some(version) = version(lock, &package) else {
                return Err(FormatError::Unknown { overlay, name, package });
            };
            if numbers(version) < numbers(&safe_back_to) {
                let version = version.to_owned();
                return Err(FormatError::Newer { overlay, name, package, version, safe_back_to });
            }
            found.insert(name, (version.to_owned(), safe_back_to));
        }
    }
    Ok(found)
}

/// Of a wheel, or else of a Debian package of the image.
fn version<'a>(lock: &'a Lock, package: &str) -> Option<&'a str> {
    let wheel = lock.wheels.iter().find(|wheel| wheel.name == package);
    let deb = || {
        let in_image = |deb: &&crate::lock::Deb| deb.groups.contains(&Group::Image);
        lock.debs.iter().filter(in_image).find(|deb| deb.name == package)
    };
    wheel.map(|wheel| &*wheel.version).or_else(|| deb().map(|deb| &*deb.version))
}

/// The dotted numbers at the start of a version, Debian's epoch left out, zeros at the end too.
pub fn numbers(version: &str) -> Vec<u64> {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers: Vec<u64> =
        version[..end].split('.').map_while(|number| number.parse().ok()).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, expected) in [
            ("1.163.2", &[1, 163, 2][..]),
            ("17.12-0+deb13u1", &[17, 12]),
            ("1:9.20.0~rc1", &[9, 20]),
            ("1.100.0", &[1, 100]),
            ("", &[]),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
        assert!(numbers("1.98") < numbers("1.163.2") && numbers("1.100") >= numbers("1.100.0"));
    }
}
