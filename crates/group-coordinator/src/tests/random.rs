//! Any clients, any order, any failures: the invariants hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator_runtime::{RequestId, TransactionOutcome};
use ottla_model::{ErrorCode, LeaderEpoch};
use proptest::prelude::*;

use super::harness::*;
use crate::*;

const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        fresh: bool,
        require_id: bool,
        protocols: u8,
        skip: bool,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: Option<usize>,
        partition: i32,
        offset: i64,
    },
    TxnCommit {
        producer: i64,
        partition: i32,
        offset: i64,
    },
    Marker {
        producer: i64,
        commit: bool,
    },
    Advance {
        millis: u64,
    },
    Ack,
    Refuse,
    Expire,
    DeleteGroup,
    DeleteOffsets {
        partition: i32,
    },
    DeleteTopic {
        partition: i32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let partition = 0..3_i32;
    let advance = prop_oneof![
        Just(1_u64),
        Just(1_000),
        Just(3_000),
        Just(10_000),
        Just(60_000)
    ];
    prop_oneof![
        8 => (client.clone(), any::<bool>(), any::<bool>(), 1..8_u8, any::<bool>()).prop_map(
            |(client, fresh, require_id, protocols, skip)| Step::Join {
                client, fresh, require_id, protocols, skip
            }
        ),
        6 => client.clone().prop_map(|client| Step::Sync { client }),
        3 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        2 => client.clone().prop_map(|client| Step::Leave { client }),
        4 => (proptest::option::of(client), partition.clone(), 0..100_i64).prop_map(
            |(client, partition, offset)| Step::Commit { client, partition, offset }
        ),
        2 => (0..2_i64, partition.clone(), 0..100_i64).prop_map(
            |(producer, partition, offset)| Step::TxnCommit { producer, partition, offset }
        ),
        1 => (0..2_i64, any::<bool>())
            .prop_map(|(producer, commit)| Step::Marker { producer, commit }),
        6 => advance.prop_map(|millis| Step::Advance { millis }),
        6 => Just(Step::Ack),
        1 => Just(Step::Refuse),
        1 => Just(Step::Expire),
        1 => Just(Step::DeleteGroup),
        1 => partition.clone().prop_map(|partition| Step::DeleteOffsets { partition }),
        1 => partition.prop_map(|partition| Step::DeleteTopic { partition }),
    ]
}

/// What a client of the simulation knows; the last two are static.
#[derive(Clone, Debug)]
struct Player {
    client: Client,
    protocol: Arc<str>,
    waits: Vec<RequestId>,
}

struct Game {
    world: World,
    players: Vec<Player>,
    generations: BTreeMap<(Arc<str>, u64), i32>,
}

impl Game {
    fn new(acks: Acks) -> Self {
        let mut world = World::with(GroupConfig {
            group_max_size: 3,
            ..GroupConfig::default()
        });
        world.acks = acks;
        let players = (0..CLIENTS)
            .map(|index| Player {
                client: Client {
                    member_id: "".into(),
                    instance_id: (index >= CLIENTS / 2).then(|| format!("i{index}").into()),
                    generation: -1,
                },
                protocol: "".into(),
                waits: Vec::new(),
            })
            .collect();
        Self {
            world,
            players,
            generations: BTreeMap::new(),
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Join {
                client,
                fresh,
                require_id,
                protocols,
                skip,
            } => {
                let known = self.players[client].client.clone();
                let member_id = if fresh { "" } else { &*known.member_id };
                let mut request = self.world.join_request(member_id);
                request.group_instance_id = known.instance_id;
                request.require_known_member_id = require_id && request.group_instance_id.is_none();
                request.supports_skip_assignment = skip;
                request.protocols = ["a", "b", "c"]
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| protocols & (1 << bit) != 0)
                    .map(|(_, name)| protocol(name, &["t"]))
                    .collect();
                let id = self.world.send(Request::JoinGroup(request));
                self.players[client].waits.push(id);
            }
            Step::Sync { client } => {
                let player = &self.players[client];
                let mut request = sync_request(&player.client, &[(&*player.client.member_id, "x")]);
                request.protocol_name = Some(player.protocol.clone());
                let id = self.world.send(Request::SyncGroup(request));
                self.players[client].waits.push(id);
            }
            Step::Heartbeat { client } => {
                let client = self.players[client].client.clone();
                self.world.heartbeat(&client);
            }
            Step::Leave { client } => {
                let client = self.players[client].client.clone();
                self.world
                    .leave(&client.member_id, client.instance_id.as_deref());
            }
            Step::Commit {
                client,
                partition: index,
                offset,
            } => {
                let client = client.map(|client| self.players[client].client.clone());
                let offsets = [(partition("t", index), committed(offset))];
                let request = self.world.commit_request(client.as_ref(), &offsets);
                self.world.send(Request::OffsetCommit(request));
            }
            Step::TxnCommit {
                producer,
                partition: index,
                offset,
            } => {
                self.world
                    .commit_transactional(producer, partition("t", index), offset);
            }
            Step::Marker { producer, commit } => {
                // The log has a marker after the commits that it settles.
                while !self.world.unacknowledged.is_empty() {
                    self.world.ack();
                }
                let outcome = if commit {
                    TransactionOutcome::Commit
                } else {
                    TransactionOutcome::Abort
                };
                self.world.marker(producer, outcome);
            }
            Step::Advance { millis } => self.world.advance(millis),
            Step::Ack if self.world.unacknowledged.is_empty() => {}
            Step::Ack => self.world.ack(),
            Step::Refuse if self.world.unacknowledged.is_empty() => {}
            Step::Refuse => self.world.refuse(ErrorCode::NotEnoughReplicas),
            Step::Expire => self.world.event(Event::ExpireOffsets),
            Step::DeleteGroup => {
                self.world.send(Request::DeleteGroup {
                    group_id: GROUP.into(),
                });
            }
            Step::DeleteOffsets { partition: index } => {
                let partitions = vec![partition("t", index)];
                self.world.send(Request::OffsetDelete {
                    group_id: GROUP.into(),
                    partitions,
                });
            }
            Step::DeleteTopic { partition: index } => {
                self.world
                    .event(Event::PartitionsDeleted(vec![partition("t", index)]));
            }
        }
        self.learn();
        self.check();
    }

    /// Clients take in their answers.
    fn learn(&mut self) {
        for player in &mut self.players {
            let waits = std::mem::take(&mut player.waits);
            for id in waits {
                match self.world.reply(id) {
                    None => player.waits.push(id),
                    Some(Response::JoinGroup(response)) => {
                        let keeps_id = matches!(
                            response.error,
                            ErrorCode::None | ErrorCode::MemberIdRequired
                        );
                        if keeps_id {
                            player.client.member_id = response.member_id;
                            player.client.generation = response.generation_id;
                            player.protocol = response.protocol_name.unwrap_or_default();
                        }
                        if response.error == ErrorCode::None {
                            assert!(response.generation_id > 0);
                            assert!(!response.leader.is_empty());
                        }
                    }
                    Some(Response::SyncGroup(_)) => {}
                    Some(other) => panic!("{other:?}"),
                }
            }
        }
    }

    fn check(&mut self) {
        let mut parked = self.world.shard.check_invariants();
        parked.sort();
        let unanswered: Vec<RequestId> = (0..self.world.requests_sent())
            .map(RequestId)
            .filter(|id| !self.world.is_answered(*id))
            .collect();
        assert_eq!(parked, unanswered, "what is not answered is parked, once");
        for (group_id, incarnation, generation) in self.world.shard.generations() {
            let known = self
                .generations
                .entry((group_id, incarnation))
                .or_insert(generation);
            assert!(*known <= generation, "a generation never falls");
            *known = generation;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_request_is_answered_once_and_the_invariants_hold(
        steps in proptest::collection::vec(step(), 1..80),
        by_hand in any::<bool>(),
    ) {
        let mut game = Game::new(if by_hand { Acks::ByHand } else { Acks::AtOnce });
        for step in steps {
            game.play(step);
        }
        game.world.event(Event::Resigned(Some(LeaderEpoch(9))));
        while !game.world.unacknowledged.is_empty() {
            game.world.ack();
        }
        game.check();
        prop_assert!(game.world.shard.check_invariants().is_empty());
        prop_assert_eq!(game.world.shard.next_deadline(), None);
    }

    #[test]
    fn what_is_durable_survives_a_failover(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut game = Game::new(Acks::AtOnce);
        // Tombstones are for committed offsets only: what a transaction still holds when its group
        // or topic is deleted comes back with a failover, here as in Kafka.
        let transactional = steps.iter().any(|step| matches!(step, Step::TxnCommit { .. }));
        let deletes = |step: &Step| {
            matches!(
                step,
                Step::DeleteGroup | Step::DeleteOffsets { .. } | Step::DeleteTopic { .. }
            )
        };
        for step in steps {
            if !(transactional && deletes(&step)) {
                game.play(step);
            }
        }
        let next = game.world.failover(GroupConfig::default());
        let fetch = |world: &World| world.shard.fetch_offsets(GROUP, None, false).unwrap();
        prop_assert_eq!(fetch(&next), fetch(&game.world));
        for index in 0..3 {
            let t = partition("t", index);
            prop_assert_eq!(next.fetch(&t, true), game.world.fetch(&t, true));
        }
        let (before, after) = (game.world.describe(), next.describe());
        let generation = |world: &World| {
            world.shard.generations().first().map_or(0, |(_, _, generation)| *generation)
        };
        if before.state == GroupState::Stable
            || (before.state == GroupState::Empty && generation(&game.world) > 0)
        {
            prop_assert_eq!(after, before);
            prop_assert_eq!(generation(&next), generation(&game.world));
        }
    }

    #[test]
    fn one_run_twice_gives_one_trace(steps in proptest::collection::vec(step(), 1..40)) {
        let run = || {
            let mut game = Game::new(Acks::AtOnce);
            for step in steps.clone() {
                game.play(step);
            }
            format!("{:?} {:?}", game.world.log, game.players)
        };
        prop_assert_eq!(run(), run());
    }
}
