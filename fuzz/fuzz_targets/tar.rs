#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chatimg::fuzzing::targets::tar(bytes));
