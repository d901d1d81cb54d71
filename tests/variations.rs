//! Circumstances of a build, one by one, on a small project.

mod complete;
mod project;

#[test]
fn try_it() {
    let dir = std::path::PathBuf::from(std::env::var_os("TRY").expect("TRY"));
    complete::make(&dir.join("p"));
    complete::cold_store(&dir.join("p"), &dir.join("store"));
}
