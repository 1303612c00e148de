//! Keys and certificates, made by the tools that people use.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Of every key and store.
pub(crate) const PASSWORD: &str = "changeit";

/// How ZooKeeper names the owner of the client's certificate.
pub(crate) const CLIENT_ID: &str = "x509:CN=broker,O=Test";

/// Files of an authority, a server and a client.
pub(crate) struct Certificates {
    pub(crate) ca_pem: PathBuf,
    /// Of an authority that has signed nothing.
    pub(crate) other_ca_pem: PathBuf,
    /// Key and certificate in one file.
    pub(crate) client_pem: PathBuf,
    pub(crate) client_p12: PathBuf,
    /// The authority's certificate in a store of keytool's.
    pub(crate) trust_p12: PathBuf,
    pub(crate) server_p12: PathBuf,
}

impl Certificates {
    /// Makes all of them in a directory.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| directory.join(name);
        let pass = format!("pass:{PASSWORD}");
        for ca in ["ca", "other-ca"] {
            #[rustfmt::skip]
            openssl(directory, &[
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Authority",
                "-keyout", &format!("{ca}.key"), "-out", &format!("{ca}.pem"),
            ])?;
        }
        for (name, extension) in [
            ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\n"),
            ("client", "extendedKeyUsage=clientAuth\n"),
        ] {
            std::fs::write(file("extensions"), extension)?;
            let subject = if name == "client" {
                "/O=Test/CN=broker"
            } else {
                "/CN=zookeeper"
            };
            #[rustfmt::skip]
            openssl(directory, &[
                "req", "-newkey", "rsa:2048", "-keyout", &format!("{name}.key"), "-passout", &pass,
                "-subj", subject, "-out", "request",
            ])?;
            #[rustfmt::skip]
            openssl(directory, &[
                "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "extensions",
                "-out", &format!("{name}.crt"),
            ])?;
            #[rustfmt::skip]
            openssl(directory, &[
                "pkcs12", "-export", "-inkey", &format!("{name}.key"), "-passin", &pass,
                "-in", &format!("{name}.crt"), "-certfile", "ca.pem",
                "-passout", &pass, "-out", &format!("{name}.p12"),
            ])?;
        }
        // ZooKeeper's Java client reads no key that is encrypted as it is usual now.
        #[rustfmt::skip]
        openssl(directory, &[
            "pkey", "-in", "client.key", "-passin", &pass, "-out", "client-plain.key",
        ])?;
        let pem = [file("client-plain.key"), file("client.crt")].map(std::fs::read);
        let [key, certificate] = pem;
        std::fs::write(file("client.pem"), [key?, certificate?].concat())?;
        let mut keytool = Command::new("keytool");
        #[rustfmt::skip]
        keytool.args([
            "-importcert", "-noprompt", "-alias", "ca", "-file", "ca.pem", "-storetype", "PKCS12",
            "-storepass", PASSWORD, "-keystore", "trust.p12",
        ]);
        run(keytool, directory)?;
        Ok(Self {
            ca_pem: file("ca.pem"),
            other_ca_pem: file("other-ca.pem"),
            client_pem: file("client.pem"),
            client_p12: file("client.p12"),
            trust_p12: file("trust.p12"),
            server_p12: file("server.p12"),
        })
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments);
    run(command, directory)
}

fn run(mut command: Command, directory: &Path) -> anyhow::Result<()> {
    let output = command.current_dir(directory).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {error}");
    Ok(())
}
