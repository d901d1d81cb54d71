//! Debian packages that no appliance asks for, but that make and test it.

/// Programs that shape the image's bytes.
pub(super) const BUILD: [&str; 14] = [
    "busybox-static",
    "esbuild",
    "fakeroot",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "kmod",
    "libfaketime",
    "openssl",
    "perl-base",
    "python3",
    "python3-pip",
    "systemd",
    "udev",
];

/// Programs that boot it in tests, firmware, and what tests bring into the box: pebble, an authority of certificates.
pub(super) const VM: [&str; 6] =
    ["openssh-client", "ovmf", "pebble", "qemu-system-x86", "qemu-utils", "seabios"];
