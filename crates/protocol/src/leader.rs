//! Where a partition's leader is now, told along with an error of Produce or Fetch (KIP-951).

use bytes::BytesMut;
use kafka_protocol::protocol::StrBytes;

use crate::wire::{Reader, WireError, Writer};
use bytes::BufMut;

/// The current leader of a partition; −1 and −1 when it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// The leader's broker id, −1 for none.
    pub leader_id: i32,
    /// The leader's epoch, −1 when unknown.
    pub leader_epoch: i32,
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self {
            leader_id: -1,
            leader_epoch: -1,
        }
    }
}

impl LeaderIdAndEpoch {
    /// Reads the structure with its tagged fields (flexible versions only have it).
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let leader = Self {
            leader_id: reader.int32()?,
            leader_epoch: reader.int32()?,
        };
        reader.skip_tagged_fields()?;
        Ok(leader)
    }

    pub(crate) fn to_tagged_value(self) -> BytesMut {
        let mut value = BytesMut::with_capacity(9);
        value.put_i32(self.leader_id);
        value.put_i32(self.leader_epoch);
        value.put_u8(0);
        value
    }
}

/// How to reach a leader that is named in the same response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker's id.
    pub node_id: i32,
    /// Its host on the listener of the request.
    pub host: StrBytes,
    /// Its port on that listener.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

impl NodeEndpoint {
    pub(crate) fn decode_list(reader: &mut Reader) -> Result<Vec<Self>, WireError> {
        let count = reader.count(true, 11)?;
        let mut endpoints = Vec::with_capacity(count);
        for _ in 0..count {
            endpoints.push(Self {
                node_id: reader.int32()?,
                host: reader.string(true)?,
                port: reader.int32()?,
                rack: reader.nullable_string(true)?,
            });
            reader.skip_tagged_fields()?;
        }
        Ok(endpoints)
    }

    pub(crate) fn list_to_tagged_value(endpoints: &[Self]) -> Result<BytesMut, WireError> {
        let mut value = BytesMut::new();
        let mut writer = Writer {
            out: &mut value,
            flexible: true,
        };
        writer.length(Some(endpoints.len()))?;
        for endpoint in endpoints {
            writer.out.put_i32(endpoint.node_id);
            writer.string(&endpoint.host)?;
            writer.out.put_i32(endpoint.port);
            writer.nullable_string(endpoint.rack.as_deref())?;
            writer.no_tagged_fields();
        }
        Ok(value)
    }
}
