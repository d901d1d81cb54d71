//! Power cuts at every moment: the machine's writes and flushes are recorded, and what its disks can hold when the power
//! goes between two of them is put together again and started.
//!
//! Killing QEMU is no power cut, for the host's cache survives it. Here what was not flushed may be on the disk or not,
//! write by write, and a write may end at any sector.

mod cuts;
mod model;
mod nbd;
mod record;
mod steps;

pub(super) use record::Recorder;
