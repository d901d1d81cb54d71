//! What an archive holds besides inputs: the project, chatimg itself, and words for whoever finds it years later.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::ArchiveError;
use crate::digest::Digest;
use crate::lock::Lock;

/// `README.txt`.
pub(super) const ABOUT: &str = "\
An archive made by `chatimg archive`: all that it takes to build some disk images again, without a network.

sha256/     the inputs (Debian packages, Python wheels, npm packages, ...), each named by the SHA-256 of its bytes
index.tsv   what each of them is, and which locks need it
locks/      the locks: exactly which inputs an image is made of
projects/   what each lock is of, as a tar file; the text beside it says how to build the image again
programs/   chatimg itself, for x86-64 Linux, compressed by gzip
SHA256SUMS  of all files; `sha256sum --check --quiet SHA256SUMS` in this folder finds what is damaged or missing

Any web server can serve this folder as it is: CHATIMG_ARCHIVE, or `archive` below [sources] in
~/.config/chatimg/config.toml, takes the folder or its address. Whatever comes from it is compared with the lock.

`chatimg archive --check FOLDER` says what is damaged or missing and who needs it; `chatimg archive FOLDER` in a project
adds what the archive lacks, and puts what is damaged right.
";

/// A project, to be archived with its lock.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    /// `appliance.toml`; the lock and the overlays lie beside it.
    pub appliance: &'a Path,
    /// The id of the image that it makes, if that is known.
    pub image: Option<&'a str>,
}

/// What a project consists of besides appliance.toml and its lock. No `host.toml`, which has a box's secrets, and no images.
const FOLDERS: [&str; 2] = ["overlays", "qemu-tests"];

impl Project<'_> {
    /// The archive's files of it: names and contents. `known`: whether a file is there already.
    pub(super) fn files(
        &self,
        name: &str,
        lock_stem: &str,
        lock: &Lock,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let tar = self.tar(name, lock)?;
        let stem = format!("projects/{name}-{}", Digest::of(&tar).short());
        let exe = Path::new("/proc/self/exe"); // Even if another one has its name by now.
        let program = fs::read(exe).map_err(ArchiveError::io("reading", exe))?;
        let version = env!("CARGO_PKG_VERSION");
        let program_name =
            format!("programs/chatimg-{version}-{}.gz", Digest::of(&program).short());
        let words = self.words(name, lock_stem, lock, (&stem, &program_name));
        let mut files =
            vec![(format!("{stem}.tar"), tar), (format!("{stem}.txt"), words.into_bytes())];
        if !known(&program_name) {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            let packed = gzip.write_all(&program).and_then(|()| gzip.finish());
            files.push((program_name, packed.map_err(ArchiveError::io("compressing", exe))?));
        }
        Ok(files)
    }

    /// The project as a tar file that depends on nothing but names, contents, and who may execute what.
    fn tar(&self, name: &str, lock: &Lock) -> Result<Vec<u8>, ArchiveError> {
        let dir = self.appliance.parent().unwrap_or(Path::new(""));
        let mut tar = Tar { builder: tar::Builder::new(Vec::new()), top: name.to_owned() };
        tar.folder("")?;
        let file = self.appliance.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read(self.appliance).map_err(ArchiveError::io("reading", self.appliance))?;
        tar.file(&file, &text, false)?;
        let lock_file = Path::new(&file).with_extension("lock");
        tar.file(&lock_file.to_string_lossy(), lock.to_toml().as_bytes(), false)?;
        for folder in FOLDERS {
            if dir.join(folder).is_dir() {
                tar.walk(&dir.join(folder), folder)?;
            }
        }
        tar.builder.into_inner().map_err(ArchiveError::io("packing", dir))
    }

    fn words(
        &self,
        name: &str,
        lock_stem: &str,
        lock: &Lock,
        (stem, program): (&str, &str),
    ) -> String {
        let image = self.image.unwrap_or("not known: it was not built yet when this was written");
        let date = time::OffsetDateTime::from_unix_timestamp(lock.epoch).ok();
        let date = date.map(|time| time.date().to_string()).unwrap_or_default();
        let file = self.appliance.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let option = match file.as_str() {
            "appliance.toml" => String::new(),
            other => format!(" --appliance {other}"),
        };
        format!(
            "project  {stem}.tar\n\
             lock     locks/{lock_stem}.lock, inputs of {date}\n\
             chatimg  {program}, of the sources {source}\n\
             image    {image}\n\n\
             To build that image again, where ARCHIVE is the folder that has all this (or its address, and the files got from there):\n\n    \
             tar -xf $ARCHIVE/{stem}.tar && cd {name}\n    \
             gzip -dc $ARCHIVE/{program} > chatimg && chmod +x chatimg\n    \
             CHATIMG_ARCHIVE=$ARCHIVE ./chatimg{option} build\n\n\
             With that chatimg it is the same image, to the last bit; another one may lay it out otherwise.\n",
            source = &env!("CHATIMG_SOURCE")[..16],
        )
    }
}

/// A tar file of one folder.
struct Tar {
    builder: tar::Builder<Vec<u8>>,
    top: String,
}

impl Tar {
    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.top)
    }

    fn folder(&mut self, name: &str) -> Result<(), ArchiveError> {
        let path = self.path(name);
        let mut header = Self::header(tar::EntryType::Directory, 0o755, 0);
        let appended = self.builder.append_data(&mut header, &path, std::io::empty());
        appended.map_err(ArchiveError::io("packing", Path::new(&path)))
    }

    fn file(&mut self, name: &str, contents: &[u8], executable: bool) -> Result<(), ArchiveError> {
        let path = self.path(name);
        let mode = if executable { 0o755 } else { 0o644 };
        let mut header = Self::header(tar::EntryType::Regular, mode, contents.len() as u64);
        let appended = self.builder.append_data(&mut header, &path, contents);
        appended.map_err(ArchiveError::io("packing", Path::new(&path)))
    }

    fn walk(&mut self, dir: &Path, name: &str) -> Result<(), ArchiveError> {
        self.folder(name)?;
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.map_err(ArchiveError::io("listing", dir))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            let meta = fs::symlink_metadata(&path).map_err(ArchiveError::io("reading", &path))?;
            if meta.is_dir() {
                self.walk(&path, &name)?;
            } else if meta.is_symlink() {
                let to = fs::read_link(&path).map_err(ArchiveError::io("reading", &path))?;
                let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
                let appended = self.builder.append_link(&mut header, self.path(&name), &to);
                appended.map_err(ArchiveError::io("packing", &path))?;
            } else if meta.is_file() {
                let contents = fs::read(&path).map_err(ArchiveError::io("reading", &path))?;
                self.file(&name, &contents, meta.permissions().mode() & 0o100 != 0)?;
            }
        }
        Ok(())
    }
}
