//! Arbitrary bytes as the files of a partition. Run with `cargo +nightly fuzz run segment_recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ottla_storage::fuzz_target::recover_arbitrary_segment(data);
});
