//! What a disk calls itself. `udev` knows best, where it runs; else the kernel's own words.

use std::fs;
use std::path::Path;

use super::{Machine, text};

/// A disk's name for itself.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
}

impl Identity {
    /// Of the disk at `dir` in `/sys`.
    pub(super) fn of(machine: &Machine, dir: &Path, (major, minor): (u64, u64)) -> Self {
        let udev = machine.root.join(format!("run/udev/data/b{major}:{minor}"));
        let udev = fs::read_to_string(udev).unwrap_or_default();
        let told = |key: &str| {
            let line = udev.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key));
            let told = line.and_then(|rest| rest.strip_prefix('='))?;
            Some(printable(told.as_bytes())).filter(|told| !told.is_empty())
        };
        let serial = told("ID_SCSI_SERIAL")
            .or_else(|| told("ID_SERIAL_SHORT"))
            .or_else(|| text(&dir.join("serial")))
            .or_else(|| text(&dir.join("device/serial")))
            .or_else(|| unit_serial(&fs::read(dir.join("device/vpd_pg80")).ok()?))
            .or_else(|| usb_serial(dir));
        Self { model: model(dir).or_else(|| told("ID_MODEL")), serial }
    }
}

fn model(dir: &Path) -> Option<String> {
    let model = text(&dir.join("device/model")).or_else(|| text(&dir.join("device/name")))?;
    // A number stands for PCI and virtio vendors; "ATA" says nothing.
    let vendor = text(&dir.join("device/vendor")).filter(|vendor| {
        vendor != "ATA" && !vendor.starts_with("0x") && !model.starts_with(vendor)
    });
    Some(vendor.map_or_else(|| model.clone(), |vendor| format!("{vendor} {model}")))
}

/// SCSI's "unit serial number" page: four bytes of head, the last two of which are the length.
fn unit_serial(page: &[u8]) -> Option<String> {
    let (head, rest) = page.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    Some(printable(rest.get(..length)?)).filter(|serial| !serial.is_empty())
}

/// A USB stick's disk seldom has a serial number, but the stick has.
fn usb_serial(dir: &Path) -> Option<String> {
    let device = dir.ancestors().find(|dir| dir.join("idVendor").exists())?;
    text(&device.join("serial"))
}

/// What can be shown and typed: no control characters, single blanks.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = text.replace(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_page_is_as_long_as_it_says() {
        let page = |bytes: &[u8]| unit_serial(bytes);
        assert_eq!(page(b"\0\x80\0\x08  WD-1\0\0rest"), Some("WD-1".to_owned()));
        for bad in [&b""[..], b"\0\x80\0", b"\0\x80\0\x05WD", b"\0\x80\0\x02  "] {
            assert_eq!(page(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn words_of_a_disk_cannot_move_the_cursor() {
        assert_eq!(printable(b" Evil\x1b[2J\r\n  Disk\xff "), "Evil [2J Disk");
    }
}
