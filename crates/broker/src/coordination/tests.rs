use std::sync::Arc;

use bytes::Bytes;
use ottla_coordination::memory::{MemoryService, MemorySession};
use ottla_coordination::paths::{self, ConfigEntity, EntityName};
use ottla_coordination::payloads::{
    BrokerRegistration, ClusterId, ConfigChange, Controller, EntityConfig,
};
use ottla_coordination::{
    ANY_VERSION, Coordination, CreateMode, Error, Op, OpResult, SessionEvent, WatchEvent, WatchKind,
};
use ottla_model::{BrokerEpoch, BrokerId, Endpoint, SecurityProtocol, Timestamp};

use super::entity_configs::ConfigWriteError;
use super::startup::StartupError;
use super::*;

fn service() -> MemoryService {
    MemoryService::new(Box::new(|| Timestamp(1)))
}

async fn connect(service: &MemoryService) -> Arc<CoordinationHandle> {
    let service = service.clone();
    let opener: Opener = Arc::new(move |sink| {
        let session: MemorySession = service.open(sink);
        Ok(Arc::new(session) as Arc<dyn Coordination>)
    });
    CoordinationHandle::connect(opener, false).await.unwrap()
}

fn registration(port: i32) -> BrokerRegistration {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "h".to_owned(),
        port,
        protocol: SecurityProtocol::Plaintext,
    };
    BrokerRegistration {
        version: 5,
        endpoints: vec![endpoint],
        rack: None,
        jmx_port: -1,
        timestamp: Timestamp(1),
        features: Default::default(),
    }
}

fn data(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn recursive_creation_and_deletion_reach_everything() {
    let handle = connect(&service()).await;
    handle.create_recursive("/a/b/c", data("x")).await.unwrap();
    assert_eq!(
        handle.create_recursive("/a/b/c", None).await,
        Err(Error::NodeExists)
    );
    handle.make_sure_exists("/a/b/c").await.unwrap();
    handle.make_sure_exists("/a/d").await.unwrap();
    assert_eq!(handle.get_data("/a/b/c", false).await.unwrap().0, data("x"));
    assert_eq!(handle.get_data("/a/b", false).await.unwrap().0, None);
    assert_eq!(handle.get_children("/a", false).await.unwrap(), ["b", "d"]);
    assert!(handle.delete_recursive("/a").await.unwrap());
    assert!(!handle.delete_recursive("/a").await.unwrap());
    assert_eq!(handle.exists("/a", false).await, Ok(None));
    assert_eq!(handle.get_children("/a", false).await, Ok(vec![]));
}

#[tokio::test]
async fn requests_are_submitted_when_made_and_not_when_awaited() {
    let handle = connect(&service()).await;
    let first = handle.request(
        handle
            .create_op("/a", data("1"), CreateMode::Persistent)
            .into(),
    );
    let second = handle.create("/a", data("2"), CreateMode::Persistent).await;
    assert_eq!(second, Err(Error::NodeExists));
    assert!(first.await.is_ok());
}

#[tokio::test]
async fn a_fenced_write_tells_a_moved_controller_from_its_own_failure() {
    let handle = connect(&service()).await;
    handle
        .create("/epoch", data("1"), CreateMode::Persistent)
        .await
        .unwrap();
    let set = |path: &str, version| Op::SetData {
        path: path.to_owned(),
        data: None,
        version,
    };
    let done = handle.fenced("/epoch", 0, set("/epoch", ANY_VERSION)).await;
    assert!(matches!(done, Ok(OpResult::Set(stat)) if stat.version == 1));
    assert_eq!(
        handle.fenced("/epoch", 0, set("/epoch", 1)).await,
        Err(FencedError::Moved)
    );
    let failed = handle.fenced("/epoch", 1, set("/epoch", 7)).await;
    assert_eq!(failed, Err(FencedError::Write(Error::BadVersion)));
    let failed = handle.fenced("/epoch", 1, set("/no", 0)).await;
    assert_eq!(failed, Err(FencedError::Write(Error::NoNode)));
}

async fn wait_for_another_session(handle: &CoordinationHandle, old: i64) {
    while handle.session_id() == old {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn subscribers_hear_what_they_want_and_every_session_change() {
    let service = service();
    let handle = connect(&service).await;
    let mut a = handle.subscribe(|event| event.path == "/a");
    let mut b = handle.subscribe(|event| event.path == "/b");
    for path in ["/a", "/b"] {
        handle.exists(path, true).await.unwrap();
        handle
            .create(path, None, CreateMode::Persistent)
            .await
            .unwrap();
    }
    let created = |path: &str| {
        Notice::Watch(WatchEvent {
            path: path.into(),
            kind: WatchKind::Created,
        })
    };
    let old = handle.session_id();
    service.expire(old);
    wait_for_another_session(&handle, old).await;
    assert!(handle.get_data("/a", false).await.is_ok());
    for (notices, path) in [(&mut a, "/a"), (&mut b, "/b")] {
        assert_eq!(notices.recv().await, Some(created(path)));
        assert_eq!(
            notices.recv().await,
            Some(Notice::Session(SessionEvent::Expired))
        );
        assert_eq!(
            notices.recv().await,
            Some(Notice::Session(SessionEvent::Connected))
        );
    }
}

#[tokio::test]
async fn the_first_broker_names_the_cluster() {
    let service = service();
    let (one, two) = (connect(&service).await, connect(&service).await);
    one.create_top_level_paths().await.unwrap();
    one.create_top_level_paths().await.unwrap();
    assert!(
        one.exists("/config/changes", false)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        one.exists(paths::LATEST_PRODUCER_ID_BLOCK, false)
            .await
            .unwrap()
            .is_some()
    );
    let id = one.cluster_id([7; 16]).await.unwrap();
    assert_eq!(id, ClusterId::from_random([7; 16]));
    assert_eq!(two.cluster_id([8; 16]).await.unwrap(), id);
}

#[tokio::test]
async fn generated_broker_ids_begin_after_the_reserved_ones() {
    let handle = connect(&service()).await;
    assert_eq!(handle.generate_broker_id(1000).await, Ok(BrokerId(1001)));
    assert_eq!(handle.generate_broker_id(1000).await, Ok(BrokerId(1002)));
}

#[tokio::test]
async fn the_broker_epoch_is_the_creation_of_the_registration() {
    let service = service();
    let handle = connect(&service).await;
    handle.create_top_level_paths().await.unwrap();
    let id = BrokerId(3);
    let epoch = handle.register_broker(id, &registration(1)).await.unwrap();
    let (_, stat) = handle.get_data("/brokers/ids/3", false).await.unwrap();
    assert_eq!((epoch, stat.version), (BrokerEpoch(stat.czxid), 1));
    // A retry of this session finds its own.
    assert_eq!(
        handle.register_broker(id, &registration(1)).await.unwrap(),
        epoch
    );
    handle
        .update_registration(id, &registration(2))
        .await
        .unwrap();
    let brokers = handle.registered_brokers().await.unwrap();
    assert_eq!(
        (
            brokers.len(),
            brokers[0].epoch,
            brokers[0].endpoints[0].port
        ),
        (1, epoch, 2)
    );

    // A new session of ours registers anew, with a new epoch.
    let old = handle.session_id();
    service.expire(old);
    wait_for_another_session(&handle, old).await;
    let next = handle.register_broker(id, &registration(1)).await.unwrap();
    assert!(next > epoch);

    let other = connect(&service).await;
    let taken = other.register_broker(id, &registration(9)).await;
    assert!(matches!(
        taken,
        Err(StartupError::BrokerIdTaken(BrokerId(3)))
    ));
    let clash = other
        .check_endpoints_are_free(BrokerId(4), &registration(1).endpoints)
        .await;
    assert!(matches!(
        clash,
        Err(StartupError::EndpointsTaken {
            broker: BrokerId(3),
            ..
        })
    ));
    other
        .check_endpoints_are_free(BrokerId(4), &registration(5).endpoints)
        .await
        .unwrap();
    other
        .check_endpoints_are_free(BrokerId(3), &registration(1).endpoints)
        .await
        .unwrap();
}

/// A service in which broker 1 is registered at port 1, its session, and a second session.
async fn with_a_predecessor() -> (
    MemoryService,
    Arc<CoordinationHandle>,
    Arc<CoordinationHandle>,
) {
    let service = service();
    let (dead, next) = (connect(&service).await, connect(&service).await);
    dead.create_top_level_paths().await.unwrap();
    dead.register_broker(BrokerId(1), &registration(1))
        .await
        .unwrap();
    (service, dead, next)
}

#[tokio::test]
async fn a_restarted_broker_waits_for_the_session_of_its_predecessor() {
    let (service, dead, next) = with_a_predecessor().await;
    let waiting = tokio::spawn({
        let next = Arc::clone(&next);
        async move {
            let timeout = std::time::Duration::from_secs(60);
            next.register_started_broker(BrokerId(1), &registration(1), timeout)
                .await
        }
    });
    tokio::task::yield_now().await;
    service.expire(dead.session_id());
    let epoch = waiting.await.unwrap().unwrap();
    let (_, stat) = next.get_data("/brokers/ids/1", false).await.unwrap();
    assert_eq!(epoch, BrokerEpoch(stat.czxid));
    assert_eq!(stat.ephemeral_owner, next.session_id());
}

#[tokio::test]
async fn a_session_that_ends_during_a_long_start_is_replaced_for_the_registration() {
    let (service, dead, next) = with_a_predecessor().await;
    // Its session has ended and the task that opens the next one has not run yet.
    service.expire(next.session_id());
    service.expire(dead.session_id());
    let timeout = std::time::Duration::from_secs(60);
    let epoch = next
        .register_started_broker(BrokerId(1), &registration(1), timeout)
        .await
        .unwrap();
    let (_, stat) = next.get_data("/brokers/ids/1", false).await.unwrap();
    assert_eq!(epoch, BrokerEpoch(stat.czxid));
    assert_eq!(stat.ephemeral_owner, next.registered_session());
}

#[tokio::test]
async fn the_wait_for_a_predecessor_ends() {
    let (_service, _dead, next) = with_a_predecessor().await;
    let began = tokio::time::Instant::now();
    let wait = std::time::Duration::from_millis(30);
    let taken = next
        .register_started_broker(BrokerId(1), &registration(1), wait)
        .await;
    assert!(matches!(taken, Err(StartupError::BrokerIdTaken(_))));
    assert!(began.elapsed() >= wait);
}

#[tokio::test]
async fn a_stranger_with_our_id_is_refused_at_once() {
    let (_service, _dead, next) = with_a_predecessor().await;
    let began = tokio::time::Instant::now();
    let timeout = std::time::Duration::from_secs(600);
    let taken = next
        .register_started_broker(BrokerId(1), &registration(2), timeout)
        .await;
    assert!(matches!(taken, Err(StartupError::BrokerIdTaken(_))));
    assert!(began.elapsed() < timeout);
}

#[tokio::test]
async fn a_leftover_of_our_own_previous_session_is_replaced() {
    let service = service();
    let handle = connect(&service).await;
    handle.create_top_level_paths().await.unwrap();
    let epoch = handle
        .register_broker(BrokerId(1), &registration(1))
        .await
        .unwrap();
    // The handle is given a new session while the old one lives on (ZOOKEEPER-2985).
    let other = connect(&service).await;
    let remembered = handle
        .registered_session
        .load(std::sync::atomic::Ordering::Acquire);
    other
        .registered_session
        .store(remembered, std::sync::atomic::Ordering::Release);
    let next = other
        .register_broker(BrokerId(1), &registration(1))
        .await
        .unwrap();
    assert!(next > epoch);
}

#[tokio::test]
async fn a_config_is_written_only_while_there_is_a_controller_and_then_announced() {
    let handle = connect(&service()).await;
    handle.create_top_level_paths().await.unwrap();
    let entity = ConfigEntity::Client(EntityName::Named("app/1".to_owned()));
    let config = EntityConfig([("request_percentage".to_owned(), "50.5".to_owned())].into());
    let refused = handle.write_entity_config(&entity, &config).await;
    assert!(matches!(refused, Err(ConfigWriteError::NoController)));
    let controller = Controller::of(BrokerId(0), Timestamp(1)).encode();
    handle
        .create(paths::CONTROLLER, Some(controller), CreateMode::Ephemeral)
        .await
        .unwrap();
    for _ in 0..2 {
        handle.write_entity_config(&entity, &config).await.unwrap();
        assert_eq!(handle.entity_config(&entity).await.unwrap(), config);
    }
    let changes = handle
        .get_children(paths::CONFIG_CHANGES, false)
        .await
        .unwrap();
    assert_eq!(
        changes,
        ["config_change_0000000000", "config_change_0000000001"]
    );
    let path = paths::child(paths::CONFIG_CHANGES, &changes[0]);
    let (announced, _) = handle.get_data(path, false).await.unwrap();
    assert_eq!(
        ConfigChange::decode(&announced.unwrap()).unwrap().entity(),
        Some(entity.clone())
    );
    handle.delete_entity_config(&entity).await.unwrap();
    handle.delete_entity_config(&entity).await.unwrap();
    assert_eq!(
        handle.entity_config(&entity).await.unwrap(),
        EntityConfig::default()
    );
}
