//! Properties of every input. Each target takes bytes and panics if its property does not hold. Nothing here depends on libFuzzer,
//! so that ordinary tests can run the same functions on the seeds.
#![expect(clippy::disallowed_methods, reason = "seeds are files, and the target is named by the environment")]

mod api_resources;
mod json;
mod places;
mod repository;
mod seeds;
mod selectors;
mod yaml;

use std::path::Path;
use std::sync::OnceLock;

/// One kind of input.
struct Target {
    name: &'static str,
    /// Panics if the property does not hold for an input.
    check: fn(&[u8]),
    /// The first inputs of the search.
    seeds: fn() -> Vec<Vec<u8>>,
}

const TARGETS: [Target; 5] = [
    Target { name: "yaml", check: yaml::check, seeds: seeds::yaml },
    Target { name: "json", check: json::check, seeds: seeds::json },
    Target { name: "selectors", check: selectors::check, seeds: seeds::selectors },
    Target { name: "api_resources", check: api_resources::check, seeds: seeds::api_resources },
    Target { name: "repository", check: repository::check, seeds: seeds::repositories },
];

static TARGET: OnceLock<&Target> = OnceLock::new();

/// Chooses the target that the environment names, and writes its seeds into the directory `FUZZ_SEEDS`.
///
/// # Panics
/// Where there is no such target, or the directory cannot be written.
pub fn prepare() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name).expect("FUZZ_TARGET is one of the targets");
    TARGET.get_or_init(|| target);
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(Path::new(&directory).join(number.to_string()), seed).expect("FUZZ_SEEDS can be written to");
        }
    }
}

/// Checks one input.
///
/// # Panics
/// When something does not hold, which is what is looked for.
pub fn check(input: &[u8]) {
    (TARGET.get().expect("it is prepared").check)(input);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_hold_for_all_seeds() {
        for Target { name, check, seeds } in TARGETS {
            let seeds = seeds();
            assert!(seeds.len() > 3, "{name} has hardly any seeds");
            seeds.iter().for_each(|seed| check(seed));
        }
    }

    #[test]
    #[ignore = "tries one input again: FUZZ_TARGET=yaml FUZZ_INPUT=FILE"]
    fn the_property_holds_for_one_input() {
        prepare();
        let file = std::env::var_os("FUZZ_INPUT").expect("FUZZ_INPUT is a file");
        check(&std::fs::read(file).expect("FUZZ_INPUT can be read"));
    }
}
