//! The machine's disks: scratch overlays over the image's, which can be pulled, put back, replaced and swapped.
//!
//! They hang on the ports of a controller in order; the firmware starts from the first that it can. QEMU's SATA disks
//! cannot be pulled from a running machine: they go dead instead. Its SCSI disks can.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::failure::TestFailure;
use super::qemu::Make;

/// Larger than the image, so that the data partition has to grow on first boot; and not both the same.
const SIZES: [u64; 2] = [24 << 30, 25 << 30];
const QEMU_IMG: &str = "usr/bin/qemu-img";

/// What the disks hang on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// AHCI, as in the target.
    #[default]
    Sata,
    /// virtio-scsi, for disks that come and go while the machine runs.
    Scsi,
}

/// What is behind a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Medium {
    /// A qcow2 file.
    #[default]
    Scratch,
    /// The socket of an NBD server.
    Recorded,
    /// A raw file that stays as it is: what is written is forgotten when the machine is switched off.
    Replayed,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Drive {
    /// From 1; stays when the port changes.
    number: usize,
    /// In the work folder.
    file: String,
    medium: Medium,
    serial: String,
    attached: bool,
}

/// All of them, in order of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drives {
    controller: Controller,
    list: Vec<Drive>,
    /// How many blank ones there have been.
    blanks: usize,
}

impl Drives {
    /// Makes the scratch disks anew, as large as `sizes` says, or a default; those that are kept stay as they are. The images
    /// are never written.
    pub(super) fn create(
        make: &Make<'_>,
        images: &[PathBuf],
        controller: Controller,
        sizes: &[u64],
    ) -> Result<Self, TestFailure> {
        let mut drives = Self { controller, ..Self::default() };
        for (index, image) in images.iter().enumerate() {
            let number = index + 1;
            let file = format!("scratch-{number}.qcow2");
            let drive = Drive {
                number,
                file,
                medium: Medium::Scratch,
                serial: format!("CHATIMG{number}"),
                attached: true,
            };
            let size = sizes.get(index).unwrap_or(&SIZES[index % SIZES.len()]);
            let kept = make.by_hand.as_ref().is_some_and(|hand| hand.keep);
            if !(kept && make.work.join(&drive.file).exists()) {
                over(make, image, &drive.file, *size)?;
            }
            drives.list.push(drive);
        }
        Ok(drives)
    }

    /// QEMU's arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.controller == Controller::Scsi {
            args.extend(["-device", "virtio-scsi-pci,id=scsi"].map(str::to_owned));
        }
        for (port, drive) in self.list.iter().enumerate().filter(|(_, drive)| drive.attached) {
            let [medium, device] = self.pair(port, drive);
            args.extend(["-drive".to_owned(), medium, "-device".to_owned(), device]);
        }
        args
    }

    /// A disk's two halves, as QEMU's options have them: the medium and the device.
    fn pair(&self, port: usize, drive: &Drive) -> [String; 2] {
        let Drive { number, file, medium, serial, .. } = drive;
        let medium = match medium {
            Medium::Scratch => format!("file={file},format=qcow2"),
            Medium::Recorded => format!("file=nbd:unix:{file},format=raw"),
            Medium::Replayed => format!("file={file},format=raw,snapshot=on"),
        };
        let options = "cache=writeback,discard=unmap,detect-zeroes=unmap";
        let device = match self.controller {
            Controller::Sata => format!("ide-hd,bus=ide.{port}"),
            Controller::Scsi => format!("scsi-hd,bus=scsi.0,scsi-id={port}"),
        };
        [
            format!("if=none,id=d{number},{medium},{options}"),
            // Firmware tries the disks in the order of their ports. Without that, OVMF forgets one when another one is
            // taken out, and starts its own shell instead.
            format!("{device},id=disk{number},drive=d{number},serial={serial},bootindex={port}"),
        ]
    }

    /// Commands of QEMU's monitor that take an attached disk out of a running machine.
    pub(super) fn pulling(&self, number: usize) -> Vec<String> {
        let there = self.list.iter().any(|drive| drive.number == number && drive.attached);
        match self.controller {
            _ if !there => Vec::new(),
            Controller::Sata => vec![format!("drive_del d{number}")],
            // The medium goes with the device.
            Controller::Scsi => vec![format!("device_del disk{number}")],
        }
    }

    /// Commands of QEMU's monitor that put an attached disk into a running machine; `None` if it has to be off.
    pub(super) fn plugging(&self, number: usize) -> Option<[String; 2]> {
        let port = self.list.iter().position(|drive| drive.number == number && drive.attached)?;
        let [medium, device] = self.pair(port, &self.list[port]);
        (self.controller == Controller::Scsi)
            .then(|| [format!("drive_add dummy {medium}"), format!("device_add {device}")])
    }

    /// Whether disks can be put into a running machine.
    pub(super) fn hot_plug(&self) -> bool {
        self.controller == Controller::Scsi
    }

    /// Takes a disk out. Gives back whether it was there.
    pub(super) fn pull(&mut self, number: usize) -> bool {
        let found = self.list.iter_mut().find(|drive| drive.number == number && drive.attached);
        found.map(|drive| drive.attached = false).is_some()
    }

    /// Puts back a disk that was pulled. Gives back whether it was out.
    pub(super) fn put_back(&mut self, number: usize) -> bool {
        let found = self.list.iter_mut().find(|drive| drive.number == number && !drive.attached);
        found.map(|drive| drive.attached = true).is_some()
    }

    /// Puts a blank disk in the place of one that was pulled, which is gone for good.
    pub(super) fn replace(
        &mut self,
        make: &Make<'_>,
        number: usize,
        size: u64,
    ) -> Result<bool, TestFailure> {
        let found = self.list.iter_mut().find(|drive| drive.number == number && !drive.attached);
        let Some(drive) = found else { return Ok(false) };
        self.blanks += 1;
        drive.file = format!("blank-{}.qcow2", self.blanks);
        drive.medium = Medium::Scratch;
        drive.serial = format!("BLANK{}", self.blanks);
        drive.attached = true;
        let args = ["create", "-q", "-f", "qcow2"].map(OsString::from);
        let args = args.into_iter().chain([drive.file.clone().into(), size.to_string().into()]);
        make.tools.run(QEMU_IMG, args, &make.work, b"")?;
        Ok(true)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Copies what is on the scratch disks to raw files, in order of ports.
    pub(super) fn copy(&self, make: &Make<'_>, files: &[String]) -> Result<(), TestFailure> {
        for (drive, file) in self.list.iter().zip(files) {
            let args = ["convert", "-f", "qcow2", "-O", "raw", &drive.file, file];
            make.tools.run(QEMU_IMG, args.map(OsString::from), &make.work, b"")?;
        }
        Ok(())
    }

    /// Has the disks live elsewhere: in files, or behind sockets, of the work folder.
    pub(super) fn change_media(&mut self, medium: Medium, files: Vec<String>) {
        for (drive, file) in self.list.iter_mut().zip(files) {
            (drive.medium, drive.file) = (medium, file);
        }
    }

    /// Exchanges the first two disks' ports. Gives back whether there are two.
    pub(super) fn swap(&mut self) -> bool {
        let two = self.list.len() >= 2;
        if two {
            self.list.swap(0, 1);
        }
        two
    }
}

/// Whether this is the name of a disk made here, or of what was recorded of one.
pub(super) fn is_scratch(name: &str) -> bool {
    let stem = name.strip_suffix(".qcow2").or_else(|| name.strip_suffix(".raw"));
    stem.is_some_and(|stem| {
        ["scratch-", "blank-", "replay-"].iter().any(|start| stem.starts_with(start))
    })
}

/// Makes an overlay over an image.
fn over(make: &Make<'_>, image: &Path, file: &str, size: u64) -> Result<(), TestFailure> {
    let failed = |source| TestFailure::Io {
        doing: format!("opening the image {}", image.display()),
        source,
    };
    let image = image.canonicalize().map_err(failed)?;
    let least = image.metadata().map_err(failed)?.len();
    let size = size.max(least).to_string();
    let fixed = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"].map(OsString::from);
    let args = fixed.into_iter().chain([image.into(), file.into(), size.into()]);
    make.tools.run(QEMU_IMG, args, &make.work, b"")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drives() -> Drives {
        let drive = |number| Drive {
            number,
            file: format!("scratch-{number}.qcow2"),
            medium: Medium::Scratch,
            serial: format!("CHATIMG{number}"),
            attached: true,
        };
        Drives { list: vec![drive(1), drive(2)], ..Drives::default() }
    }

    #[test]
    fn disks_keep_their_ports_and_numbers() {
        let mut drives = drives();
        let devices = |drives: &Drives| {
            let args = drives.arguments();
            args.into_iter().filter(|arg| arg.starts_with("ide-hd")).collect::<Vec<_>>()
        };
        let one = "ide-hd,bus=ide.0,id=disk1,drive=d1,serial=CHATIMG1,bootindex=0";
        let two = "ide-hd,bus=ide.1,id=disk2,drive=d2,serial=CHATIMG2,bootindex=1";
        assert_eq!(devices(&drives), [one, two]);
        assert!(drives.pull(1) && !drives.pull(1) && !drives.pull(3));
        assert_eq!(devices(&drives), [two]);
        assert!(drives.pulling(1).is_empty());
        assert_eq!(drives.pulling(2), ["drive_del d2"]);
        assert!(drives.put_back(1) && !drives.put_back(2));
        assert!(drives.swap());
        assert_eq!(
            devices(&drives),
            [
                "ide-hd,bus=ide.0,id=disk2,drive=d2,serial=CHATIMG2,bootindex=0",
                "ide-hd,bus=ide.1,id=disk1,drive=d1,serial=CHATIMG1,bootindex=1"
            ]
        );
    }

    #[test]
    fn scsi_disks_come_and_go() {
        let mut drives = drives();
        assert_eq!(drives.plugging(1), None, "a SATA disk does not");
        drives.controller = Controller::Scsi;
        assert_eq!(drives.pulling(2), ["device_del disk2"]);
        let [medium, device] = drives.plugging(2).expect("commands");
        assert!(
            medium.starts_with("drive_add dummy if=none,id=d2,file=scratch-2.qcow2,"),
            "{medium}"
        );
        let wanted =
            "device_add scsi-hd,bus=scsi.0,scsi-id=1,id=disk2,drive=d2,serial=CHATIMG2,bootindex=1";
        assert_eq!(device, wanted);
    }

    #[test]
    fn only_disks_made_here_are_scratch() {
        for (name, ours) in
            [("scratch-1.qcow2", true), ("blank-2.qcow2", true), ("disk.qcow2", false)]
        {
            assert_eq!(is_scratch(name), ours, "{name}");
        }
    }
}
