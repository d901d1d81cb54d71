//! `embed!("overlays", "appliance.lock")`: files and folders beside Cargo.toml as `(path, executable, contents)`, sorted.
//!
//! A macro, and not a build script: that would have the whole library compiled anew with each change of an overlay. What the
//! macro names is compiled anew with the program's own main.rs, which is nothing. A file that is added to a folder is seen
//! when main.rs is compiled the next time; tests/init.rs tells if that is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proc_macro::{TokenStream, TokenTree};

/// See above.
#[proc_macro]
pub fn embed(names: TokenStream) -> TokenStream {
    let code = list(names).unwrap_or_else(|error| format!("compile_error!({error:?})"));
    code.parse().expect("an expression")
}

fn list(names: TokenStream) -> Result<String, String> {
    let top = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for token in names {
        if let TokenTree::Literal(literal) = token {
            collect(Path::new(&top), literal.to_string().trim_matches('"'), &mut files)?;
        }
    }
    files.sort();
    let entries = files.iter().map(|(name, executable)| {
        // No path of this machine is in the program, only contents are.
        format!("({name:?}, {executable}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/\", {name:?})) as &[u8]),\n")
    });
    Ok(format!("&[\n{}]", entries.collect::<String>()))
}

/// Whether it is what editors, merges and Python leave, and no file of the project.
fn is_leftover(name: &str) -> bool {
    name == "__pycache__" || name.starts_with('.') || name.ends_with('~') || name.ends_with(".orig")
}

fn collect(top: &Path, name: &str, files: &mut Vec<(String, bool)>) -> Result<(), String> {
    let path = top.join(name);
    let failed = |error: std::io::Error| format!("embedding {name}: {error}");
    let meta = fs::symlink_metadata(&path).map_err(failed)?;
    if meta.is_file() {
        files.push((name.to_owned(), meta.permissions().mode() & 0o100 != 0));
        return Ok(());
    }
    if !meta.is_dir() {
        return Err(format!("embedding {name}: it is neither a file nor a folder"));
    }
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        let entry =
            entry.to_str().ok_or_else(|| format!("embedding {name}: a name is not UTF-8"))?;
        if !is_leftover(entry) {
            collect(top, &format!("{name}/{entry}"), files)?;
        }
    }
    Ok(())
}
