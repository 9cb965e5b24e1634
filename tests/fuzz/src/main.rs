//! One target, named by `FUZZ_TARGET`, as a program of libFuzzer: directories of inputs as arguments. `tests/fuzz/run` builds
//! and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |input: &[u8]| fuzz::check(input));
