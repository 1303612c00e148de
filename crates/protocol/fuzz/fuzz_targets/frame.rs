#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_protocol::fuzzing::frame(data));
