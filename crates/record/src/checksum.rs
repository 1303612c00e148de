//! CRC-32C (Castagnoli), the checksum of magic-2 batches.

/// The checksum of bytes.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of two pieces as one, from the checksums of both and the length of the second.
pub(crate) fn crc32c_combine(first: u32, second: u32, second_length: usize) -> u32 {
    let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
    let length = second_length as u64;
    // A checksum of 32 bits fills the low half.
    crc_fast::checksum_combine(algorithm, u64::from(first), u64::from(second), length) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_another_implementation_at_every_length() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..70_000_u32)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let lengths = (0..1300).chain([4095, 4096, 4097, 16_384, 65_535, 69_979]);
        for length in lengths {
            let piece = &bytes[21..21 + length];
            assert_eq!(crc32c(piece), ::crc32c::crc32c(piece), "{length} bytes");
            let (first, second) = piece.split_at(length / 3);
            let combined = crc32c_combine(crc32c(first), crc32c(second), second.len());
            assert_eq!(combined, crc32c(piece), "{length} bytes in two pieces");
        }
    }
}
