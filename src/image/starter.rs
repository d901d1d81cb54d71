//! What makes a disk start the box: boot code, GRUB's core image, the ESP. The image carries it, so that the box can tell
//! a damaged one from a sound one, and mend it, without believing either disk:
//!
//! ```text
//! /usr/lib/chatimg/boot/code   440 bytes: sector 0 up to the disk signature
//! /usr/lib/chatimg/boot/core   core.img as it lies at the start of partition 1
//! /usr/lib/chatimg/boot/esp    partition 2 up to its last used sector; the volume serial number, twice, is zero, and the
//!                              boot state an empty environment block (1024 bytes that are nowhere else in it)
//! ```
//!
//! None of that depends on the image's id, for it lies in the image.

use super::envblock::{self, EnvBlock};
use super::layout::{Layout, Leg, Part, SECTOR};
use super::{ImageError, ImageSpec, fat, grub};

/// Where the image carries it.
pub(super) const FOLDER: &str = "usr/lib/chatimg/boot";
/// Bytes of sector 0 before the disk signature and the partition table.
const CODE: usize = 440;

/// What starts any disk of an appliance.
#[derive(Clone, Debug)]
pub(super) struct Starter {
    code: [u8; CODE],
    core: Vec<u8>,
    esp: Vec<u8>,
    state_at: usize,
    esp_size: usize,
}

impl Starter {
    /// Makes it.
    ///
    /// # Errors
    /// A part of GRUB is too large, or is none.
    pub(super) fn new(spec: &ImageSpec, layout: &Layout) -> Result<Self, ImageError> {
        let place = layout.span(Part::BiosBoot);
        let sector = grub::boot_sector(&spec.grub.boot_img, &[0; 512], place.first_lba())?;
        let code = *sector.first_chunk().expect("a sector is longer");
        let core = grub::placed_core(&spec.grub.core_img, place.first_lba(), place.len)?;

        let span = layout.span(Part::Esp);
        let empty = EnvBlock::default().encode().expect("nothing fits");
        let config = grub::config(layout);
        let files: [(&str, &[u8]); 3] = [
            ("EFI/BOOT/BOOTX64.EFI", &spec.grub.efi),
            ("grub/grub.cfg", config.as_bytes()),
            ("grub/grubenv", &empty),
        ];
        let format = fat::FatSpec {
            size: span.len,
            serial: 0,
            label: "CHATIMG",
            first_lba: span.first_lba(),
        };
        let mut esp = fat::build(&format, &files)?;
        let esp_size = esp.len();
        esp.truncate(fat::used(&esp));
        let state_at = only_place(&esp, &empty).ok_or_else(|| ImageError::Format {
            what: "the EFI system partition",
            why: "its boot state does not lie in one piece in one place".to_owned(),
        })?;
        Ok(Self { code, core, esp, state_at, esp_size })
    }

    /// The files below [`FOLDER`].
    pub(super) fn files(&self) -> [(&'static str, &[u8]); 3] {
        [("code", &self.code), ("core", &self.core), ("esp", &self.esp)]
    }

    /// What partition 1 begins with.
    pub(super) fn core(&self) -> &[u8] {
        &self.core
    }

    /// All of a disk's partition 2.
    pub(super) fn esp(&self, layout: &Layout, leg: Leg, state: &[u8; envblock::SIZE]) -> Vec<u8> {
        let mut esp = self.esp.clone();
        esp.resize(self.esp_size, 0);
        fat::set_serial(&mut esp, layout.esp_serial(leg));
        esp[self.state_at..][..envblock::SIZE].copy_from_slice(state);
        esp
    }
}

/// Where the sectors of `part` lie in `all`, if that is in one place.
fn only_place(all: &[u8], part: &[u8]) -> Option<usize> {
    let step = SECTOR as usize;
    let mut places = (0..all.len()).step_by(step).filter(|at| all[*at..].starts_with(part));
    places.next().filter(|_| places.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::Disks;
    use crate::image::GrubParts;
    use crate::lock::Lock;
    use crate::tree::Tree;

    fn starter(disks: Disks, check: impl Fn(&Starter, &Layout, &GrubParts)) {
        let layout = Layout::new("box", 64 << 20, disks).expect("layout");
        let (tree, lock) = (Tree::new(), Lock::default());
        let grub = GrubParts {
            boot_img: vec![0xeb; 512],
            core_img: vec![0xc0; 30_000],
            // GRUB has the signature in it, too.
            efi: [vec![0xef; 700_032], EnvBlock::default().text().into_bytes(), vec![1; 99]]
                .concat(),
        };
        let spec = ImageSpec {
            name: "box",
            epoch: 0,
            slot_size: 64 << 20,
            disks,
            root: &tree,
            tools: &tree,
            grub: &grub,
            lock: &lock,
            formats: &Default::default(),
            ports: &Default::default(),
            plan: crate::digest::Digest::of(b""),
            beside: &[],
        };
        check(&Starter::new(&spec, &layout).expect("made"), &layout, &grub);
    }

    #[test]
    fn template_serial_and_state_are_the_very_file_system_that_is_formatted_with_them() {
        for disks in [Disks::Single, Disks::Mirror] {
            starter(disks, |starter, layout, grub| {
                let state = EnvBlock::initial("0123456789abcdef").encode().expect("encodes");
                let span = layout.span(Part::Esp);
                for leg in layout.legs() {
                    let spec = fat::FatSpec {
                        size: span.len,
                        serial: layout.esp_serial(leg),
                        label: "CHATIMG",
                        first_lba: span.first_lba(),
                    };
                    let config = grub::config(layout);
                    let files: [(&str, &[u8]); 3] = [
                        ("EFI/BOOT/BOOTX64.EFI", &grub.efi),
                        ("grub/grub.cfg", config.as_bytes()),
                        ("grub/grubenv", &state),
                    ];
                    let direct = fat::build(&spec, &files).expect("formats");
                    assert!(starter.esp(layout, leg, &state) == direct, "{leg:?}");
                }
            });
        }
    }

    #[test]
    fn the_template_is_short_and_knows_no_disk_and_no_image() {
        starter(Disks::Mirror, |starter, _, _| {
            let [(_, code), (_, core), (_, esp)] = starter.files();
            assert_eq!((code.len(), core.len() % 512, esp.len() % 512), (440, 0, 0));
            assert!(esp.len() < 4 << 20, "{}", esp.len());
            assert_eq!((&esp[67..71], &esp[6 * 512 + 67..][..4]), (&[0; 4][..], &[0; 4][..]));
            let empty = EnvBlock::parse(&esp[starter.state_at..][..envblock::SIZE]);
            assert_eq!(empty, Ok(EnvBlock::default()));
        });
    }
}
