//! Files that are written whole or not at all: under another name, synced, and renamed to their own.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Who may read such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone.
    Owner,
    /// Whom the umask lets: as any file that the user makes.
    Umask,
    /// Everybody, and nobody writes to it.
    ReadOnly,
}

/// How files begin that are under way beside their places.
pub(crate) const UNDER_WAY: &str = ".tmp";

/// A file that is to come into the place of what has its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<'a> {
    /// Its name.
    pub(crate) path: &'a Path,
    /// Where it is until it is whole: a folder of the same file system.
    pub(crate) work: &'a Path,
    /// How it is called there.
    pub(crate) prefix: &'a str,
    /// Who may read it.
    pub(crate) access: Access,
}

impl<'a> Whole<'a> {
    /// Made beside its place.
    pub(crate) fn beside(path: &'a Path, access: Access) -> Self {
        Self { path, work: parent(path), prefix: UNDER_WAY, access }
    }

    /// Writes these bytes.
    pub(crate) fn write(self, bytes: &[u8]) -> io::Result<()> {
        self.write_with(|error| error, |file| file.write_all(bytes))
    }

    /// Has somebody write it. Whatever fails, what was there is still there, and nothing is left besides.
    pub(crate) fn write_with<E>(
        self,
        failed: impl Fn(io::Error) -> E,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { path, work, prefix, access } = self;
        let mut options = tempfile::Builder::new();
        options.prefix(prefix);
        if access == Access::Umask {
            options.permissions(Permissions::from_mode(0o666));
        }
        let mut file = options.tempfile_in(work).map_err(&failed)?;
        write(file.as_file_mut())?;
        if access == Access::ReadOnly {
            file.as_file().set_permissions(Permissions::from_mode(0o444)).map_err(&failed)?;
        }
        file.as_file().sync_all().map_err(&failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        File::open(parent(path)).and_then(|dir| dir.sync_all()).map_err(&failed)
    }
}

/// The folder that a file lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays_and_nothing_is_left() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("file");
        let names = || fs::read_dir(dir.path()).expect("lists").count();
        let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        for (access, expected) in [(Access::ReadOnly, 0o444), (Access::Owner, 0o600)] {
            Whole::beside(&path, access).write(b"whole").expect("writes");
            assert_eq!((mode(), names()), (expected, 1));
        }
        Whole::beside(&path, Access::Umask).write(b"as any other").expect("writes");
        fs::write(dir.path().join("other"), "").expect("writes");
        let other = fs::metadata(dir.path().join("other")).expect("a file").permissions().mode();
        assert_eq!((mode(), names()), (other & 0o777, 2));
        let stopped = Whole::beside(&path, Access::Owner).write_with(
            |error| error.to_string(),
            |file| {
                file.write_all(b"half").expect("writes");
                Err("the user stopped it".to_owned())
            },
        );
        assert_eq!(stopped, Err("the user stopped it".to_owned()));
        assert_eq!(fs::read(&path).expect("reads"), b"as any other");
        assert_eq!(names(), 2);
        let nowhere = dir.path().join("none/file");
        assert!(Whole::beside(&nowhere, Access::Owner).write(b"").is_err());
    }
}
