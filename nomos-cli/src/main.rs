//! The program `nomos`.

fn main() -> std::process::ExitCode {
    agent::io::kubernetes::kubeconfig::install_tls();
    nomos_cli::main()
}
