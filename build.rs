//! Gives the library `CHATIMG_SOURCE`: a hash of its own sources. It is part of the key of every cached step,
//! so that results made by other code are never taken for this code's.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let mut files = vec![PathBuf::from("Cargo.lock"), PathBuf::from("Cargo.toml")];
    collect(Path::new("src"), &mut files);
    files.sort();
    // SipHash is no defence against an attacker, who could change the key's other parts at will anyway.
    let mut hasher = DefaultHasher::new();
    for file in &files {
        let contents = std::fs::read(file).expect("a source file can be read");
        hasher.write(file.as_os_str().as_encoded_bytes());
        hasher.write_usize(contents.len());
        hasher.write(&contents);
    }
    println!("cargo::rustc-env=CHATIMG_SOURCE={:016x}", hasher.finish());
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
