//! The same keys in TOML: `log.retention.ms = 1000` reads as the dotted key, and a table per prefix
//! works as well. Where one key is a prefix of another, quotes keep them apart.

use toml::{Table, Value};

use crate::error::ConfigError;
use crate::field::Properties;

/// Reads a TOML file. Arrays become lists.
///
/// # Errors
/// Text that is not TOML, a key in both the quoted and the dotted form, and values that no key has
/// (dates, tables inside arrays).
pub fn parse(text: &str) -> Result<Properties, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        ConfigError::Syntax {
            line: before.matches('\n').count() + 1,
            reason: error.message().to_owned(),
        }
    })?;
    let mut properties = Properties::new();
    flatten("", &table, &mut properties)?;
    Ok(properties)
}

fn flatten(prefix: &str, table: &Table, properties: &mut Properties) -> Result<(), ConfigError> {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if let Value::Table(inner) = value {
            flatten(&name, inner, properties)?;
            continue;
        }
        let text = scalar(&name, value)?;
        if properties.insert(name.clone(), text).is_some() {
            return Err(ConfigError::Syntax {
                line: 0,
                reason: format!("{name} is set twice, with quotes and with dots"),
            });
        }
    }
    Ok(())
}

fn scalar(name: &str, value: &Value) -> Result<String, ConfigError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(crate::value::Value::Double(*number).to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        Value::Array(values) => {
            let texts: Result<Vec<_>, _> = values.iter().map(|value| scalar(name, value)).collect();
            Ok(texts?.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => Err(ConfigError::Syntax {
            line: 0,
            reason: format!("{name} is neither text, a number, true, false nor a list of them"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let expect: Properties = expect
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(parse(text), Ok(expect), "{text}");
    }

    #[test]
    fn dotted_keys_tables_and_quoted_keys_are_the_same_keys() {
        check("log.retention.ms = 1000", &[("log.retention.ms", "1000")]);
        check(
            "[log]\nretention.ms = 1000",
            &[("log.retention.ms", "1000")],
        );
        check(
            "\"log.retention.ms\" = 1000",
            &[("log.retention.ms", "1000")],
        );
        check(
            "\"max.connections\" = 5\nmax.connections.per.ip = 2",
            &[("max.connections", "5"), ("max.connections.per.ip", "2")],
        );
        check(
            "log.dirs = [\"/a\", \"/b\"]\nlog.cleaner.enable = false\nx = 0.5",
            &[
                ("log.cleaner.enable", "false"),
                ("log.dirs", "/a,/b"),
                ("x", "0.5"),
            ],
        );
    }

    #[test]
    fn a_key_in_both_forms_is_an_error() {
        let error = parse("\"log.dirs\" = \"/a\"\nlog.dirs = \"/b\"").unwrap_err();
        assert!(
            error.to_string().contains("log.dirs is set twice"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_their_line() {
        let error = parse("a = 1\nb = \n").unwrap_err();
        assert!(
            matches!(error, ConfigError::Syntax { line: 2, .. }),
            "{error:?}"
        );
        assert!(parse("a = 2020-01-01").is_err());
    }
}
