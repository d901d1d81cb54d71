//! Runs programs that are not to be trusted with the host: they see one folder, and no network.
//!
//! A [`Cell`] is for those that nobody vouches for (packages' scripts): what it takes is there, or they are not run. esbuild is known, but its
//! input is not; where there can be no cell, it is shut in as well as the host allows ([`Confinement`]), and whoever relies on
//! it checks what it took (`compose/bundle.rs`).
//!
//! | file | what it does |
//! |---|---|
//! | `cell.rs` | the user's side: starts chatimg anew, watches time, disk, output and Ctrl-C |
//! | `enter.rs` | what chatimg is then: namespaces, and process 1 in them |
//! | `mounts.rs` | what a cell sees |
//! | `rights.rs` | what it may not: identity, capabilities, limits |
//! | `calls.rs` | which system calls it has |

mod calls;
mod cell;
mod enter;
mod error;
mod known;
mod mounts;
mod order;
mod rights;

pub use cell::{Cell, Limits, made_by};
pub use enter::become_cell;
pub use error::SandboxError;
pub use known::{Confinement, furnish, run};
