//! What a producer is told when the log refused a transaction's record.

use ottla_model::ErrorCode;

/// The answer to a request whose record was refused.
pub(crate) fn coordinator_error(append_error: ErrorCode) -> ErrorCode {
    match append_error {
        // A record that was not replicated in time may be durable or not: the client tries again.
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ErrorCode as E;

    use super::*;

    #[test]
    fn append_errors_become_what_producers_expect() {
        for (append, answer) in [
            (E::UnknownTopicOrPartition, E::CoordinatorNotAvailable),
            (E::NotEnoughReplicas, E::CoordinatorNotAvailable),
            (E::NotEnoughReplicasAfterAppend, E::CoordinatorNotAvailable),
            (E::RequestTimedOut, E::CoordinatorNotAvailable),
            (E::NotLeaderOrFollower, E::NotCoordinator),
            (E::KafkaStorageError, E::NotCoordinator),
            (E::MessageTooLarge, E::UnknownServerError),
            (E::RecordListTooLarge, E::UnknownServerError),
            (E::InvalidFetchSize, E::InvalidFetchSize),
            (E::CorruptMessage, E::CorruptMessage),
        ] {
            assert_eq!(coordinator_error(append), answer, "{append:?}");
        }
    }
}
