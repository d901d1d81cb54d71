//! Debian packages that no appliance asks for, but that make and test it.

/// Programs that shape the image's bytes.
pub(super) const BUILD: [&str; 11] = [
    "busybox-static",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "kmod",
    "openssl",
    "perl-base",
    "python3",
    "python3-pip",
    "systemd",
    "udev",
];

/// Programs that boot it in tests, and firmware.
pub(super) const VM: [&str; 5] =
    ["openssh-client", "ovmf", "qemu-system-x86", "qemu-utils", "seabios"];
