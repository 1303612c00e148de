//! Values of `AclAuthorizer` and of delegation tokens.

use bytes::Bytes;
use ottla_model::Timestamp;
use serde::Serialize;

use super::DecodeError;
use super::cluster::malformed;
use super::json::{as_object, as_str, encode, object, parse};
use crate::paths::sanitizer::{desanitize, sanitize};

/// One rule of a resource; names as in the JSON, for instance `Allow`, `Read`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AclBinding {
    /// For instance `User:alice`.
    pub principal: String,
    /// `Allow` or `Deny`.
    pub permission_type: String,
    /// An address or `*`.
    pub host: String,
    /// For instance `Read`.
    pub operation: String,
}

/// The rules of a resource (`AclEntry`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acls(pub Vec<AclBinding>);

impl Acls {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Rule<'a> {
            principal: &'a str,
            permission_type: &'a str,
            host: &'a str,
            operation: &'a str,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            acls: Vec<Rule<'a>>,
            version: i32,
        }
        let acls = self.0.iter().map(|acl| Rule {
            principal: &acl.principal,
            permission_type: &acl.permission_type,
            host: &acl.host,
            operation: &acl.operation,
        });
        encode(&Json {
            acls: acls.collect(),
            version: 1,
        })
    }

    /// Reads the znode's value; what is not JSON holds no rules.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let Ok(value) = parse(data) else {
            return Ok(Self::default());
        };
        let json = object(&value)?;
        let version = json.i32("version")?;
        if version != 1 {
            return Err(DecodeError::UnsupportedVersion(version.into()));
        }
        let mut acls = Vec::new();
        for rule in json.array("acls")? {
            let rule = as_object(rule, "acls")?;
            acls.push(AclBinding {
                principal: rule.str("principal")?.to_owned(),
                permission_type: rule.str("permissionType")?.to_owned(),
                host: rule.str("host")?.to_owned(),
                operation: rule.str("operation")?.to_owned(),
            });
        }
        Ok(Self(acls))
    }
}

/// A notification below `/kafka-acl-extended-changes`. (Literal ones are the text `TYPE:name`.)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtendedAclChange {
    /// Upper-case name, for instance `TOPIC`.
    pub resource_type: String,
    /// The pattern.
    pub name: String,
    /// `PREFIXED`.
    pub pattern_type: String,
}

impl ExtendedAclChange {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Json<'a> {
            version: i32,
            resource_type: &'a str,
            name: &'a str,
            pattern_type: &'a str,
        }
        let Self {
            resource_type,
            name,
            pattern_type,
        } = self;
        encode(&Json {
            version: 1,
            resource_type,
            name,
            pattern_type,
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let version = json.i32("version")?;
        if version > 1 {
            return Err(DecodeError::UnsupportedVersion(version.into()));
        }
        Ok(Self {
            resource_type: json.str("resourceType")?.to_owned(),
            name: json.str("name")?.to_owned(),
            pattern_type: json.str("patternType")?.to_owned(),
        })
    }
}

/// `/delegation_token/tokens/<id>`. The HMAC is not stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelegationToken {
    /// Its id.
    pub token_id: String,
    /// For instance `User:alice`.
    pub owner: String,
    /// Who asked for it; the owner unless another did (KIP-373).
    pub token_requester: String,
    /// Who else may renew it.
    pub renewers: Vec<String>,
    /// When it was issued.
    pub issue_timestamp: Timestamp,
    /// When it expires unless renewed.
    pub expiry_timestamp: Timestamp,
    /// When it expires for good.
    pub max_timestamp: Timestamp,
}

impl DelegationToken {
    /// The znode's value, in version 3.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Json<'a> {
            issue_timestamp: i64,
            renewers: Vec<String>,
            token_requester: String,
            token_id: &'a str,
            owner: String,
            expiry_timestamp: i64,
            max_timestamp: i64,
            version: i32,
        }
        encode(&Json {
            issue_timestamp: self.issue_timestamp.0,
            renewers: self
                .renewers
                .iter()
                .map(|renewer| sanitize(renewer))
                .collect(),
            token_requester: sanitize(&self.token_requester),
            token_id: &self.token_id,
            owner: sanitize(&self.owner),
            expiry_timestamp: self.expiry_timestamp.0,
            max_timestamp: self.max_timestamp.0,
            version: 3,
        })
    }

    /// Reads the znode's value, versions 1 to 3.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let version = json.i32("version")?;
        if !(1..=3).contains(&version) {
            return Err(DecodeError::UnsupportedVersion(version.into()));
        }
        let principal =
            |key: &'static str, text: &str| desanitize(text).ok_or_else(|| malformed(key, text));
        let owner = principal("owner", json.str("owner")?)?;
        let token_requester = match version {
            3 => principal("tokenRequester", json.str("tokenRequester")?)?,
            _ => owner.clone(),
        };
        let mut renewers = Vec::new();
        for renewer in json.array("renewers")? {
            renewers.push(principal("renewers", as_str(renewer, "renewers")?)?);
        }
        Ok(Self {
            token_id: json.str("tokenId")?.to_owned(),
            owner,
            token_requester,
            renewers,
            issue_timestamp: Timestamp(json.i64("issueTimestamp")?),
            expiry_timestamp: Timestamp(json.i64("expiryTimestamp")?),
            max_timestamp: Timestamp(json.i64("maxTimestamp")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_a_real_cluster() {
        let golden = r#"{"acls":[{"principal":"User:alice","permissionType":"Allow","host":"*","operation":"Read"},{"principal":"User:bob","permissionType":"Deny","host":"10.0.0.1","operation":"Write"}],"version":1}"#;
        let acls = Acls::decode(golden.as_bytes()).unwrap();
        assert_eq!(acls.encode(), golden);
        assert_eq!(acls.0[1].permission_type, "Deny");
        assert_eq!(Acls::decode(b""), Ok(Acls::default()));
        assert!(Acls::decode(br#"{"acls":[],"version":2}"#).is_err());
        assert!(Acls::decode(br#"{"acls":[{}],"version":1}"#).is_err());
    }

    #[test]
    fn an_extended_change_is_that_of_a_real_cluster() {
        let golden =
            r#"{"version":1,"resourceType":"TOPIC","name":"pre-","patternType":"PREFIXED"}"#;
        let change = ExtendedAclChange::decode(golden.as_bytes()).unwrap();
        assert_eq!(change.encode(), golden);
        assert!(ExtendedAclChange::decode(br#"{"version":2}"#).is_err());
    }

    #[test]
    fn a_token_is_that_of_a_real_cluster() {
        let golden = r#"{"issueTimestamp":1795217841604,"renewers":["User%3Abob"],"tokenRequester":"User%3Aalice","tokenId":"2dvsLtvCSoK_w-k9ta7m3w","owner":"User%3Aalice","expiryTimestamp":1795304241604,"maxTimestamp":1795822641604,"version":3}"#;
        let token = DelegationToken::decode(golden.as_bytes()).unwrap();
        assert_eq!(token.encode(), golden);
        assert_eq!(token.renewers, ["User:bob"]);
        let old = golden
            .replace("\"version\":3", "\"version\":2")
            .replace("tokenRequester", "x");
        assert_eq!(DelegationToken::decode(old.as_bytes()), Ok(token));
    }
}
