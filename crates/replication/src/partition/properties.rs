//! What must hold after any sequence of events on a leader.

use ottla_model::{BrokerId, ErrorCode, Instant, Offset};
use proptest::prelude::*;

use super::scenarios_support::{command, fetch, unled};
use super::{Partition, Surroundings};
use crate::isr::IsrProposal;
use crate::offsets::LogOffsets;

#[derive(Clone, Debug)]
enum Event {
    Append(i64),
    Fetch { follower: i32, behind: i64 },
    Pass(u64),
    Shrink,
    Agree,
    Refuse(ErrorCode),
    Elect,
    Die(i32),
    Revive(i32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..5i64).prop_map(Event::Append),
        6 => (2..5i32, 0..4i64).prop_map(|(follower, behind)| Event::Fetch { follower, behind }),
        2 => prop_oneof![Just(10u64), Just(20_000), Just(40_000)].prop_map(Event::Pass),
        1 => Just(Event::Shrink),
        2 => Just(Event::Agree),
        1 => prop_oneof![
            Just(ErrorCode::OperationNotAttempted),
            Just(ErrorCode::InvalidUpdateVersion)
        ].prop_map(Event::Refuse),
        1 => Just(Event::Elect),
        1 => (2..5i32).prop_map(Event::Die),
        1 => (2..5i32).prop_map(Event::Revive),
    ]
}

struct World {
    partition: Partition,
    log: LogOffsets,
    now: u64,
    dead: Vec<i32>,
    in_flight: Option<IsrProposal>,
    /// The controller's view.
    isr: Vec<i32>,
    leader_epoch: i32,
    partition_epoch: i32,
    /// What each follower has; those in the ISR never lose what is committed.
    follower_end: [Offset; 5],
}

const REPLICAS: [i32; 4] = [1, 2, 3, 4];
const MIN_ISR: i32 = 2;

impl World {
    fn new() -> Self {
        let mut world = Self {
            partition: unled(),
            log: LogOffsets::default(),
            now: 0,
            dead: Vec::new(),
            in_flight: None,
            isr: REPLICAS.to_vec(),
            leader_epoch: 0,
            partition_epoch: 0,
            follower_end: [0; 5],
        };
        world.elect();
        world
    }

    fn elect(&mut self) {
        self.leader_epoch += 1;
        self.partition_epoch += 1;
        let command = command(
            1,
            self.leader_epoch,
            self.partition_epoch,
            &REPLICAS,
            &self.isr,
        );
        self.partition.make_leader(
            &command,
            self.log.log_end_offset,
            Instant::from_millis(self.now),
        );
        self.in_flight = None;
    }

    fn with_surroundings<R>(
        &mut self,
        act: impl FnOnce(&mut Partition, &LogOffsets, &Surroundings<'_>) -> R,
    ) -> R {
        let dead = self.dead.clone();
        let is_alive = |id: BrokerId| !dead.contains(&id.0);
        let around = Surroundings {
            now: Instant::from_millis(self.now),
            min_insync_replicas: MIN_ISR,
            is_alive: &is_alive,
        };
        act(&mut self.partition, &self.log, &around)
    }

    fn advance(&mut self) {
        let committed = self.partition.isr().isr().len();
        if let Some(next) =
            self.with_surroundings(|p, log, around| p.next_high_watermark(log, around))
        {
            assert!(next > self.log.high_watermark, "it only rises");
            assert!(committed >= MIN_ISR as usize, "frozen below the minimum");
            for replica in self.partition.remote_replicas() {
                if self.partition.isr().is_in_maximal_isr(replica.id) {
                    assert!(
                        next <= replica.log_end_offset,
                        "{replica:?} lacks what is committed"
                    );
                }
            }
            // Whoever the controller may elect holds all that is committed.
            for id in self.isr.iter().filter(|id| **id != 1) {
                assert!(
                    next <= self.follower_end[*id as usize],
                    "{id} could be elected"
                );
            }
            self.log.high_watermark = next;
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Append(count) => self.log.log_end_offset += count,
            Event::Fetch { follower, behind } => {
                let at =
                    (self.log.log_end_offset - behind).max(self.follower_end[follower as usize]);
                self.follower_end[follower as usize] = at;
                let fetch = fetch(at, self.now, self.log.log_end_offset);
                let outcome = self.with_surroundings(|p, log, around| {
                    p.record_follower_fetch(BrokerId(follower), &fetch, log, around)
                });
                self.in_flight = outcome.proposal.or(self.in_flight.take());
            }
            Event::Pass(millis) => self.now += millis,
            Event::Shrink => {
                let now = Instant::from_millis(self.now);
                let proposal = self.partition.propose_shrink(self.log.log_end_offset, now);
                self.in_flight = proposal.or(self.in_flight.take());
            }
            Event::Agree => {
                if let Some(proposal) = self.in_flight.take() {
                    self.partition_epoch += 1;
                    self.isr = proposal.isr.iter().map(|id| id.0).collect();
                    let state = command(
                        1,
                        self.leader_epoch,
                        self.partition_epoch,
                        &REPLICAS,
                        &self.isr,
                    )
                    .state;
                    self.partition.complete_isr_change(&proposal, &Ok(state));
                }
            }
            Event::Refuse(error) => {
                if let Some(proposal) = self.in_flight.take() {
                    if error == ErrorCode::InvalidUpdateVersion {
                        // The controller did apply it, but our request was a repetition.
                        self.isr = proposal.isr.iter().map(|id| id.0).collect();
                        self.partition_epoch += 1;
                    }
                    self.partition.complete_isr_change(&proposal, &Err(error));
                }
            }
            Event::Elect => self.elect(),
            Event::Die(id) => self.dead.push(id),
            Event::Revive(id) => self.dead.retain(|dead| *dead != id),
        }
        self.advance();
        assert!(
            self.partition.isr().isr().contains(&BrokerId(1)),
            "the leader stays in sync"
        );
        assert!(self.log.high_watermark <= self.log.log_end_offset);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_committed_that_a_possible_leader_lacks(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in &events {
            world.apply(event);
        }
    }
}
