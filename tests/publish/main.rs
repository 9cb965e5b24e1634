//! Stores the documents that an API server publishes about its types: starts the control plane and writes
//! `tests/sandbox/published/`. Run `cargo run -p tests --bin publish` after a change of the Kubernetes version in
//! `tests/controlplane/go.mod`.
#![expect(clippy::disallowed_methods, reason = "the program writes files")]

use anyhow::Result;
use tests::published;

fn main() -> Result<()> {
    let directory = published::directory();
    std::fs::create_dir_all(&directory)?;
    for (name, content) in published::of_a_new_control_plane()?.files()? {
        std::fs::write(directory.join(name), content)?;
    }
    Ok(())
}
