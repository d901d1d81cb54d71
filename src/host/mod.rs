//! What differs from box to box on the same image: `host.toml`, checked, and its form for the box.
//!
//! The box reads it from partition 7 (`image::Part::Settings`), where flashing puts it:
//!
//! ```text
//! CHATIMG-SETTINGS-1
//! <SHA-256 of the JSON, hexadecimal> <its length in bytes>
//! <JSON: the tables and keys of host.toml, sorted, secrets as texts>
//! zeros
//! ```
//!
//! The box checks once more (`overlays/base/files/usr/lib/chatimg/chatimg_host`), for an administrator may change
//! settings there; `tests/host/` has the samples that both must judge alike.

mod acme;
mod address;
mod calls;
pub(crate) mod load;
mod mail;
mod names;
mod network;
mod owner;
mod recipient;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

pub use secrets::Secret;

use crate::appliance::LoadError;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::minisign::PublicKey;

/// The first line of the encoded settings.
pub const MAGIC: &str = "CHATIMG-SETTINGS-1\n";
/// Encoded settings are no larger: the size of partition 7.
pub const MAX_SIZE: usize = 1 << 20;

/// One box's settings, in which nothing is wrong as far as can be known before the box has them.
#[derive(Debug, Default)]
pub struct Settings {
    /// All but the secrets; tables and keys as in the file.
    public: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Secret>,
    warnings: Vec<Diagnostic>,
}

impl Settings {
    /// Reads `host.toml`. It and the files of secrets that it names must be readable by nobody else.
    ///
    /// # Errors
    /// A file cannot be read, or something in it is wrong; the error's text names every place and quotes no
    /// secret.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        load::load(path, load::Privacy::Demanded)
    }

    /// The same of a file whose secrets are none, such as a test's: others may read it.
    ///
    /// # Errors
    /// See [`Settings::load`].
    pub fn load_open(path: &Path) -> Result<Self, LoadError> {
        load::load(path, load::Privacy::Ignored)
    }

    /// What is allowed, but hardly meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Names of the secrets that are set.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    /// Whose images the box takes, if the file says so. What is left out is not said: a box that has keys keeps them.
    pub fn has_update_keys(&self) -> bool {
        self.public.contains_key("update")
    }

    /// Whether the file says that the box takes images which this key signed.
    pub fn has_update_key(&self, key: &PublicKey) -> bool {
        let keys = self.public.get("update").and_then(|update| update["keys"].as_array());
        keys.is_some_and(|keys| keys.iter().any(|one| *one == key.to_string()))
    }

    /// Lets the box take images that this key signed, and no others.
    pub fn set_update_key(&mut self, key: &PublicKey) {
        let keys = json!({"keys": [key.to_string()]});
        self.public.insert("update".to_owned(), keys);
    }

    /// The bytes for the start of partition 7, without zeros behind; at most [`MAX_SIZE`]. Secret.
    pub fn encode(&self) -> Vec<u8> {
        let mut all: Map<String, Value> = self.public.clone().into_iter().collect();
        if !self.secrets.is_empty() {
            let secret =
                |(name, secret): (&String, &Secret)| (name.clone(), Value::from(secret.expose()));
            all.insert("secrets".to_owned(), self.secrets.iter().map(secret).collect());
        }
        let json = sorted(Value::Object(all)).to_string();
        let digest = Digest::of(json.as_bytes());
        format!("{MAGIC}{digest} {}\n{json}", json.len()).into_bytes()
    }
}

/// With the keys of each table in order, whatever serde_json was built to do.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}
