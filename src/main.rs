//! The `nixflash` program: everything is in the library.

fn main() -> std::process::ExitCode {
    nixflash::cli::main()
}
