//! Percent-encoding of user and client names in znode paths
//! (`org.apache.kafka.common.utils.Sanitizer`).

/// Encodes a name: letters, digits, `.`, `-` and `_` stay, every other byte of its UTF-8 becomes
/// `%XX`.
pub fn sanitize(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// Decodes a name. Lenient like Java's decoder: `+` is a space, bytes that are no UTF-8 become the
/// replacement character; `None` if a `%` is not followed by two hex digits.
pub fn desanitize(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let (high, low) = (*rest.first()?, *rest.get(1)?);
                bytes.push(hex_digit(high)? << 4 | hex_digit(low)?);
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_java_does() {
        for (name, encoded) in [
            ("bob smith*", "bob%20smith%2A"),
            ("app/1", "app%2F1"),
            ("CN=x,O=y", "CN%3Dx%2CO%3Dy"),
            ("a.b-c_d~", "a.b-c_d%7E"),
            ("żółw", "%C5%BC%C3%B3%C5%82w"),
            ("<default>", "%3Cdefault%3E"),
            ("a+b", "a%2Bb"),
            ("", ""),
        ] {
            assert_eq!(sanitize(name), encoded);
            assert_eq!(desanitize(encoded).as_deref(), Some(name));
        }
        assert_eq!(
            desanitize("User%3aalice+b").as_deref(),
            Some("User:alice b")
        );
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for encoded in ["%", "a%2", "%zz", "%+1"] {
            assert_eq!(desanitize(encoded), None, "{encoded}");
        }
    }
}
