//! The program `nomos-lint`: nomos without the commands that connect to clusters.

fn main() -> std::process::ExitCode {
    nomos_cli::main()
}
