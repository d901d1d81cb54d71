//! For tests and `fuzz/` only: how foreign bytes come in. Each function of [`targets`] gives any bytes to one reader, which
//! must not panic, and looks whether what was read is written as it was; the others bring one input in as a build does it.

pub mod targets;

use crate::appliance::{Input, InputKind, PythonEnv};
use crate::compose::{self, SystemError, WheelError};
use crate::lock::{Lock, Wheel};
use crate::store::Store;
use crate::tree::Tree;

/// A Python environment of wheels in the store, below `opt/env`.
///
/// # Errors
/// A wheel is refused.
pub fn wheels(store: &Store, wheels: &[Wheel]) -> Result<Tree, WheelError> {
    let env = PythonEnv {
        name: "env".to_owned(),
        into: "/opt/env".to_owned(),
        requirements: Default::default(),
    };
    compose::install_wheels(store, &env, wheels)
}

/// An npm package, or an archive or file by its address, of a lock and in the store, below `opt/input`.
///
/// # Errors
/// It is refused.
pub fn input(store: &Store, kind: InputKind, name: &str, lock: &Lock) -> Result<Tree, SystemError> {
    let input = Input { kind, name: name.to_owned(), into: "/opt/input".to_owned() };
    compose::unpack_input(store, &input, lock)
}
