//! Whose public keys the first administrator has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::appliance::check_key;

/// Keys that ssh offers by itself (ssh_config(5), IdentityFile). Others are for something else: a deployment, a phone.
const USUAL: [&str; 5] =
    ["id_ed25519.pub", "id_ed25519_sk.pub", "id_ecdsa.pub", "id_ecdsa_sk.pub", "id_rsa.pub"];

/// A file of keys is not one.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is no key.
    #[error("{}:{line}: {message}\n  help: {help}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// It has none.
    #[error("{}: there is no public key in it, which would be a line such as those of ~/.ssh/*.pub", .0.display())]
    None(PathBuf),
}

/// The public keys of a file, one a line; empty lines and those with # are left out.
///
/// # Errors
/// It cannot be read, has none, or has something else.
pub fn read(path: &Path) -> Result<Vec<String>, KeysError> {
    let read = |source| KeysError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    if text.contains("PRIVATE KEY") {
        let (message, help) = check_key(&text).err().unwrap_or_default();
        return Err(KeysError::Line { path: path.to_owned(), line: 1, message, help });
    }
    let mut keys = Vec::new();
    for (line, key) in (1..).zip(text.lines().map(str::trim)) {
        if key.is_empty() || key.starts_with('#') {
            continue;
        }
        let wrong =
            |(message, help)| KeysError::Line { path: path.to_owned(), line, message, help };
        check_key(key).map_err(wrong)?;
        keys.push(key.to_owned());
    }
    if keys.is_empty() { Err(KeysError::None(path.to_owned())) } else { Ok(keys) }
}

/// The files of a home's `.ssh` that have a public key which ssh offers by itself, with that.
pub fn of_user(home: &Path) -> Vec<(PathBuf, String)> {
    let files = USUAL.iter().map(|name| home.join(".ssh").join(name));
    files
        .filter_map(|path| Some((read(&path).ok()?.into_iter().next()?, path)))
        .map(|(key, path)| (path, key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFbfE9mvYB5sMSFtYlnAYhBhwyyNOTTk3LJxfoI7jXgN me@laptop";

    #[test]
    fn keys_are_read_and_anything_else_is_told() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("keys");
        let outcome = |text: &str| {
            fs::write(&path, text).expect("write");
            read(&path)
                .map_err(|error| error.to_string().replace(&path.display().to_string(), "keys"))
        };
        assert_eq!(outcome(&format!("# mine\n\n{KEY}\n")), Ok(vec![KEY.to_owned()]));
        let none = outcome("# none\n").expect_err("none");
        assert!(none.starts_with("keys: there is no public key in it"), "{none}");
        let wrong = outcome(&format!("{KEY}\nssh-dss AAAA\n")).expect_err("wrong");
        assert!(
            wrong.starts_with("keys:2: \"ssh-dss\" is not a type of public keys\n  help: "),
            "{wrong}"
        );
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n";
        let wrong = outcome(private).expect_err("private");
        assert!(wrong.starts_with("keys:1: this is a private key\n  help: "), "{wrong}");
    }

    #[test]
    fn of_a_users_keys_those_are_taken_that_ssh_offers() {
        let home = tempfile::tempdir().expect("dir");
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).expect("folder");
        for name in ["id_rsa", "id_ed25519.pub", "deploy.pub"] {
            fs::write(ssh.join(name), KEY).expect("write");
        }
        fs::write(ssh.join("id_rsa.pub"), "nonsense").expect("write");
        assert_eq!(of_user(home.path()), [(ssh.join("id_ed25519.pub"), KEY.to_owned())]);
    }
}
