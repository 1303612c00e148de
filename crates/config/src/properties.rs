//! Java's `.properties` format, as `java.util.Properties.load` reads it.

use std::iter::Peekable;

use crate::error::ConfigError;
use crate::field::Properties;

/// Reads a properties file. Bytes are Latin-1, as in Java; of two values for a key the last wins.
///
/// # Errors
/// A `\u` escape without four hexadecimal digits.
pub fn parse(bytes: &[u8]) -> Result<Properties, ConfigError> {
    let mut properties = Properties::new();
    for (line, text) in logical_lines(bytes) {
        let (name, value) = split(&text);
        let unescape = |text: &[char]| unescape(text, line);
        properties.insert(unescape(name)?, unescape(value)?);
    }
    Ok(properties)
}

/// Lines without comments and blank ones; a backslash at the end joins the next line, without the
/// blanks it starts with. Each comes with the number of its first line.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<char>)> {
    let mut lines = Vec::new();
    let mut joined: Option<(usize, Vec<char>)> = None;
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        let start = natural
            .iter()
            .position(|c| !is_blank(*c))
            .unwrap_or(natural.len());
        let text = &natural[start..];
        if joined.is_none() && (text.is_empty() || matches!(text[0], '#' | '!')) {
            continue;
        }
        let backslashes = text.iter().rev().take_while(|c| **c == '\\').count();
        let (_, line) = joined.get_or_insert_with(|| (index + 1, Vec::new()));
        if backslashes % 2 == 1 {
            line.extend(&text[..text.len() - 1]);
            continue;
        }
        line.extend(text);
        lines.extend(joined.take());
    }
    lines.extend(joined);
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn natural_lines(bytes: &[u8]) -> Vec<Vec<char>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(Vec::new()),
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            _ => lines
                .last_mut()
                .into_iter()
                .for_each(|line| line.push(char::from(byte))),
        }
    }
    lines
}

/// The key ends at the first `=`, `:` or blank that is not escaped; blanks and at most one `=` or
/// `:` lie between it and the value.
fn split(line: &[char]) -> (&[char], &[char]) {
    let mut escaped = false;
    let end = line.iter().position(|c| {
        let ends = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
        escaped = *c == '\\' && !escaped;
        ends
    });
    let end = end.unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = skip_blanks(rest);
    let rest = match rest.first() {
        Some('=' | ':') => skip_blanks(&rest[1..]),
        _ => rest,
    };
    (name, rest)
}

fn skip_blanks(text: &[char]) -> &[char] {
    let start = text
        .iter()
        .position(|c| !is_blank(*c))
        .unwrap_or(text.len());
    &text[start..]
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn unescape(text: &[char], line: usize) -> Result<String, ConfigError> {
    // UTF-16 code units, since two escapes may make one character.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.iter().copied().peekable();
    while let Some(c) = chars.next() {
        let unit = match c {
            '\\' => match chars.next() {
                Some('u') => hexadecimal(&mut chars).ok_or_else(|| ConfigError::Syntax {
                    line,
                    reason: "Malformed \\uxxxx encoding.".to_owned(),
                })?,
                Some('t') => u16::from(b'\t'),
                Some('r') => u16::from(b'\r'),
                Some('n') => u16::from(b'\n'),
                Some('f') => 0xc,
                Some(other) => latin_1(other),
                None => continue,
            },
            other => latin_1(other),
        };
        units.push(unit);
    }
    Ok(String::from_utf16_lossy(&units))
}

/// Every character here came from one byte.
fn latin_1(c: char) -> u16 {
    u16::try_from(u32::from(c)).unwrap_or(u16::MAX)
}

fn hexadecimal(chars: &mut Peekable<impl Iterator<Item = char>>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next()?.to_digit(16)?;
        unit = unit * 16 + u16::try_from(digit).ok()?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let expect: Properties = expect
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(parse(text.as_bytes()), Ok(expect), "{text}");
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        check(
            "a=1\nb = 2\r\nc:3\rd 4",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")],
        );
        check("  # no\n! no\n\n \t\na=#1 ", &[("a", "#1 ")]);
        check("a=1\na=2", &[("a", "2")]);
        check("a", &[("a", "")]);
        check("a==b", &[("a", "=b")]);
        check("a : = b", &[("a", "= b")]);
        check("=v", &[("", "v")]);
    }

    #[test]
    fn a_backslash_joins_lines_and_escapes() {
        check("a=1,\\\n   2,\\\r\n3", &[("a", "1,2,3")]);
        check("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]);
        check("a=1\\\n# 2", &[("a", "1# 2")]);
        check("# no\\\na=1", &[("a", "1")]);
        check("a\\=b\\:c\\ d=\\te\\q", &[("a=b:c d", "\teq")]);
        check("a=1\\", &[("a", "1")]);
        check("a=\\u0041\\uD83D\\uDE00", &[("a", "A\u{1f600}")]);
        check("\\u0061=\\\\u", &[("a", "\\u")]);
    }

    #[test]
    fn bytes_are_latin_1() {
        assert_eq!(
            parse(b"a=\xe4"),
            Ok([("a".to_owned(), "\u{e4}".to_owned())].into())
        );
    }

    #[test]
    fn a_torn_unicode_escape_names_its_line() {
        let error = ConfigError::Syntax {
            line: 2,
            reason: "Malformed \\uxxxx encoding.".into(),
        };
        assert_eq!(parse(b"a=1\nb=\\u12"), Err(error));
    }
}
