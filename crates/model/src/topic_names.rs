//! Which names a topic may have (`org.apache.kafka.common.internals.Topic`).

/// The longest legal name, in characters.
pub const MAX_NAME_LENGTH: usize = 249;

/// Why a name is refused; the text is the one that Kafka's tools show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Topic name is invalid: {0}")]
pub struct InvalidTopicName(String);

/// Whether a new topic may have this name.
pub fn validate(name: &str) -> Result<(), InvalidTopicName> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Java counts UTF-16 units.
    let length = name.encode_utf16().count();
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if length > MAX_NAME_LENGTH {
        format!("the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}")
    } else if !name.chars().all(legal) {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        )
    } else {
        return Ok(());
    };
    Err(InvalidTopicName(reason))
}

/// Whether a name has a character that metric names cannot tell from another.
pub fn has_collision_chars(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// Whether two names are the same once `.` and `_` are.
pub fn collide(a: &str, b: &str) -> bool {
    let unify = |c: char| if c == '.' { '_' } else { c };
    a.chars().map(unify).eq(b.chars().map(unify))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_javas_reasons() {
        let check = |name: &str, expected: &str| {
            let message = validate(name).map_or_else(|e| e.to_string(), |()| String::new());
            assert_eq!(message, expected);
        };
        check("a.B_c-9", "");
        check(&"a".repeat(249), "");
        check("", "Topic name is invalid: the empty string is not allowed");
        check("..", "Topic name is invalid: '..' is not allowed");
        check(
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        );
        assert!(validate(&"a".repeat(250)).is_err());
    }

    #[test]
    fn a_dot_and_an_underscore_collide() {
        assert!(collide("a.b", "a_b"));
        assert!(!collide("a.b", "a-b"));
        assert!(!collide("a.b", "a.bc"));
    }
}
