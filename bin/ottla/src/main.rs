//! The ottla daemon and tools.
fn main() {}
