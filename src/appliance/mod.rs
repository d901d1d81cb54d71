//! What the user asks for: `appliance.toml` and the overlays, checked, as a [`Plan`].

pub(crate) mod address;
mod bundles;
mod catalog;
mod change;
pub(crate) mod document;
pub(crate) mod error;
pub(crate) mod keys;
pub(crate) mod load;
mod manifest;
mod names;
mod options;
mod origins;
mod overlay;
mod plan;
mod refuse;
mod render;
mod sections;
mod starter;
mod target;
mod template;
mod tools;
mod unique;
pub(crate) mod units;
pub(crate) mod walk;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use change::Change;
pub use error::LoadError;
pub use keys::check as check_key;
pub use load::{load, load_changed};
pub use names::{check_domain, check_login};
pub use plan::{
    AdminUser, Bundle, Check, Disks, FileRule, Firmware, Format, HealthCheck, Input, InputKind,
    Overlay, Plan, Port, Protocol, Published, PythonEnv, Secret, StateDir, Target, User, Value,
};
pub use render::render_file;
pub use sections::own_files;
pub use starter::{Wish, commented, plain, stacks};
