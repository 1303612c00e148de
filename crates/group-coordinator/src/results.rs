//! Results of appends and ends of transactions at the shard.

use ottla_coordinator_runtime::{AppendResult, AppendToken, Now, TransactionOutcome};
use ottla_model::ProducerId;

use crate::context::{CleanupCause, GroupRef, InFlight};
use crate::messages::GroupAction;
use crate::shard::GroupCoordinatorShard;

impl GroupCoordinatorShard {
    pub(crate) fn on_append_done(
        &mut self,
        now: Now,
        token: AppendToken,
        result: AppendResult,
        actions: &mut Vec<GroupAction>,
    ) {
        let Some((
            GroupRef {
                group_id,
                incarnation,
            },
            in_flight,
        )) = self.appends.in_flight.remove(&token)
        else {
            return;
        };
        let (groups, mut ctx) = self.split(now, actions);
        // A group that was removed, or removed and made again, is not the one that appended.
        let group = groups
            .get_mut(&group_id)
            .filter(|group| group.incarnation == incarnation);
        match in_flight {
            InFlight::Assignment {
                generation_id,
                assignments,
            } => {
                if let Some(group) = group {
                    group.assignment_appended(&mut ctx, generation_id, assignments, result);
                }
            }
            InFlight::StaticReplacement(replacement) => match (group, result) {
                (Some(group), Ok(_)) => group.replacement_stored(&mut ctx, replacement),
                (Some(group), Err(error)) => {
                    group.replacement_refused(&mut ctx, replacement, error);
                }
                (None, _) => {}
            },
            InFlight::EmptyGroup => {
                if let Err(error) = result {
                    // The generation before may come back with a reload, and will time out then.
                    tracing::warn!(group = %group_id, %error, "record of empty group was refused");
                }
            }
            InFlight::Offsets(write) => {
                if let Some(group) = group {
                    group.offsets_appended(&write, result);
                }
                if result.is_ok() {
                    ctx.stats.offset_commits += 1;
                }
                ctx.reply(write.request, write.answer_to(result));
            }
            InFlight::Tombstones {
                cause,
                offsets_removed,
            } => match (result, cause) {
                (Ok(_), CleanupCause::Expired) => ctx.stats.offset_expirations += offsets_removed,
                (Ok(_), CleanupCause::OffsetDelete) => {
                    ctx.stats.offset_deletions += offsets_removed;
                }
                (Ok(_), CleanupCause::GroupDelete | CleanupCause::PartitionDelete) => {}
                (Err(error), _) => {
                    tracing::error!(group = %group_id, %error, "tombstones were refused");
                }
            },
        }
    }

    pub(crate) fn on_transaction_completed(
        &mut self,
        producer_id: ProducerId,
        outcome: TransactionOutcome,
    ) {
        for group in self.groups.values_mut() {
            if group.offsets.has_pending_of_producer(producer_id) {
                group.offsets.complete_transaction(producer_id, outcome);
            }
        }
        for (_, in_flight) in self.appends.in_flight.values_mut() {
            if let InFlight::Offsets(write) = in_flight
                && write.producer_id == Some(producer_id)
            {
                write.outcome.get_or_insert(outcome);
            }
        }
    }
}
