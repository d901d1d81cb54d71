//! From an image to where it works: a disk, or a box that runs.

pub mod device;
pub mod flash;
pub mod preview;
mod sys;
pub mod update;
