//! Ctrl-C and SIGTERM: the first asks the work under way to stop in order, a second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Starts listening. Called once, by the command line.
///
/// # Errors
/// The signal handler cannot be installed.
pub fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
}

/// The user asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; what was there is as it was, and the next run goes on from here")]
pub struct Interrupted;

/// For a place where work can stop in order.
///
/// # Errors
/// The user asked to stop.
pub fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted) } else { Ok(()) }
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// The flag itself, for work that takes one.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&REQUESTED)
}
