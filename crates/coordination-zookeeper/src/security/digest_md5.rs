//! The client's side of SASL DIGEST-MD5 (RFC 2831), as ZooKeeper uses it.

use std::collections::BTreeMap;
use std::fmt;

use md5::{Digest as _, Md5};

/// The service and the host that ZooKeeper's servers expect, whatever their real name.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestCredentials {
    /// The name; znodes that belong to it say `sasl:name`.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for DigestCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestCredentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why the exchange failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum DigestError {
    #[error("the server does not offer DIGEST-MD5")]
    NotOffered,
    #[error("the server's challenge is malformed")]
    BadChallenge,
    #[error("the server does not know the password itself")]
    ServerNotAuthentic,
}

/// One exchange.
pub(crate) struct DigestClient<'a> {
    credentials: &'a DigestCredentials,
    /// What the server must prove to know.
    expected: Option<String>,
}

impl<'a> DigestClient<'a> {
    pub(crate) fn new(credentials: &'a DigestCredentials) -> Self {
        Self {
            credentials,
            expected: None,
        }
    }

    /// The answer to the server's challenge; `nonce` is random text of this side.
    pub(crate) fn respond(
        &mut self,
        challenge: &[u8],
        client_nonce: &str,
    ) -> Result<String, DigestError> {
        if challenge.is_empty() {
            return Err(DigestError::NotOffered);
        }
        let challenge = std::str::from_utf8(challenge).map_err(|_| DigestError::BadChallenge)?;
        let directives = directives(challenge).ok_or(DigestError::BadChallenge)?;
        let directive = |name: &str| directives.get(name).map(String::as_str);
        let nonce = directive("nonce").ok_or(DigestError::BadChallenge)?;
        let realm = directive("realm").unwrap_or_default();
        let offers_auth = directive("qop").is_none_or(|all| all.split(',').any(is_auth));
        if directive("algorithm") != Some("md5-sess") || !offers_auth {
            return Err(DigestError::NotOffered);
        }
        let is_utf8 = directive("charset") == Some("utf-8");
        let DigestCredentials { username, password } = self.credentials;
        let mut secret = Md5::new();
        secret.update(encoded(username, is_utf8));
        secret.update(b":");
        secret.update(encoded(realm, is_utf8));
        secret.update(b":");
        secret.update(encoded(password, is_utf8));
        let mut key = Md5::new();
        key.update(secret.finalize());
        key.update(format!(":{nonce}:{client_nonce}"));
        let key = hex(&key.finalize());
        let proof = |action: &str| {
            let action = hex(&Md5::digest(format!("{action}:{DIGEST_URI}")));
            hex(&Md5::digest(format!(
                "{key}:{nonce}:00000001:{client_nonce}:auth:{action}"
            )))
        };
        self.expected = Some(format!("rspauth={}", proof("")));
        let charset = if is_utf8 { "charset=utf-8," } else { "" };
        Ok(format!(
            "{charset}username=\"{}\",realm=\"{}\",nonce=\"{}\",nc=00000001,\
             cnonce=\"{client_nonce}\",digest-uri=\"{DIGEST_URI}\",maxbuf=65536,response={},qop=auth",
            quoted(username),
            quoted(realm),
            quoted(nonce),
            proof("AUTHENTICATE"),
        ))
    }

    /// Whether the server knows the password too.
    pub(crate) fn confirm(&self, confirmation: &[u8]) -> Result<(), DigestError> {
        match &self.expected {
            Some(expected) if expected.as_bytes() == confirmation => Ok(()),
            _ => Err(DigestError::ServerNotAuthentic),
        }
    }
}

fn is_auth(protection: &str) -> bool {
    protection.trim() == "auth"
}

/// `name=value,name="value",…`; of two with one name the first counts.
fn directives(text: &str) -> Option<BTreeMap<String, String>> {
    let mut directives = BTreeMap::new();
    let mut rest = text.trim_start_matches([',', ' ']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        let name = name.trim().to_ascii_lowercase();
        directives.entry(name).or_insert(value);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start_matches([',', ' ']),
            None if after.is_empty() => "",
            None => return None,
        };
    }
    Some(directives)
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What is hashed: ISO 8859-1 wherever that is enough, even when UTF-8 is spoken (RFC 2831, 2.1.2.1).
fn encoded(text: &str, is_utf8: bool) -> Vec<u8> {
    let latin: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    match latin {
        Ok(latin) => latin,
        Err(_) if is_utf8 => text.as_bytes().to_vec(),
        // Java writes a question mark for what the character set does not have.
        Err(_) => text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    for byte in bytes {
        // A string takes everything.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> DigestCredentials {
        DigestCredentials {
            username: "chris".to_owned(),
            password: "secret".to_owned(),
        }
    }

    /// The example of RFC 2831, 4, with ZooKeeper's digest-uri; the numbers were computed apart.
    const CHALLENGE: &str = "realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",\
         qop=\"auth,auth-int\",algorithm=md5-sess,charset=utf-8";

    #[test]
    fn the_password_is_proved_and_not_sent() {
        let credentials = credentials();
        let mut client = DigestClient::new(&credentials);
        let response = client
            .respond(CHALLENGE.as_bytes(), "OA6MHXh6VqTrRk")
            .unwrap();
        assert_eq!(
            response,
            "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",\
             nonce=\"OA6MG9tEQGm2hh\",nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",\
             digest-uri=\"zookeeper/zk-sasl-md5\",maxbuf=65536,\
             response=3d53f3e841d45c8a4dcf0f37c4725582,qop=auth"
        );
        assert_eq!(
            client.confirm(b"rspauth=8c55a82deadfa98cf2a60488be40c74d"),
            Ok(())
        );
        assert_eq!(
            client.confirm(b"rspauth=ea40f60335c427b5527b84dbabcdfffd"),
            Err(DigestError::ServerNotAuthentic)
        );
    }

    #[test]
    fn nothing_is_proved_to_a_server_that_does_not_ask() {
        let credentials = credentials();
        let respond = |challenge: &str| {
            DigestClient::new(&credentials)
                .respond(challenge.as_bytes(), "n")
                .err()
        };
        assert_eq!(respond(""), Some(DigestError::NotOffered));
        assert_eq!(
            respond("nonce=\"x\",algorithm=md5"),
            Some(DigestError::NotOffered)
        );
        assert_eq!(
            respond("nonce=\"x\",algorithm=md5-sess,qop=\"auth-conf\""),
            Some(DigestError::NotOffered)
        );
        for bad in ["algorithm=md5-sess", "nonce", "nonce=\"x", "nonce=\"x\"y"] {
            assert_eq!(respond(bad), Some(DigestError::BadChallenge), "{bad}");
        }
        let client = DigestClient::new(&credentials);
        assert!(client.confirm(b"").is_err());
    }

    #[test]
    fn quotes_and_other_alphabets_are_kept() {
        let parsed = directives(" a=\"x,\\\"y\\\\\" , B=c,a=2").unwrap();
        assert_eq!(parsed["a"], "x,\"y\\");
        assert_eq!(parsed["b"], "c");
        assert_eq!(quoted("a\"b\\"), "a\\\"b\\\\");
        assert_eq!(encoded("é", true), [0xe9]);
        assert_eq!(encoded("€", true), "€".as_bytes());
        assert_eq!(encoded("€", false), b"?");
        assert!(!format!("{:?}", credentials()).contains("secret"));
    }
}
