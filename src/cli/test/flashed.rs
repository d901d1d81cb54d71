//! Disks of a test that are flashed, instead of being the image's own files.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::CommandError;
use crate::deliver::device::Machine;
use crate::deliver::flash::{self, FlashError, FlashSpec, Source, Target};
use crate::host::Settings;
use crate::image::BuiltImage;
use crate::minisign::KeyFile;
use crate::vm::{FlashTo, TestSpec};

/// How much larger than the image a disk behind a loop device is.
const MORE: u64 = 1 << 30;
/// What is on such a disk before, at its start and its end.
static OLD: [u8; 1 << 20] = [0xaa; 1 << 20];
const OLD_PARTS: u64 = 64;

/// Flashes the image, with the test's host settings, to files in the test's folder, or to loop devices above such files. The
/// box takes images of a key that is made anew.
pub(super) fn flash(
    image: &BuiltImage,
    test: &TestSpec,
    to: FlashTo,
    work: &Path,
    key: &Path,
) -> Result<Vec<PathBuf>, CommandError> {
    fs::create_dir_all(work)?;
    for old in [key.to_owned(), KeyFile::new(key).public_path()] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    // What a test sets is no secret: it lies in the project.
    let settings = test.host.as_deref().map(Settings::load_open).transpose()?;
    let mut settings = settings.unwrap_or_default();
    settings.set_update_key(&KeyFile::new(key).create()?.public());
    let settings = Some(settings.encode());
    let files: Vec<_> = (1..=image.disks().len())
        .map(|number| work.join(format!("flashed-{number}.img")))
        .collect();
    for file in files.iter().filter(|file| file.exists()) {
        fs::remove_file(file)?;
    }
    let (source, machine) = (Source::open(&image.dir)?, Machine::default());
    let put = |targets: &[Target]| {
        let spec = FlashSpec { source: &source, targets, settings: settings.as_deref() };
        flash::flash(&machine, &spec, &|_| ())
    };
    match to {
        FlashTo::Files => put(&files.iter().cloned().map(Target::File).collect::<Vec<_>>())?,
        FlashTo::Loop => {
            let size = source.size() + MORE;
            let loops = files.iter().map(|file| Loop::above(file, size));
            let loops = loops.collect::<Result<Vec<_>, _>>()?;
            let disks = loops
                .iter()
                .map(|one| Ok(Target::Disk(machine.disk(&one.node).map_err(FlashError::from)?)));
            put(&disks.collect::<Result<Vec<_>, CommandError>>()?)?;
        }
    }
    Ok(files)
}

/// A loop device above a file; gone when this is dropped.
struct Loop {
    node: PathBuf,
}

impl Loop {
    /// Makes the file: a disk that was used before.
    fn above(path: &Path, size: u64) -> Result<Self, CommandError> {
        let file = File::create_new(path)?;
        file.set_len(size)?;
        for at in (0..OLD_PARTS).map(|part| part * OLD.len() as u64) {
            file.write_all_at(&OLD, at)?;
        }
        file.write_all_at(&OLD, size - OLD.len() as u64)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(path).output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim();
            return Err(format!(
                "flashing to a loop device, as this test has it: losetup: {words}; run it as root, on a machine with loop devices"
            )
            .into());
        }
        Ok(Self { node: String::from_utf8_lossy(&output.stdout).trim().into() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // It stays until somebody detaches it by hand: no harm but a device less.
        _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}
