//! `cargo xtask`: what developers of chatimg run, and nobody else.
//!
//!     cargo xtask bench    # how long builds take and what memory, next to mmdebstrap with the same packages

mod bench;
mod measure;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask bench [--add PACKAGE]";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["bench"] => bench::run("weechat"),
        ["bench", "--add", package] => bench::run(package),
        // Not for people: see `measure`.
        ["measured", program, ..] => measure::child(program, &args[2..]),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
