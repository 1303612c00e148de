//! Any producers, any order, any failures: the invariants hold.

use std::collections::BTreeMap;

use ottla_coordinator_runtime::RequestId;
use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId};
use proptest::prelude::*;

use super::harness::*;
use crate::*;

#[derive(Clone, Debug)]
enum Step {
    Init {
        with_expected: bool,
    },
    Add {
        stale: bool,
        partition: i32,
    },
    End {
        stale: bool,
        commit: bool,
    },
    Ack,
    Refuse {
        error: ErrorCode,
    },
    /// The append is durable, but the answer is an error.
    AckLost,
    GiveProducerId,
    AnswerMarkers,
    LoseMarkers {
        written: bool,
    },
    Advance {
        millis: u64,
    },
    /// A long time in which nobody looks at a deadline.
    Sleep {
        millis: u64,
    },
    AbortTimedOut,
    Expire,
    Load,
    Resign,
    Leader {
        partition: i32,
        leader: Option<i32>,
    },
    Refuses {
        partition: i32,
        error: Option<ErrorCode>,
    },
    Delete {
        partition: i32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..4_i32;
    let append_error = prop_oneof![
        Just(ErrorCode::NotEnoughReplicas),
        Just(ErrorCode::RequestTimedOut),
        Just(ErrorCode::MessageTooLarge),
    ];
    let marker_error = prop_oneof![
        Just(ErrorCode::NotEnoughReplicas),
        Just(ErrorCode::NotLeaderOrFollower),
        Just(ErrorCode::UnknownTopicOrPartition),
    ];
    let millis = prop_oneof![Just(1_u64), Just(20), Just(1_000)];
    prop_oneof![
        5 => any::<bool>().prop_map(|with_expected| Step::Init { with_expected }),
        8 => (prop::bool::weighted(0.1), partition.clone())
            .prop_map(|(stale, partition)| Step::Add { stale, partition }),
        6 => (prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(stale, commit)| Step::End { stale, commit }),
        14 => Just(Step::Ack),
        2 => append_error.prop_map(|error| Step::Refuse { error }),
        1 => Just(Step::AckLost),
        3 => Just(Step::GiveProducerId),
        8 => Just(Step::AnswerMarkers),
        1 => any::<bool>().prop_map(|written| Step::LoseMarkers { written }),
        5 => millis.prop_map(|millis| Step::Advance { millis }),
        2 => prop_oneof![Just(60_001_u64), Just(604_800_000)]
            .prop_map(|millis| Step::Sleep { millis }),
        2 => Just(Step::AbortTimedOut),
        1 => Just(Step::Expire),
        1 => Just(Step::Load),
        1 => Just(Step::Resign),
        2 => (partition.clone(), prop::option::of(1..4_i32))
            .prop_map(|(partition, leader)| Step::Leader { partition, leader }),
        2 => (partition.clone(), prop::option::of(marker_error))
            .prop_map(|(partition, error)| Step::Refuses { partition, error }),
        1 => partition.prop_map(|partition| Step::Delete { partition }),
    ]
}

/// One transactional id, and what its client knows.
struct Game {
    world: World,
    current: Option<ExpectedProducer>,
    before: Option<ExpectedProducer>,
    inits: Vec<RequestId>,
    /// The highest epoch that was given out or described, by producer id.
    epochs: BTreeMap<ProducerId, ProducerEpoch>,
}

impl Game {
    fn new() -> Self {
        let mut world = World::new();
        world.acks = Acks::ByHand;
        world.markers_at_once = false;
        world.producer_ids_at_once = false;
        Self {
            world,
            current: None,
            before: None,
            inits: Vec::new(),
            epochs: BTreeMap::new(),
        }
    }

    fn play(&mut self, step: Step) {
        let world = &mut self.world;
        let who = |stale: bool| {
            if stale {
                self.before.or(self.current)
            } else {
                self.current
            }
        };
        match step {
            Step::Init { with_expected } => {
                let expected = if with_expected { self.current } else { None };
                self.inits.push(world.send_init(ID, expected));
            }
            Step::Add { stale, partition } => {
                if let Some(who) = who(stale) {
                    world.send_add(who, &[t(partition)]);
                }
            }
            Step::End { stale, commit } => {
                if let Some(who) = who(stale) {
                    world.send_end(who, if commit { COMMIT } else { ABORT });
                }
            }
            Step::Ack if !world.unacknowledged.is_empty() => world.ack(),
            Step::Refuse { error } if !world.unacknowledged.is_empty() => world.refuse(error),
            Step::AckLost if !world.unacknowledged.is_empty() => {
                world.log.push(world.unacknowledged[0].0.clone());
                world.refuse(ErrorCode::RequestTimedOut);
            }
            Step::GiveProducerId if !world.awaiting_producer_id.is_empty() => {
                let request = world.awaiting_producer_id.remove(0);
                let result = Ok(world.producer_id());
                world.event(Event::ProducerIdAllocated { request, result });
            }
            Step::AnswerMarkers if !world.sent.is_empty() => world.answer_markers(),
            Step::LoseMarkers { written } if !world.sent.is_empty() => {
                let (token, broker, markers) = world.sent.remove(0);
                if written {
                    world.write_markers(broker, &markers);
                }
                world.sender_event(SenderEvent::Answered {
                    token,
                    answers: None,
                });
            }
            Step::Ack
            | Step::Refuse { .. }
            | Step::AckLost
            | Step::GiveProducerId
            | Step::AnswerMarkers
            | Step::LoseMarkers { .. } => {}
            Step::Advance { millis } => world.advance(millis),
            Step::Sleep { millis } => world.sleep(millis),
            Step::AbortTimedOut => world.event(Event::AbortTimedOutTransactions),
            Step::Expire => {
                world.event(Event::ExpireTransactionalIds {
                    batch_size_max: 1_000_000,
                });
            }
            Step::Load => self.fail_over(),
            Step::Resign => {
                world.epoch = LeaderEpoch(world.epoch.0 + 1);
                world.event(Event::Resigned(Some(world.epoch)));
                self.fail_pending_appends();
            }
            Step::Leader { partition, leader } => {
                if let Some(data) = world.partitions.get_mut(&t(partition)) {
                    data.leader = leader.map(BrokerId);
                }
            }
            Step::Refuses { partition, error } => {
                if let Some(data) = world.partitions.get_mut(&t(partition)) {
                    data.refuses = error;
                }
            }
            Step::Delete { partition } => {
                world.partitions.remove(&t(partition));
            }
        }
        self.learn();
        self.check();
    }

    /// Another broker led in between: what was not durable is gone.
    fn fail_over(&mut self) {
        self.world.event(Event::Resigned(None));
        self.fail_pending_appends();
        self.world.load();
        // In memory an epoch may have been raised by a fence that was never written.
        for (producer_id, epoch) in &mut self.epochs {
            if let Ok(found) = self.world.shard.describe(ID)
                && found.producer_id == *producer_id
            {
                *epoch = found.producer_epoch;
            }
        }
    }

    fn fail_pending_appends(&mut self) {
        while !self.world.unacknowledged.is_empty() {
            self.world.refuse(ErrorCode::NotLeaderOrFollower);
        }
    }

    /// What clients learn from answers.
    fn learn(&mut self) {
        let inits = std::mem::take(&mut self.inits);
        for init in inits {
            match self.world.reply(init) {
                None => self.inits.push(init),
                Some(Response::InitProducerId(Ok(producer))) => {
                    assert!(
                        producer.producer_epoch.0 < i16::MAX,
                        "32767 is given to nobody"
                    );
                    if self.current != Some(producer) {
                        self.before = self.current;
                        self.current = Some(producer);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn check(&mut self) {
        if let Ok(found) = self.world.shard.describe(ID) {
            let known = self
                .epochs
                .entry(found.producer_id)
                .or_insert(found.producer_epoch);
            assert!(*known <= found.producer_epoch, "an epoch fell");
            *known = found.producer_epoch;
            let is_open = found.state == TransactionState::Ongoing || found.state.is_prepared();
            assert!(is_open || found.partitions.is_empty(), "{found:?}");
        }
    }

    /// The faults stop; everything that was begun comes to its end.
    fn settle(mut self) {
        for data in self.world.partitions.values_mut() {
            data.leader = Some(BrokerId(1));
            data.refuses = None;
        }
        self.fail_over();
        for _ in 0..200 {
            if !self.world.unacknowledged.is_empty() {
                self.play(Step::Ack);
            } else if !self.world.awaiting_producer_id.is_empty() {
                self.play(Step::GiveProducerId);
            } else if !self.world.sent.is_empty() {
                self.play(Step::AnswerMarkers);
            } else {
                self.play(Step::Advance { millis: 100 });
            }
        }
        let world = &mut self.world;
        for request in 0..world.next_request {
            assert!(
                world.answered.contains(&RequestId(request)),
                "{request} is answered"
            );
        }
        assert_eq!(world.sender.next_deadline(), None);
        assert_eq!(world.shard.next_deadline(), None);
        if let Ok(found) = world.shard.describe(ID) {
            assert!(
                !found.state.is_prepared(),
                "the decision has been carried out: {found:?}"
            );
            // The log alone says the same.
            let memory = TransactionDescription {
                start_timestamp: world.now.timestamp,
                ..found
            };
            world.load();
            let start_timestamp = world.now.timestamp;
            let loaded = TransactionDescription {
                start_timestamp,
                ..world.describe()
            };
            // An epoch that fences may have been raised in memory only.
            assert!(loaded.producer_epoch <= memory.producer_epoch);
            let producer_epoch = memory.producer_epoch;
            assert_eq!(
                TransactionDescription {
                    producer_epoch,
                    ..loaded
                },
                memory
            );
        }
        self.check_markers();
    }

    /// Every partition of a transaction that the log calls complete has the marker that the
    /// decision says, if the partition still exists, and never the other one.
    fn check_markers(&self) {
        let mut added = BTreeMap::new();
        for value in self.world.values().into_iter().flatten() {
            let producer = (value.producer_id, value.start_timestamp);
            match value.state {
                TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                    let outcome = if value.state == TransactionState::PrepareCommit {
                        COMMIT
                    } else {
                        ABORT
                    };
                    added.insert(producer, (value.producer_epoch, outcome, value.partitions));
                }
                TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                    let Some((epoch, outcome, partitions)) = added.remove(&producer) else {
                        continue;
                    };
                    for partition in partitions {
                        let Some(data) = self.world.partitions.get(&partition) else {
                            continue;
                        };
                        let has = data.markers.iter().any(|(id, marker_epoch, _, found)| {
                            (*id, *marker_epoch, *found) == (producer.0, epoch, outcome)
                        });
                        assert!(
                            has,
                            "{partition} lacks the {outcome:?} marker of {producer:?}"
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_well(steps in prop::collection::vec(step(), 1..120)) {
        let mut game = Game::new();
        for step in steps {
            game.play(step);
        }
        game.settle();
    }
}
