//! Starts a sandbox, writes its kubeconfig, prints its address and runs until standard input closes.
#![expect(clippy::disallowed_methods, reason = "a program is made of effects")]

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use sandbox::Sandbox;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> io::Result<()> {
    let (path, port) = match arguments.as_slice() {
        [path] if !path.starts_with('-') => (PathBuf::from(path), 0),
        [path, port] if !path.starts_with('-') => (PathBuf::from(path), port.parse().map_err(io::Error::other)?),
        _ => return Err(io::Error::other("usage: sandbox KUBECONFIG [PORT]")),
    };
    let sandbox = Sandbox::start_at(port)?;
    sandbox.kubeconfig(&path)?;
    writeln!(io::stdout(), "{}", sandbox.url())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
