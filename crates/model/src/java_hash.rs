//! `java.lang.String.hashCode`, on which Kafka's choice of coordinators and fetchers rests.

/// Java's hash of a string: over UTF-16 code units, wrapping at 32 bits.
pub fn java_hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// `Utils.abs`: the absolute value, and 0 for the smallest integer.
pub fn kafka_abs(value: i32) -> i32 {
    value.checked_abs().unwrap_or(0)
}

/// The partition of an internal topic that coordinates a group or transactional id.
/// `partition_count` must be positive.
pub fn coordinator_partition(id: &str, partition_count: i32) -> i32 {
    assert!(
        partition_count > 0,
        "an internal topic has at least one partition"
    );
    kafka_abs(java_hash_code(id)) % partition_count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinator_partitions_are_those_of_java() {
        for (id, expected) in [
            ("spec-g1", 6),
            ("spec-tg", 49),
            ("spec-tx", 32),
            ("spec-tmc", 40),
            ("group-é", 33),
            ("g😀", 32),
            ("polygenelubricants", 0),
            ("", 0),
        ] {
            assert_eq!(coordinator_partition(id, 50), expected, "{id}");
        }
    }
}
