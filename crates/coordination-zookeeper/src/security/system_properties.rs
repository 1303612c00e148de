//! What a Java broker is told by `-Dname=value`.

use std::collections::BTreeMap;

/// The system properties that `KAFKA_OPTS` sets, as Kafka's scripts hand them to Java.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SystemProperties(BTreeMap<String, String>);

impl SystemProperties {
    /// Takes the `-D` options out of a command line. Like the shell in Kafka's scripts it splits at
    /// blanks and knows no quotes; the last of two counts.
    pub fn from_options(options: &str) -> Self {
        let definitions = options
            .split_whitespace()
            .filter_map(|option| option.strip_prefix("-D"));
        let pair = |definition: &str| {
            let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
            (name.to_owned(), value.to_owned())
        };
        Self(definitions.map(pair).collect())
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_definition_counts_and_other_options_do_not() {
        let properties = SystemProperties::from_options(" -Da=1 -Xmx1G  -Dfile==/x=y -Da=2 -Dbare");
        assert_eq!(properties.get("a"), Some("2"));
        assert_eq!(properties.get("file"), Some("=/x=y"));
        assert_eq!(properties.get("bare"), Some(""));
        assert_eq!(properties.get("Xmx1G"), None);
    }
}
