//! The program `nomos`.

fn main() -> std::process::ExitCode {
    // The TLS provider without a C build. An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    nomos_cli::main()
}
