use std::path::Path;

use super::*;

fn of(properties: &[(&str, &str)], system: &str) -> Result<ZookeeperSecurity, SecurityError> {
    let properties = [("zookeeper.connect", "a:1")].iter().chain(properties);
    let properties = properties
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let config = BrokerConfig::from_properties(properties).unwrap();
    ZookeeperSecurity::of(&config, &SystemProperties::from_options(system))
}

fn refusal(properties: &[(&str, &str)]) -> String {
    of(properties, "").unwrap_err().to_string()
}

const TLS: [(&str, &str); 2] = [
    ("zookeeper.ssl.client.enable", "true"),
    ("zookeeper.clientCnxnSocket", NETTY),
];

#[test]
fn without_keys_nothing_is_protected() {
    let security = of(&[], "-Xmx1G").unwrap();
    assert!(security.tls.is_none() && security.credentials.is_none());
}

#[test]
fn what_cannot_be_honoured_ends_the_start() {
    let with = |more: &[(&str, &str)]| refusal(&[&TLS[..], more].concat());
    assert!(refusal(&TLS[..1]).contains("also needs zookeeper.clientCnxnSocket"));
    assert!(refusal(&[("zookeeper.clientCnxnSocket", "x.Y")]).contains("x.Y"));
    assert!(with(&[]).contains("truststore"));
    assert!(with(&[("zookeeper.ssl.crl.enable", "true")]).contains("revoked"));
    assert!(with(&[("zookeeper.ssl.ocsp.enable", "true")]).contains("ocsp"));
    let jks = with(&[("zookeeper.ssl.truststore.location", "/x/trust.jks")]);
    assert!(
        jks.contains("keytool -importkeystore") && !jks.contains('\n'),
        "{jks}"
    );
    let unknown = with(&[("zookeeper.ssl.truststore.location", "/x/trust")]);
    assert!(
        unknown.contains("zookeeper.ssl.truststore.type"),
        "{unknown}"
    );
    let absent = with(&[("zookeeper.ssl.truststore.location", "/nowhere/x.p12")]);
    assert!(absent.contains("/nowhere/x.p12"), "{absent}");
    assert!(refusal(&[("zookeeper.set.acl", "true")]).contains("set.acl"));
}

fn login(text: &str, options: &str) -> Result<ZookeeperSecurity, SecurityError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    of(
        &[],
        &format!("{options} -D{LOGIN_FILE}={}", file.path().display()),
    )
}

const DIGEST: &str = "Client { org.apache.zookeeper.server.auth.DigestLoginModule required \
     username=\"kafka\" password=\"s e;cret\"; };";

#[test]
fn a_login_of_java_s_is_taken() {
    let login_of = |text: &str, options: &str| login(text, options).unwrap().credentials;
    let credentials = login_of(DIGEST, "").unwrap();
    assert_eq!(credentials.username, "kafka");
    assert_eq!(credentials.password, "s e;cret");
    assert_eq!(login_of("KafkaServer { x.Y required; };", ""), None);
    let other = "-Dzookeeper.sasl.clientconfig=Zk";
    assert_eq!(login_of(DIGEST, other), None);
    assert!(login_of(&DIGEST.replace("Client", "Zk"), other).is_some());
}

#[test]
fn logins_that_do_not_work_here_are_refused() {
    let refusal = |text: &str, options: &str| login(text, options).unwrap_err().to_string();
    let kerberos = "Client { com.sun.security.auth.module.Krb5LoginModule required; };";
    assert!(refusal(kerberos, "").contains("Kerberos"));
    assert!(refusal("Client { x.Y required; };", "").contains("x.Y"));
    assert!(refusal("Client { };", "").contains("one login module"));
    assert!(refusal("Client {", "").contains("line 1"));
    assert!(refusal(&DIGEST.replace("password", "pass"), "").contains("no password"));
    assert!(refusal(DIGEST, "-Dzookeeper.sasl.client=false").contains("turns SASL off"));
    let absent = of(&[], "-Djava.security.auth.login.config=/nowhere/jaas.conf");
    assert!(
        absent
            .unwrap_err()
            .to_string()
            .contains("/nowhere/jaas.conf")
    );
    let bare = "Client { org.apache.zookeeper.server.auth.DigestLoginModule required; };";
    assert!(refusal(bare, "").contains("no username"));
    assert!(!Path::new("/nowhere").exists());
}
