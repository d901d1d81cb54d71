//! A new image for a running box, over ssh. `docs/update.md` has the plan of it, and the transfer protocol.
//!
//! ```text
//! source        an image in images/: its root image, its description, signed
//! chunks        what a root image is made of: blocks, and pieces of blocks
//! remote        the way to the box: ssh, and what comes of a command there
//! session       messages to and from the box's receiver
//! alike         what of the image that runs is like what is lacking
//! pack          what is lacking, compressed
//! transfer      what the box lacks, until it has written and read back all of it
//! switch        the restart into the image, and the wait for the box's verdict
//! ```
//!
//! Nothing here decides whether an image is good: the box does, and says so in its history.

mod alike;
pub mod chunks;
mod error;
mod pack;
pub mod remote;
mod session;
mod source;
pub(crate) mod switch;
mod transfer;
pub(crate) mod wire;

pub use error::UpdateError;
pub use remote::{Remote, RemoteError};
pub use source::{Description, RootFile, Source};
pub use switch::{Guard, History, Outcome, Record, Switch, switch, verdict};
pub use transfer::{Offer, Offered, Sent, Space, Transfer};

/// What is being done. Both numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The image is cut into blocks.
    Reading {
        /// Done.
        done: u64,
        /// In all.
        total: u64,
    },
    /// What the box lacks is on its way.
    Sending {
        /// Done, before compression.
        done: u64,
        /// In all.
        total: u64,
    },
    /// The box writes its slot, and reads it back.
    Writing {
        /// Done.
        done: u64,
        /// In all.
        total: u64,
    },
    /// Services stand still, the snapshot is taken, and the box restarts.
    Down,
    /// The box answers again, in a trial of the new image.
    Back,
}
