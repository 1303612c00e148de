//! JAAS login configuration files, as Java's `ConfigFile` reads them:
//!
//! ```text
//! Client {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     username="kafka" password="secret";
//! };
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// One login module of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LoginModule {
    /// The Java class.
    pub(super) class: String,
    pub(super) options: BTreeMap<String, String>,
}

/// What is wrong with a file, with the number of the line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct JaasError {
    line: usize,
    reason: String,
}

/// The sections of a file by name; `expand` gives the value of `${name}`.
pub(super) fn parse(
    text: &str,
    expand: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Vec<LoginModule>>, JaasError> {
    let mut parser = Parser {
        chars: text.chars().peekable(),
        line: 1,
        expand,
    };
    let mut sections = BTreeMap::new();
    while let Some(token) = parser.token()? {
        let Token::Text(name) = token else {
            return Err(parser.error("the name of a section is expected"));
        };
        parser.expect('{')?;
        let modules = parser.modules()?;
        if sections.insert(name.clone(), modules).is_some() {
            return Err(parser.error(&format!("section {name} is there twice")));
        }
        parser.expect(';')?;
    }
    Ok(sections)
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    expand: &'a dyn Fn(&str) -> Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    /// A word or a quoted text.
    Text(String),
    /// `{`, `}`, `;` or `=`.
    Mark(char),
}

impl Parser<'_> {
    /// Up to the closing brace.
    fn modules(&mut self) -> Result<Vec<LoginModule>, JaasError> {
        let mut modules = Vec::new();
        loop {
            match self.token()? {
                Some(Token::Mark('}')) => return Ok(modules),
                Some(Token::Text(class)) => modules.push(self.module(class)?),
                _ => return Err(self.error("a login module or } is expected")),
            }
        }
    }

    fn module(&mut self, class: String) -> Result<LoginModule, JaasError> {
        let flags = ["required", "requisite", "sufficient", "optional"];
        match self.token()? {
            Some(Token::Text(flag)) if flags.contains(&flag.to_ascii_lowercase().as_str()) => {}
            _ => {
                return Err(self.error("required, requisite, sufficient or optional is expected"));
            }
        }
        let mut options = BTreeMap::new();
        loop {
            match self.token()? {
                Some(Token::Mark(';')) => return Ok(LoginModule { class, options }),
                Some(Token::Text(name)) => {
                    self.expect('=')?;
                    let Some(Token::Text(value)) = self.token()? else {
                        return Err(self.error(&format!("the value of {name} is expected")));
                    };
                    let value = self.expanded(&value)?;
                    options.insert(name, value);
                }
                _ => return Err(self.error("an option or ; is expected")),
            }
        }
    }

    fn expect(&mut self, mark: char) -> Result<(), JaasError> {
        if self.token()? == Some(Token::Mark(mark)) {
            return Ok(());
        }
        Err(self.error(&format!("{mark} is expected")))
    }

    fn error(&self, reason: &str) -> JaasError {
        JaasError {
            line: self.line,
            reason: reason.to_owned(),
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    /// `None` at the end of the file.
    fn token(&mut self) -> Result<Option<Token>, JaasError> {
        loop {
            let Some(c) = self.next() else {
                return Ok(None);
            };
            match c {
                '/' => self.comment()?,
                '"' | '\'' => return self.quoted(c).map(Some),
                '{' | '}' | ';' | '=' => return Ok(Some(Token::Mark(c))),
                c if c <= ' ' => {}
                c if is_word(c) => {
                    let mut word = String::from(c);
                    while let Some(c) = self.chars.next_if(|c| is_word(*c)) {
                        word.push(c);
                    }
                    return Ok(Some(Token::Text(word)));
                }
                c => return Err(self.error(&format!("{c} is not expected"))),
            }
        }
    }

    /// After a slash, which begins a comment in any case.
    fn comment(&mut self) -> Result<(), JaasError> {
        if self.chars.next_if_eq(&'*').is_none() {
            while self.chars.next_if(|c| *c != '\n').is_some() {}
            return Ok(());
        }
        let mut previous = ' ';
        while let Some(c) = self.next() {
            if (previous, c) == ('*', '/') {
                return Ok(());
            }
            previous = c;
        }
        Err(self.error("a comment does not end"))
    }

    /// After the opening quote. Escapes are Java's.
    fn quoted(&mut self, quote: char) -> Result<Token, JaasError> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some(c) if c == quote => return Ok(Token::Text(text)),
                Some('\\') => match self.next() {
                    Some(digit @ '0'..='7') => text.push(self.octal(digit)),
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('a') => text.push('\u{7}'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('v') => text.push('\u{b}'),
                    Some(c) if c != '\n' => text.push(c),
                    _ => return Err(self.error("a quoted text does not end")),
                },
                None | Some('\n' | '\r') => return Err(self.error("a quoted text does not end")),
                Some(c) => text.push(c),
            }
        }
    }

    /// Three digits at most, the first of them at most 3.
    fn octal(&mut self, first: char) -> char {
        let value = |c: char| c.to_digit(8).unwrap_or(0);
        let mut code = value(first);
        let more = if first <= '3' { 2 } else { 1 };
        for _ in 0..more {
            match self.chars.next_if(|c| matches!(c, '0'..='7')) {
                Some(digit) => code = code * 8 + value(digit),
                None => break,
            }
        }
        char::from_u32(code).unwrap_or('?')
    }

    fn expanded(&self, value: &str) -> Result<String, JaasError> {
        let mut text = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                break;
            };
            let Some(expanded) = (self.expand)(name) else {
                return Err(self.error(&format!("${{{name}}} has no value")));
            };
            text.push_str(before);
            text.push_str(&expanded);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// What `StreamTokenizer` takes for a part of a word or of a number, with the additions of
/// `ConfigFile`.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '$' | '_' | '*') || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Vec<LoginModule>>, JaasError> {
        parse(text, &|name| (name == "home").then(|| "/h".to_owned()))
    }

    #[test]
    fn sections_modules_and_options_are_read() {
        let text = r#"
            // A comment.
            Server { a.B required; };
            /* Another
               one. */
            Client {
                org.apache.zookeeper.server.auth.DigestLoginModule REQUIRED
                    username="ka\"f;ka" // in between
                    password='p\\w\101 = {}'
                    user_x=y-1.z
                    file="${home}/k${home}";
                c.D optional x="";
            };
            "quoted name" { };
        "#;
        let sections = read(text).unwrap();
        let names: Vec<&str> = sections.keys().map(String::as_str).collect();
        assert_eq!(names, ["Client", "Server", "quoted name"]);
        let [digest, other] = &sections["Client"][..] else {
            panic!("two modules");
        };
        assert!(digest.class.ends_with(".DigestLoginModule"));
        let options = ["username", "password", "user_x", "file"].map(|o| &digest.options[o]);
        assert_eq!(options, ["ka\"f;ka", "p\\wA = {}", "y-1.z", "/h/k/h"]);
        assert_eq!(
            (other.class.as_str(), other.options["x"].as_str()),
            ("c.D", "")
        );
        assert!(sections["quoted name"].is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [
            ("Client", 1),
            ("Client {\n x y; };", 2),
            ("Client {\n\n x required a; };", 3),
            ("Client { x required a=\"\n\"; };", 2),
            ("Client { x required }", 1),
            ("Client { x required; }", 1),
            ("Client { x required a=\"${nothing}\"; };", 1),
            ("Client {};\nClient {};", 2),
            ("/* ", 1),
            ("Client ( )", 1),
            ("{ };", 1),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
        assert_eq!(read(" // nothing").unwrap(), BTreeMap::new());
    }
}
