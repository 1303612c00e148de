#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_record::fuzzing::decompress_any(data));
