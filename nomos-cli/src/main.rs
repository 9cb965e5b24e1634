//! The program `nomos`.

fn main() -> std::process::ExitCode {
    // The TLS provider that needs no C compiler. The only error says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    nomos_cli::main()
}
