//! The program `nomos-lint`: nomos without a cluster.

fn main() -> std::process::ExitCode {
    nomos_cli::main()
}
