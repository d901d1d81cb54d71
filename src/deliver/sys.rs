//! What the operating system can only be asked by an ioctl: the one place for it.

#![allow(unsafe_code, reason = "an ioctl without arguments, on a file that is open")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

mod raw {
    nix::ioctl_none!(
        /// `BLKRRPART` of `linux/fs.h`.
        blkrrpart, 0x12, 95
    );
}

/// Has the kernel read the partition table of an open disk. It forgets the partitions that it knew; if somebody has one
/// of them open, all stays as it is.
///
/// # Errors
/// `EBUSY`: somebody has one open. `EINVAL`: this kind of disk has no partitions.
pub(super) fn reread_partitions(disk: &File) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for as long as `disk` is borrowed, and the call takes no pointer.
    unsafe { raw::blkrrpart(disk.as_raw_fd()) }.map(drop)
}
