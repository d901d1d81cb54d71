//! The two files of a key pair: `NAME.key`, for its owner alone, and `NAME.pub`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{NotASecretKey, SecretKey};
use crate::failure::IoFailure;

/// Where a secret key is; the public one lies beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// It is not there.
    #[error(
        "reading the owner's key {}: there is none; `chatimg key new` makes one, or name the one whose public half the \
         box has with --key FILE",
        .0.display()
    )]
    Missing(PathBuf),
    /// A new one would take the place of another.
    #[error(
        "making the owner's key {}: there is one already, which boxes may know; move it away if you want a new one",
        .0.display()
    )]
    There(PathBuf),
    /// It cannot be used.
    #[error("reading the owner's key {}: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: NotASecretKey,
    },
    /// Others can read it.
    #[error(
        "reading the owner's key {0}: others can read it (mode {mode:04o}); run `chmod 600 {0}`, and if somebody may have \
         read it, make a new one",
        path.display()
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no chance to be had.
    #[error("making a key: the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    IoFailure::when(doing, path)
}

impl KeyFile {
    /// The secret key is in this file, or will be.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file of the secret key.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of the public key.
    pub fn public_path(&self) -> PathBuf {
        self.path.with_extension("pub")
    }

    /// Reads the secret key.
    ///
    /// # Errors
    /// It is not there, others can read it, or it is no key.
    pub fn read(&self) -> Result<SecretKey, KeyError> {
        let path = &self.path;
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing(path.clone()));
            }
            file => file.map_err(io_error("reading", path))?,
        };
        let mode = file.metadata().map_err(io_error("reading", path))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Shared { path: path.clone(), mode });
        }
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text).map_err(io_error("reading", path))?;
        SecretKey::parse(&text).map_err(|why| KeyError::Bad { path: path.clone(), why })
    }

    /// Makes a new pair; never over another.
    ///
    /// # Errors
    /// There is one, or it cannot be written.
    pub fn create(&self) -> Result<SecretKey, KeyError> {
        let key = SecretKey::new()?;
        let path = &self.path;
        if let Some(dir) = path.parent().filter(|dir| *dir != Path::new("")) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(io_error("creating", dir))?;
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyError::There(path.clone()));
            }
            file => file.map_err(io_error("creating", path))?,
        };
        let written = file.write_all(key.to_file().as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            // Half a key is of no use, and would be in the way of the next try.
            _ = fs::remove_file(path);
            io_error("writing", path)(error)
        })?;
        let public = self.public_path();
        fs::write(&public, key.public().to_file()).map_err(io_error("writing", &public))?;
        Ok(key)
    }

    /// Reads the key, or makes it; and whether it was made.
    ///
    /// # Errors
    /// See [`KeyFile::read`] and [`KeyFile::create`].
    pub fn read_or_create(&self) -> Result<(SecretKey, bool), KeyError> {
        match self.read() {
            Err(KeyError::Missing(_)) => Ok((self.create()?, true)),
            key => Ok((key?, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let file = KeyFile::new(dir.path().join("deep/owner.key"));
        assert!(file.read().expect_err("none").to_string().contains("chatimg key new"));
        let (key, made) = file.read_or_create().expect("makes");
        assert!(made);
        let (again, made) = file.read_or_create().expect("reads");
        assert!(!made);
        assert_eq!(again.public(), key.public());
        let mode = fs::metadata(file.path()).expect("file").mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = fs::read_to_string(file.public_path()).expect("public half");
        assert_eq!(public, key.public().to_file());
        let before = fs::read(file.path()).expect("key");
        assert!(matches!(file.create(), Err(KeyError::There(_))));
        assert_eq!(fs::read(file.path()).expect("key"), before);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let file = KeyFile::new(dir.path().join("owner.key"));
        file.create().expect("makes");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).expect("mode");
        let error = file.read().expect_err("refused").to_string();
        assert!(error.contains("(mode 0640)") && error.contains("chmod 600"), "{error}");
    }
}
