//! From an image to where it works: a disk.

pub mod device;
pub mod flash;
mod sys;
