//! Plan and lock to a tree: packages as dpkg would install them, then what makes them a system.

pub(crate) mod accounts;
pub(crate) mod actions;
mod alternatives;
mod appliance;
mod bundle;
mod claims;
mod declarations;
mod dpkg_db;
pub(crate) mod finish;
mod formats;
mod import;
mod initscripts;
mod inputs;
mod merge;
mod overlay;
pub mod packages;
pub mod parity;
mod pattern;
mod remove;
mod root;
mod scripts;
mod secrets;
mod strip;
mod system;
mod tmpfiles;
mod triggers;
mod units;
mod users;
mod variant;
pub(crate) mod wheels;

pub use appliance::{
    ApplianceError, Inputs, ahead, bundled, compose, identity, installed, tools_tree, understood,
    without_secrets,
};
pub use bundle::BundleError;
pub use claims::Clash;
pub use declarations::{DeclarationError, Declarations};
pub use finish::FinishError;
pub use formats::{FormatError, Formats, formats, numbers};
pub use packages::{ComposeError, Event};
pub use scripts::RunError;
pub use secrets::SecretError;
pub use strip::strip;
pub use system::SystemError;
pub use variant::with_files;
pub use wheels::WheelError;

use crate::appliance::{Input, PythonEnv};
use crate::lock::{Lock, Wheel};
use crate::store::Store;
use crate::tree::Tree;

/// A Python environment of these wheels, as [`compose`] has it.
pub(crate) fn install_wheels(
    store: &Store,
    env: &PythonEnv,
    locked: &[Wheel],
) -> Result<Tree, WheelError> {
    wheels::install(wheels::Place { store, epoch: 0 }, env, locked)
}

/// One input of an overlay, as [`compose`] has it.
pub(crate) fn unpack_input(store: &Store, input: &Input, lock: &Lock) -> Result<Tree, SystemError> {
    inputs::unpacked(store, input, lock)
}
