//! Blocks of producer ids for this broker's own producers, from the active controller
//! (AllocateProducerIds) or, with protocols between brokers older than 3.0, straight from the
//! znode that counts them (`ZkProducerIdManager`).

use std::fmt;
use std::sync::Arc;

use kafka_protocol::messages;
use kafka_protocol::messages::AllocateProducerIdsRequest;
use ottla_controller::{Answer, ApiRequest};
use ottla_coordination::payloads::ProducerIdBlock as Latest;
use ottla_coordination::{Error, paths};
use ottla_model::{BrokerId, ErrorCode};

use super::to_controller::{Active, Attempt, ToController};
use crate::coordination::CoordinationHandle;
use crate::producer_ids::{AllocateBlock, ProducerIdBlock};

/// [`Latest::SIZE`] as a length.
const BLOCK_LENGTH: i32 = 1000;

/// Where blocks come from.
#[derive(Clone)]
pub enum ClusterBlocks {
    /// The active controller, here or on another broker.
    Controller(Arc<ToController>),
    /// The znode, in the name of this broker.
    Znode(BrokerId, Arc<CoordinationHandle>),
}

impl fmt::Debug for ClusterBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller(_) => "Controller",
            Self::Znode(..) => "Znode",
        })
    }
}

impl AllocateBlock for ClusterBlocks {
    async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
        match self {
            Self::Controller(way) => ask_controller(way).await,
            Self::Znode(own_id, coordination) => take_from_znode(*own_id, coordination).await,
        }
    }
}

async fn ask_controller(way: &ToController) -> Result<ProducerIdBlock, ErrorCode> {
    way.until_answered(async |active| {
        let (broker, broker_epoch) = (way.own_id(), way.broker_epoch());
        let result = match active {
            Active::Here => {
                let asked = ApiRequest::AllocateProducerIds {
                    broker,
                    broker_epoch,
                };
                match way.ask_here(asked).await {
                    Answer::AllocateProducerIds(Ok((first, length))) => Ok(ProducerIdBlock {
                        start: first.0,
                        length,
                    }),
                    Answer::AllocateProducerIds(Err(error)) => Err(error),
                    // Pre-empted, or this broker shuts down.
                    _ => Err(ErrorCode::NotController),
                }
            }
            Active::There(remote) => {
                let request = AllocateProducerIdsRequest::default()
                    .with_broker_id(messages::BrokerId(broker.0))
                    .with_broker_epoch(broker_epoch.0);
                let version = remote.version::<AllocateProducerIdsRequest>()?;
                let response = remote.send(&request, version).await?;
                match ErrorCode::from_code(response.error_code) {
                    ErrorCode::None => Ok(ProducerIdBlock {
                        start: response.producer_id_start.0,
                        length: response.producer_id_len,
                    }),
                    error => Err(error),
                }
            }
        };
        Ok(match result {
            Err(ErrorCode::NotController) => Attempt::LookAgain,
            result => Attempt::Answered(result),
        })
    })
    .await
}

/// Whoever writes first has the block; the others take the next one.
async fn take_from_znode(
    own_id: BrokerId,
    coordination: &CoordinationHandle,
) -> Result<ProducerIdBlock, ErrorCode> {
    let path = paths::LATEST_PRODUCER_ID_BLOCK;
    loop {
        let (data, stat) = coordination.get_data(path, false).await.map_err(failed)?;
        let latest = data.map(|data| Latest::decode(&data)).transpose();
        let latest = latest.map_err(|error| {
            tracing::error!(%error, "{path} is malformed");
            ErrorCode::UnknownServerError
        })?;
        let Some(block) = Latest::after(latest.as_ref(), own_id) else {
            tracing::error!("all producer ids are used up");
            return Err(ErrorCode::UnknownServerError);
        };
        let encoded = Some(block.encode());
        match coordination.set_data(path, encoded, stat.version).await {
            Ok(_) => {
                return Ok(ProducerIdBlock {
                    start: block.first.0,
                    length: BLOCK_LENGTH,
                });
            }
            Err(Error::BadVersion) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn failed(error: Error) -> ErrorCode {
    tracing::warn!(%error, "no block of producer ids");
    ErrorCode::CoordinatorNotAvailable
}
