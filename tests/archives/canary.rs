//! A folder outside, which everybody may read and write: no archive may change a byte or a date of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub struct Canary {
    pub dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    pub fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("folder")).expect("folder");
        for (name, mode) in [("file", 0o666), ("folder/file", 0o666), ("secret", 0o600)] {
            fs::write(dir.join(name), format!("the canary's {name}\n")).expect("file");
            fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).expect("mode");
        }
        for open in [dir.clone(), dir.join("folder")] {
            fs::set_permissions(open, Permissions::from_mode(0o777)).expect("mode");
        }
        symlink("folder", dir.join("link")).expect("link");
        let before = seen(&dir);
        Self { dir, before }
    }

    pub fn check(&self) {
        assert_eq!(seen(&self.dir), self.before);
    }
}

/// All that stat(2) says of everything in there but when it was read, and the contents.
fn seen(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let it = fs::symlink_metadata(&path).expect("stat");
        let contents = if it.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        all.push(format!(
            "{} {:o} {}:{} {} {} {}.{} {}.{} {:?}",
            path.display(),
            it.mode(),
            it.uid(),
            it.gid(),
            it.ino(),
            it.nlink(),
            it.mtime(),
            it.mtime_nsec(),
            it.ctime(),
            it.ctime_nsec(),
            String::from_utf8(contents).expect("text"),
        ));
        if it.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&path).expect("folder").map(|it| it.expect("entry").path()).collect();
            names.sort();
            todo.extend(names);
        }
    }
    all
}
