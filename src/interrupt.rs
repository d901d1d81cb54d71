//! Ctrl-C and SIGTERM: the first asks the work under way to stop in order, a second one ends the process; work that has to
//! leave something in order even then asks for one more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// Whether somebody looks at [`INSISTED`].
static PATIENT: AtomicBool = AtomicBool::new(false);
static INSISTED: AtomicBool = AtomicBool::new(false);

/// Starts listening. Called once, by the command line.
///
/// # Errors
/// The signal handler cannot be installed.
pub fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        let patient = PATIENT.load(Ordering::SeqCst);
        if again && (!patient || INSISTED.swap(true, Ordering::SeqCst)) {
            std::process::exit(130);
        }
    })
}

/// From now on the second signal ends nothing by itself either: [`insisted`] tells of it.
pub fn be_patient() {
    PATIENT.store(true, Ordering::SeqCst);
}

/// The user asked to stop twice, and [`be_patient`] was called before.
pub fn insisted() -> bool {
    INSISTED.load(Ordering::SeqCst)
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
