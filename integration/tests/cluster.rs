//! Three brokers on a real ZooKeeper: what is acknowledged is kept while brokers come and go.

use ottla_integration::{Cluster, Load, Operator, free_port::free_port, wait::wait_for};

/// How long a change of listeners may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);

#[test]
fn a_cluster_of_three_forms_and_survives_the_loss_of_its_controller() {
    let mut cluster = Cluster::start(
        3,
        &[
            ("default.replication.factor", "3"),
            ("num.partitions", "3"),
            ("min.insync.replicas", "2"),
            // The controller that is killed is missed when its session has expired.
            ("zookeeper.session.timeout.ms", "6000"),
        ],
    )
    .expect("a cluster");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    cluster
        .wait_for_isr("load", 0, &[1, 2, 3])
        .expect("all in sync");

    // Every follower is handed from one set of fetchers to another, and goes on.
    let mut operator = Operator::new(&cluster.bootstrap()).expect("java");
    operator
        .configure(
            &["--entity-type", "brokers", "--entity-default"],
            &["--add-config", "num.replica.fetchers=2"],
        )
        .expect("more fetchers");
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("more fetchers: {error:#}\n{}", cluster.logs()));

    let controller = cluster.controller().expect("a controller");
    cluster.broker(controller).kill().expect("a kill");
    let next = cluster.controller_other_than(controller).expect("the next");
    load.wait_for_progress().unwrap_or_else(|error| {
        panic!("after {controller}, {next}: {error:#}\n{}", cluster.logs())
    });
    cluster.broker(controller).restart().expect("a restart");
    cluster
        .wait_for_isr("load", 0, &[1, 2, 3])
        .expect("all in sync again");
    for id in cluster.ids() {
        wait_for("as many fetchers as configured", PATIENCE, || {
            let log = cluster.broker(id).log();
            (id == controller || log.contains("fetchers per leader")).then_some(())
        })
        .unwrap_or_else(|error| panic!("broker {id}: {error:#}\n{}", cluster.logs()));
    }
    let records = load
        .finish(&cluster.log_directories())
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    eprintln!("{records} records");
    for id in cluster.ids() {
        cluster.broker(id).stop().expect("a clean stop");
    }
}

/// Clients come on a listener that the brokers did not have when they started, the controller tells
/// all brokers of it, and those who came on it are gone when it is closed again.
#[test]
fn listeners_come_and_go_while_the_brokers_run() {
    let mut cluster = Cluster::start(2, &[]).expect("a cluster");
    let mut operator = Operator::new(&cluster.bootstrap()).expect("java");
    let mut added = Vec::new();
    for id in cluster.ids() {
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        let listeners = format!("PLAINTEXT://{},EXTRA://{address}", cluster.address(id));
        let id = id.to_string();
        let change = format!(
            "listeners=[{listeners}],listener.security.protocol.map=[PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT]"
        );
        operator
            .configure(
                &["--entity-type", "brokers", "--entity-name", &id],
                &["--add-config", &change],
            )
            .expect("another listener");
        added.push(address);
    }
    let registration = |cluster: &Cluster, id: u32| {
        let path = format!("/brokers/ids/{id}");
        cluster
            .znodes()
            .get(&path)
            .expect("znodes")
            .unwrap_or_default()
    };
    for (id, address) in cluster.ids().zip(&added) {
        let endpoint = format!("EXTRA://{address}");
        wait_for("the registration with the listener", PATIENCE, || {
            registration(&cluster, id).contains(&endpoint).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    }
    cluster.wait_until_brokers_agree().expect("agreement");
    // Each client is told the endpoints of the listener on which it asks: of both brokers, once the
    // controller has told of them.
    let mut on_added = Operator::new(&added.join(",")).expect("java");
    on_added
        .create_topic("extra", "1:2,2:1", &[])
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    cluster.wait_until_brokers_agree().expect("agreement");
    let described = on_added
        .describe(&["--topic", "extra"])
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    assert!(
        described.contains("Leader: 1") && described.contains("Leader: 2"),
        "{described}"
    );

    for id in cluster.ids() {
        operator
            .configure(
                &["--entity-type", "brokers", "--entity-name", &id.to_string()],
                &[
                    "--delete-config",
                    "listeners,listener.security.protocol.map",
                ],
            )
            .expect("one listener less");
    }
    for (id, address) in cluster.ids().zip(&added) {
        wait_for("the end of the listener", PATIENCE, || {
            let is_registered = registration(&cluster, id).contains("EXTRA");
            let is_open = std::net::TcpStream::connect(address).is_ok();
            (!is_registered && !is_open).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    }
    operator.describe(&["--topic", "extra"]).expect("as before");
    cluster.check_all_run().expect("both run");
}
