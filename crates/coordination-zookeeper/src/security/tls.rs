//! TLS as a client of ZooKeeper.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::key_store::Identity;

/// How connections are protected.
#[derive(Clone)]
pub struct Tls {
    /// Its verifier is replaced for each connection.
    config: Arc<ClientConfig>,
    trust: Arc<Trust>,
    is_authenticated: bool,
}

/// Whom to believe.
#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What protects a connection.
pub(super) struct TlsParts {
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    /// Names of Java's; all that are good if absent.
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) checks_name: bool,
    pub(super) identity: Option<Identity>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("is_authenticated", &self.is_authenticated)
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(parts: TlsParts) -> Result<Self, String> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(names) = &parts.cipher_suites {
            provider.cipher_suites = suites(&provider, names)?;
        }
        let mut roots = RootCertStore::empty();
        for certificate in &parts.trusted {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("a certificate to trust: {error}"))?;
        }
        let trust = Arc::new(Trust {
            roots,
            certificates: parts.trusted,
            checks_name: parts.checks_name,
            algorithms: provider.signature_verification_algorithms,
        });
        let verifier = Verifier {
            trust: Arc::clone(&trust),
            address: None,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&parts.versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let is_authenticated = parts.identity.is_some();
        let config = match parts.identity {
            Some(Identity { key, chain }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("the private key: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            trust,
            is_authenticated,
        })
    }

    /// Whether a certificate is shown to the server.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// Protects a connection to a server of this name.
    pub(crate) async fn connect(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let mut config = (*self.config).clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Verifier {
                trust: Arc::clone(&self.trust),
                address: Some(tcp.peer_addr()?.ip()),
            }));
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await
    }
}

/// The suites of these names, in this order.
fn suites(
    provider: &CryptoProvider,
    names: &[String],
) -> Result<Vec<rustls::SupportedCipherSuite>, String> {
    let find = |name: &String| {
        let found = provider.cipher_suites.iter().find(|suite| {
            let known = format!("{:?}", suite.suite());
            // Java calls those of TLS 1.3 as the standard does.
            known == *name || known.replacen("TLS13_", "TLS_", 1) == *name
        });
        found
            .copied()
            .ok_or_else(|| format!("the cipher suite {name} is not supported"))
    };
    names.iter().map(find).collect()
}

/// Java's rules, as far as ZooKeeper's client uses them: a certificate is believed if it is trusted
/// itself or signed by one that is; the name may be the one that was asked for or the address that
/// it was reached at.
#[derive(Debug)]
struct Verifier {
    trust: Arc<Trust>,
    address: Option<IpAddr>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !self.trust.certificates.contains(end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.trust.roots,
                intermediates,
                now,
                self.trust.algorithms.all,
            )?;
        }
        if self.trust.checks_name {
            verify_server_name(&certificate, server_name).or_else(|error| match self.address {
                Some(address) => verify_server_name(&certificate, &address.into()),
                None => Err(error),
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
