//! Keys and certificates from the files that Kafka and ZooKeeper take: PEM and PKCS12.

use std::path::{Path, PathBuf};

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Only Java reads these.
    #[error(
        "{}: key stores of type {kind} cannot be read here; convert it: keytool -importkeystore \
         -srckeystore {} -destkeystore NEW.p12 -deststoretype PKCS12",
        path.display(), path.display()
    )]
    JavaOnly {
        /// Which file.
        path: PathBuf,
        /// `JKS`, `BCFKS`, ….
        kind: String,
    },
    /// Neither a type is given nor does the name tell one.
    #[error(
        "{}: the name does not tell the type of the key store: end it with .pem or .p12, or set {key}",
        path.display()
    )]
    UnknownType {
        /// Which file.
        path: PathBuf,
        /// The key that tells the type.
        key: &'static str,
    },
    /// The content is not what it should be, or the password is wrong.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Where a store is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Store {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) password: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Pem,
    Pkcs12,
}

/// A key and the certificates that vouch for it, its own first.
pub(super) struct Identity {
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Store {
    /// A store of the type that is given, or else told by the file's name, as in ZooKeeper.
    pub(super) fn new(
        path: &str,
        kind: Option<&str>,
        kind_key: &'static str,
        password: Option<String>,
    ) -> Result<Self, KeyStoreError> {
        let path = PathBuf::from(path);
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        let kind = match kind.filter(|kind| !kind.is_empty()).or(suffix) {
            Some(kind) => kind.to_ascii_uppercase(),
            None => String::new(),
        };
        let kind = match kind.as_str() {
            "PEM" => Kind::Pem,
            "PKCS12" | "P12" => Kind::Pkcs12,
            "JKS" | "BCFKS" => return Err(KeyStoreError::JavaOnly { path, kind }),
            _ => {
                return Err(KeyStoreError::UnknownType {
                    path,
                    key: kind_key,
                });
            }
        };
        Ok(Self {
            path,
            kind,
            password,
        })
    }

    /// The key with its certificates.
    pub(super) fn identity(&self) -> Result<Identity, KeyStoreError> {
        let bytes = self.read()?;
        match self.kind {
            Kind::Pem => {
                let key = self.pem_key(&bytes)?;
                let chain = self.pem_certificates(&bytes)?;
                if chain.is_empty() {
                    return Err(self.malformed("no certificate in it"));
                }
                Ok(Identity { key, chain })
            }
            Kind::Pkcs12 => {
                let store = self.pkcs12(&bytes)?;
                let (_, entry) = store
                    .private_key_chain()
                    .ok_or_else(|| self.malformed("no private key in it"))?;
                let key = PrivatePkcs8KeyDer::from(entry.key().as_der().to_vec());
                let chain = entry.certs().iter();
                Ok(Identity {
                    key: key.into(),
                    chain: chain.map(|c| c.as_der().to_vec().into()).collect(),
                })
            }
        }
    }

    /// The certificates to trust.
    pub(super) fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, KeyStoreError> {
        let bytes = self.read()?;
        let certificates = match self.kind {
            Kind::Pem => self.pem_certificates(&bytes)?,
            Kind::Pkcs12 => {
                let store = self.pkcs12(&bytes)?;
                let certificate = |entry: &KeyStoreEntry| match entry {
                    KeyStoreEntry::Certificate(certificate) => {
                        Some(certificate.as_der().to_vec().into())
                    }
                    _ => None,
                };
                let entries = store.entries();
                entries
                    .filter_map(|(_, entry)| certificate(entry))
                    .collect()
            }
        };
        if certificates.is_empty() {
            return Err(self.malformed("no certificate to trust in it"));
        }
        Ok(certificates)
    }

    fn read(&self) -> Result<Vec<u8>, KeyStoreError> {
        let path = || self.path.clone();
        let bytes = std::fs::read(&self.path).map_err(|error| KeyStoreError::Unreadable {
            path: path(),
            error,
        })?;
        if bytes.starts_with(&JKS_MAGIC) {
            return Err(KeyStoreError::JavaOnly {
                path: path(),
                kind: "JKS".to_owned(),
            });
        }
        Ok(bytes)
    }

    fn pem_certificates(
        &self,
        bytes: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, KeyStoreError> {
        CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.malformed(&error.to_string()))
    }

    fn pem_key(&self, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, KeyStoreError> {
        if let Some(encrypted) = encrypted_key(bytes) {
            let (_, encrypted) = pkcs8::SecretDocument::from_pem(encrypted)
                .map_err(|error| self.malformed(&error.to_string()))?;
            let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes())
                .map_err(|error| self.malformed(&error.to_string()))?;
            let password = self.password.as_deref().unwrap_or_default();
            let key = encrypted.decrypt(password).map_err(|_| {
                self.malformed("the private key cannot be decrypted with the password")
            })?;
            return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
        }
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => self.malformed("no private key in it"),
            error => self.malformed(&error.to_string()),
        })
    }

    fn pkcs12(&self, bytes: &[u8]) -> Result<KeyStore, KeyStoreError> {
        let password = self.password.as_deref().unwrap_or_default();
        KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed).map_err(|error| {
            self.malformed(&format!(
                "not a PKCS12 key store, or the password is wrong ({error})"
            ))
        })
    }

    fn malformed(&self, reason: &str) -> KeyStoreError {
        KeyStoreError::Malformed {
            path: Path::to_owned(&self.path),
            reason: reason.to_owned(),
        }
    }
}

/// How a key store in Java's own format begins.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

/// The section of an encrypted private key.
fn encrypted_key(pem: &[u8]) -> Option<&str> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = std::str::from_utf8(pem).ok()?;
    let start = text.find(BEGIN)?;
    let length = text[start..].find(END)? + END.len();
    Some(&text[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys as `openssl pkcs8 -topk8 -v2 aes-256-cbc` and `-v2 des3 -v2prf hmacWithSHA1` write them.
    const AES: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhNwwoNQNk0tgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECnKYHN12anZs/Mc2mxb49cEgZAD
Oc4wE6A4kD58bOzKTLVelW7p0KmQFtIICBdUApJKJ+GVB5aibu0iWNPD24OgV8CU
B6wAIN8oAOkkOj0xSv1xncOKk6bCrkoEYH+ZxeXUxfQDOp1HrDbxwubngsm7O0ya
jySkE72GGGZRtuOJpa4zkD8Yxf/ruB4cDvdDRu3ApVB7GkhIKHY5LU3Zv/MUNKE=
-----END ENCRYPTED PRIVATE KEY-----
";
    const TRIPLE_DES: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHVMEAGCSqGSIb3DQEFDTAzMBsGCSqGSIb3DQEFDDAOBAhmnG5NNsLecwICCAAw
FAYIKoZIhvcNAwcECAx5SS7PeHKBBIGQSjQBJfcq0kXIAHt/DwryH7zeAysMQqUK
rTYqbAkCgVkpX4zT3/SKIBkMD2t0HG8glwMjAYsTS2EI//h1Zw5rzgq2ehaKaQh3
Q9r/HX8m6zmwaLEsLk8Zw6TRro7D0DUy1AMlgfFvUyhF2U4KRKsbfzIUy+tqmKdV
6zWwsEzDeEvIrLxp8oIQ8fYPi2EV51wv
-----END ENCRYPTED PRIVATE KEY-----
";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUJPFcSfVaQURRfy37UyHDxckf+YkwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjEwNjEyMDdaGA8yMTI2MTAyODA2MTIwN1ow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCD0MOIjKnLG
dvZNw+nPIH1O2KNprTAM7aFLiLf5jM9PUL3cfFrdull0UxASwW9lMqy+YjC++580
lmOkxMe1qXOjUzBRMB0GA1UdDgQWBBSwhQpIVRRPv2F5rPZCP9h7kbC3BzAfBgNV
HSMEGDAWgBSwhQpIVRRPv2F5rPZCP9h7kbC3BzAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIHZQvS+nJ0ESd+0TteGUatHbTm5b0eMafKmamXrtlnFq
AiEAvAbVMLMFKzX56ejb5l+YO+JwZkx9+ipezfeUmfPHAuY=
-----END CERTIFICATE-----
";

    fn store(content: &[u8], kind: &str, password: &str) -> (Store, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let path = file.path().display().to_string();
        let password = Some(password.to_owned());
        (
            Store::new(&path, Some(kind), "type", password).unwrap(),
            file,
        )
    }

    #[test]
    fn encrypted_keys_are_read_with_their_password_only() {
        for key in [AES, TRIPLE_DES] {
            let content = [key, CERTIFICATE].concat();
            let (right, _file) = store(content.as_bytes(), "pem", "secret");
            let identity = right.identity().unwrap();
            assert_eq!(identity.chain.len(), 1);
            assert!(matches!(identity.key, PrivateKeyDer::Pkcs8(_)));
            assert_eq!(right.trusted().unwrap(), identity.chain);
            let (wrong, _file) = store(content.as_bytes(), "PEM", "wrong");
            let error = wrong.identity().err().unwrap().to_string();
            assert!(error.contains("password"), "{error}");
        }
    }

    #[test]
    fn what_is_no_store_is_told_in_one_line() {
        let reason = |content: &[u8], kind: &str| {
            let (store, _file) = store(content, kind, "");
            let errors = [
                store.identity().err().unwrap().to_string(),
                store.trusted().err().unwrap().to_string(),
            ];
            assert!(
                errors.iter().all(|error| !error.contains('\n')),
                "{errors:?}"
            );
            errors.join(" ")
        };
        assert!(
            reason(b"\xfe\xed\xfe\xed\0\0\0\x02", "PKCS12").contains("keytool -importkeystore")
        );
        assert!(reason(b"nothing", "PKCS12").contains("not a PKCS12 key store"));
        assert!(reason(b"nothing", "PEM").contains("no private key"));
        let (only_key, _file) = store(AES.as_bytes(), "PEM", "secret");
        assert!(
            only_key
                .identity()
                .err()
                .unwrap()
                .to_string()
                .contains("no certificate")
        );
        assert!(Store::new("/x/store", None, "the.key", None).is_err());
    }
}
