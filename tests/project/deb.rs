//! A small package of a test's own, made by dpkg-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use chatimg::lock::{Deb, DebArchive, Group};
use chatimg::store::Store;

pub struct OwnDeb<'a> {
    pub name: &'a str,
    pub depends: &'a str,
    /// Maintainer scripts and other members of the control archive: names, contents.
    pub members: &'a [(&'a str, String)],
    pub files: &'a [(&'a str, &'a str)],
}

impl OwnDeb<'_> {
    /// The same bytes each time, in the store, as a lock has it.
    pub fn make(&self, store: &Store) -> Deb {
        let work = tempfile::tempdir().expect("temporary folder");
        let (name, depends) = (self.name, self.depends);
        let control = format!(
            "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
             Depends: {depends}\nDescription: a package of a test\n"
        );
        let chmod = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        };
        let put = |path: &str, text: &str| {
            let path = work.path().join("deb").join(path);
            let folders = path.ancestors().skip(1).take_while(|&folder| folder != work.path());
            let folders: Vec<_> = folders.collect();
            fs::create_dir_all(folders[0]).expect("folders");
            // Whatever the umask is.
            folders.iter().for_each(|folder| chmod(folder, 0o755));
            fs::write(&path, text).expect("written");
            chmod(&path, if text.starts_with("#!") { 0o755 } else { 0o644 });
        };
        put("DEBIAN/control", &control);
        self.members.iter().for_each(|(member, text)| put(&format!("DEBIAN/{member}"), text));
        self.files.iter().for_each(|(path, text)| put(path, text));
        let made = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build", "deb", "own.deb"])
            .env("SOURCE_DATE_EPOCH", "1")
            .current_dir(work.path())
            .output()
            .expect("dpkg-deb");
        assert!(made.status.success(), "{}", super::text(&made.stderr));
        let bytes = fs::read(work.path().join("own.deb")).expect("the .deb");
        Deb {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            arch: "all".to_owned(),
            archive: DebArchive::Debian,
            path: format!("pool/{name}_1.0_all.deb"),
            size: bytes.len() as u64,
            digest: store.add_blob(&bytes).expect("added"),
            groups: [Group::Image].into(),
        }
    }
}
