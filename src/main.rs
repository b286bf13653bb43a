//! The binary `juicefs`: every role of the system behind one command line (`src/cli`).

fn main() -> std::process::ExitCode {
    juicefs_cli::main()
}
