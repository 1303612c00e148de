//! A ZooKeeper with a port for TLS, and SASL on the other.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ottla_integration::free_port::free_port;
use ottla_integration::process::Process;
use ottla_integration::tools;
use ottla_integration::wait::wait_for;
use zookeeper_client::{Acl, Client, Error, Permission};

use crate::certificates::{Certificates, PASSWORD};

/// Of the user `kafka`.
pub(crate) const SASL_PASSWORD: &str = "kafka; secret";

/// Who may see everything: `super:admin`.
const SUPER_DIGEST: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

pub(crate) struct SecureZookeeper {
    port: u16,
    tls_port: u16,
    runtime: tokio::runtime::Runtime,
    _process: Process,
}

impl SecureZookeeper {
    pub(crate) fn start(directory: &Path, files: &Certificates) -> anyhow::Result<Self> {
        let (port, tls_port) = (free_port()?, free_port()?);
        let jaas = directory.join("server.jaas");
        std::fs::write(
            &jaas,
            format!(
                "Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n  \
                 user_kafka=\"{SASL_PASSWORD}\";\n}};\n"
            ),
        )?;
        let properties = directory.join("zookeeper.properties");
        std::fs::write(
            &properties,
            format!(
                "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
                 secureClientPort={tls_port}\nsecureClientPortAddress=127.0.0.1\n\
                 serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                 authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
                 authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
                 ssl.keyStore.location={}\nssl.keyStore.password={PASSWORD}\n\
                 ssl.trustStore.location={}\nssl.clientAuth=need\nssl.protocol=TLSv1.3\n\
                 ssl.ciphersuites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n\
                 ssl.enabledProtocols=TLSv1.2,TLSv1.3\n\
                 tickTime=500\nmaxClientCnxns=0\nadmin.enableServer=false\n",
                directory.join("data").display(),
                files.server_p12.display(),
                files.ca_pem.display(),
            ),
        )?;
        let mut java = Command::new("java");
        java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!(
                "-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}"
            ))
            .arg(format!(
                "-Djava.security.auth.login.config={}",
                jaas.display()
            ))
            .arg("-cp")
            .arg(tools::class_path("kafka-3.9"))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&properties);
        let process = Process::start(java, directory, "zookeeper")?;
        for port in [port, tls_port] {
            wait_for("ZooKeeper's port", Duration::from_secs(180), || {
                TcpStream::connect(("127.0.0.1", port)).ok()
            })?;
        }
        Ok(Self {
            port,
            tls_port,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            _process: process,
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// `scheme:id permissions` of each entry, as the one who may see everything.
    pub(crate) fn acl(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let connect = self.address();
        self.runtime.block_on(async {
            let connector = Client::connector().with_auth("digest", b"super:admin");
            let client = connector.connect(&connect).await?;
            let (acls, _) = client
                .get_acl(path)
                .await
                .map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
            use Permission as P;
            let bits = |acl: &Acl| {
                let all = [
                    (P::READ, 1),
                    (P::WRITE, 2),
                    (P::CREATE, 4),
                    (P::DELETE, 8),
                    (P::ADMIN, 16),
                ];
                let has = all.into_iter().filter(|(p, _)| acl.permission().has(*p));
                has.map(|(_, bit)| bit).sum::<i32>()
            };
            let text = |acl: &Acl| format!("{}:{} {}", acl.scheme(), acl.id(), bits(acl));
            Ok(acls.iter().map(text).collect())
        })
    }

    /// Whether one who is nobody cannot list a znode.
    pub(crate) fn is_hidden_from_strangers(&self, path: &str) -> anyhow::Result<bool> {
        let connect = self.address();
        self.runtime.block_on(async {
            let client = Client::connector().connect(&connect).await?;
            let listed = client.list_children(path).await;
            Ok(matches!(listed, Err(Error::NoAuth)))
        })
    }

    /// Whether one who is nobody can read a znode and cannot write it.
    pub(crate) fn is_unchangeable_by_strangers(&self, path: &str) -> anyhow::Result<bool> {
        let connect = self.address();
        self.runtime.block_on(async {
            let client = Client::connector().connect(&connect).await?;
            let (data, _) = client.get_data(path).await?;
            let set = client.set_data(path, &data, None).await;
            Ok(matches!(set, Err(Error::NoAuth)))
        })
    }
}
