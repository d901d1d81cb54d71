//! The program `chatimg`.

/// What `chatimg init` hands out: path, whether it is executable, contents.
static PROJECT: &[(&str, bool, &[u8])] =
    chatimg_embed::embed!("appliance.lock", "docs", "overlays", "qemu-tests");

fn main() -> std::process::ExitCode {
    chatimg::cli::main(PROJECT)
}
