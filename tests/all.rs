//! The tests that need no program of their own. In one they are compiled once, and those that keep one core busy run two at a
//! time; `cargo test --release --test all parity::` runs some.

mod complete;
mod disks;
mod project;
mod reference;
mod small;

mod archive;
mod boxside;
mod build;
mod bundle;
mod care;
mod delta;
mod dependencies;
mod evidence;
mod flash;
mod flash_cut;
mod formats;
mod host;
mod image;
mod init;
mod lock;
mod packages;
mod parity;
mod samples;
mod secrets;
mod specification;
mod update;
mod values;
mod variations;
