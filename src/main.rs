//! The program `chatimg`.

fn main() -> std::process::ExitCode {
    chatimg::cli::main()
}
