//! What a group's client is told when the log refused its append.

use ottla_model::ErrorCode;

/// The answer to a SyncGroup, or a static member's JoinGroup, whose group record was refused.
pub(crate) fn group_state_error(append_error: ErrorCode) -> ErrorCode {
    match append_error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::RequestTimedOut => ErrorCode::RebalanceInProgress,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

/// The answer to an offset commit whose records were refused, or whose transaction could not be
/// verified.
pub fn offset_commit_error(append_error: ErrorCode) -> ErrorCode {
    match append_error {
        // Old clients do not expect it; this one makes them retry without a new look-up.
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::InvalidCommitOffsetSize,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ErrorCode as E;

    use super::*;

    #[test]
    fn append_errors_become_what_clients_of_groups_expect() {
        for (append, group, commit) in [
            (
                E::UnknownTopicOrPartition,
                E::CoordinatorNotAvailable,
                E::CoordinatorNotAvailable,
            ),
            (
                E::NotEnoughReplicas,
                E::CoordinatorNotAvailable,
                E::CoordinatorNotAvailable,
            ),
            (
                E::NotEnoughReplicasAfterAppend,
                E::CoordinatorNotAvailable,
                E::CoordinatorNotAvailable,
            ),
            (E::NotLeaderOrFollower, E::NotCoordinator, E::NotCoordinator),
            (E::KafkaStorageError, E::NotCoordinator, E::NotCoordinator),
            (
                E::RequestTimedOut,
                E::RebalanceInProgress,
                E::RequestTimedOut,
            ),
            (
                E::MessageTooLarge,
                E::UnknownServerError,
                E::InvalidCommitOffsetSize,
            ),
            (
                E::RecordListTooLarge,
                E::UnknownServerError,
                E::InvalidCommitOffsetSize,
            ),
            (
                E::InvalidFetchSize,
                E::UnknownServerError,
                E::InvalidCommitOffsetSize,
            ),
            (
                E::NetworkException,
                E::NetworkException,
                E::CoordinatorLoadInProgress,
            ),
            (E::InvalidTxnState, E::InvalidTxnState, E::InvalidTxnState),
        ] {
            assert_eq!(group_state_error(append), group, "{append:?}");
            assert_eq!(offset_commit_error(append), commit, "{append:?}");
        }
    }
}
