//! Gives the library `CHATIMG_SOURCE`: a digest of its own sources. It is part of the key of every cached step and of
//! every image's id, so that results made by other code are never taken for this code's.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let mut files = vec![PathBuf::from("Cargo.lock"), PathBuf::from("Cargo.toml")];
    collect(Path::new("src"), &mut files);
    files.sort();
    let mut hasher = Sha256::new();
    for file in &files {
        let contents = std::fs::read(file).expect("a source file can be read");
        let name = file.as_os_str().as_encoded_bytes();
        for bytes in [name, &contents] {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    }
    let digest = hasher.finalize();
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=CHATIMG_SOURCE={hex}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be listed").path();
        // What editors and merges leave is no source.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['.', '#']) || name.ends_with(['~']) || name.ends_with(".orig") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
