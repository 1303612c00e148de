//! A broker against a ZooKeeper that asks who it is: by TLS with stores in PEM and PKCS12, by SASL
//! with a JAAS file; what it creates then belongs to it (`zookeeper.set.acl`).
//!
//! With `OTTLA_BIN=scripts/kafka-server` the same is asked of Apache Kafka.

#[path = "zookeeper_security/certificates.rs"]
mod certificates;
#[path = "zookeeper_security/node.rs"]
mod node;
#[path = "zookeeper_security/server.rs"]
mod server;

use std::path::Path;
use std::time::Duration;

use certificates::{Certificates, PASSWORD};
use node::Node;
use ottla_integration::ToolServer;
use ottla_integration::wait::wait_for;
use server::SecureZookeeper;

const DEADLINE: Duration = Duration::from_secs(180);
const NETTY: &str = "org.apache.zookeeper.ClientCnxnSocketNetty";

/// Paths that everybody may read and only the creator may change.
const SECURE: [&str; 21] = [
    "",
    "/brokers",
    "/brokers/ids",
    "/brokers/ids/0",
    "/brokers/seqid",
    "/brokers/topics",
    "/brokers/topics/t",
    "/brokers/topics/t/partitions",
    "/brokers/topics/t/partitions/0",
    "/brokers/topics/t/partitions/0/state",
    "/admin/delete_topics",
    "/cluster/id",
    "/config",
    "/config/changes",
    "/config/topics/t",
    "/config/clients",
    "/controller",
    "/controller_epoch",
    "/feature",
    "/isr_change_notification",
    "/latest_producer_id_block",
];

const SENSITIVE: [&str; 2] = ["/config/users", "/config/brokers"];

/// What must be the same for every way to authenticate.
fn check_znodes(zookeeper: &SecureZookeeper, chroot: &str, owner: &str) -> anyhow::Result<()> {
    let creator = format!("{owner} 31");
    let world = "world:anyone 1".to_owned();
    let acl = |path: &str| zookeeper.acl(&format!("{chroot}{path}"));
    for path in SECURE {
        assert_eq!(acl(path)?, [creator.clone(), world.clone()], "{path}");
    }
    for path in SENSITIVE {
        assert_eq!(acl(path)?, std::slice::from_ref(&creator), "{path}");
    }
    assert_eq!(acl("/consumers")?, ["world:anyone 31"]);
    assert!(zookeeper.is_hidden_from_strangers(&format!("{chroot}/config/users"))?);
    assert!(zookeeper.is_unchangeable_by_strangers(&format!("{chroot}/controller"))?);
    Ok(())
}

fn create_topic(tools: &mut ToolServer, node: &Node) -> anyhow::Result<()> {
    let address = node.address();
    let arguments = ["--bootstrap-server", &address, "--create", "--topic", "t"];
    let tool = "org.apache.kafka.tools.TopicCommand";
    tools.run(tool, &arguments)?.success()?;
    Ok(())
}

/// A connection by TLS with these stores.
fn tls<'a>(connect: &'a str, key: &'a Path, trust: &'a Path) -> Vec<(&'a str, String)> {
    let text = |path: &Path| path.display().to_string();
    vec![
        ("zookeeper.connect", connect.to_owned()),
        ("zookeeper.set.acl", "true".to_owned()),
        ("zookeeper.ssl.client.enable", "true".to_owned()),
        ("zookeeper.clientCnxnSocket", NETTY.to_owned()),
        ("zookeeper.ssl.keystore.location", text(key)),
        ("zookeeper.ssl.truststore.location", text(trust)),
    ]
}

fn sasl(connect: &str) -> Vec<(&str, String)> {
    vec![
        ("zookeeper.connect", connect.to_owned()),
        ("zookeeper.set.acl", "true".to_owned()),
    ]
}

/// One ZooKeeper for all: starting it costs the most.
#[test]
fn a_broker_is_who_it_says_and_owns_what_it_creates() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let files = Certificates::make(directory.path())?;
    let zookeeper = SecureZookeeper::start(directory.path(), &files)?;
    let mut tools = ToolServer::start("kafka-3.9")?;
    let jaas = directory.path().join("client.jaas");
    let login = |password: &str| {
        let text = format!(
            "// As for Java.\nClient {{\n  org.apache.zookeeper.server.auth.DigestLoginModule \
             required\n  username=\"kafka\" password=\"{password}\";\n}};\n"
        );
        std::fs::write(&jaas, text)
    };
    let options = format!("-Djava.security.auth.login.config={}", jaas.display());

    let connect = format!("{}/pem/kafka", zookeeper.tls_address());
    let node = Node::start(&tls(&connect, &files.client_pem, &files.ca_pem), "")?;
    create_topic(&mut tools, &node)?;
    check_znodes(&zookeeper, "/pem/kafka", certificates::CLIENT_ID)?;
    drop(node);

    let connect = format!("{}/p12", zookeeper.tls_address());
    let mut properties = tls(&connect, &files.client_p12, &files.trust_p12);
    let suite = "TLS_AES_128_GCM_SHA256".to_owned();
    for key in [
        "zookeeper.ssl.keystore.password",
        "zookeeper.ssl.truststore.password",
    ] {
        properties.push((key, PASSWORD.to_owned()));
    }
    properties.push(("zookeeper.ssl.protocol", "TLSv1.3".to_owned()));
    properties.push(("zookeeper.ssl.cipher.suites", suite));
    let node = Node::start(&properties, "")?;
    // Its port opens before it is registered.
    let found = wait_for("the registration", DEADLINE, || {
        zookeeper.acl("/p12/brokers/ids/0").ok()
    });
    assert_eq!(found?.len(), 2);
    drop(node);

    login(server::SASL_PASSWORD)?;
    let connect = format!("{}/sasl", zookeeper.address());
    let node = Node::start(&sasl(&connect), &options)?;
    create_topic(&mut tools, &node)?;
    check_znodes(&zookeeper, "/sasl", "sasl:kafka")?;
    drop(node);

    // What does not fit together does not start, and says why.
    login("wrong")?;
    let refused = Node::refusal(&sasl(&connect), &options)?;
    assert!(refused.to_lowercase().contains("auth"), "{refused}");
    let refused = Node::refusal(&sasl(&connect), "")?;
    assert!(refused.contains("zookeeper.set.acl"), "{refused}");
    let connect = format!("{}/pem/kafka", zookeeper.tls_address());
    let mut properties = tls(&connect, &files.client_pem, &files.other_ca_pem);
    properties.push(("zookeeper.connection.timeout.ms", "5000".to_owned()));
    let refused = Node::refusal(&properties, "")?;
    assert!(refused.to_lowercase().contains("certif"), "{refused}");
    Ok(())
}
