//! Batches and records.

use std::io::{self, Write};
use std::path::Path;

use ottla_model::Offset;
use ottla_record::{
    BatchView, ControlRecordType, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, Magic, Record,
};

use super::{Complaints, DumpError, DumpOptions, absolute, base_offset, optional_long, unreadable};
use crate::batch_file::BatchFile;

pub(super) fn dump(
    path: &Path,
    options: &DumpOptions,
    complaints: &mut Complaints,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    writeln!(out, "Log starting offset: {}", base_offset(path)?)?;
    let limit = options.max_bytes.unwrap_or(u64::MAX);
    let mut file = BatchFile::open(path, limit).map_err(unreadable(path))?;
    let mut last_offset = None;
    let mut jumps = Vec::new();
    loop {
        let position = file.position();
        let batch = file.next_batch().map_err(|error| DumpError::File {
            path: path.to_owned(),
            error,
        })?;
        let Some(batch) = batch else {
            break;
        };
        print_batch(&batch, position, out)?;
        if !options.deep_iteration {
            continue;
        }
        let records = Records {
            path,
            position,
            batch: &batch,
        };
        records.print(options, &mut last_offset, &mut jumps, out)?;
    }
    if !jumps.is_empty() {
        complaints.non_consecutive.push((absolute(path), jumps));
    }
    let trailing = file.remaining();
    if trailing > 0 && options.max_bytes.is_none() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "Found {trailing} invalid bytes at the end of {name}")?;
    }
    Ok(())
}

fn print_batch(batch: &BatchView<'_>, position: u64, out: &mut dyn Write) -> io::Result<()> {
    if batch.magic == Magic::V2 {
        write!(
            out,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} \
             producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} \
             isControl: {} deleteHorizonMs: {}",
            batch.base_offset(),
            batch.last_offset(),
            batch.record_count.unwrap_or_default(),
            batch.base_sequence,
            batch.last_sequence(),
            batch.producer_id.0,
            batch.producer_epoch.0,
            batch.partition_leader_epoch.0,
            batch.is_transactional(),
            batch.is_control(),
            optional_long(batch.delete_horizon().map(|horizon| horizon.0)),
        )?;
    } else {
        write!(out, "offset: {}", batch.last_offset())?;
    }
    let codec = match batch.compression_type() {
        Ok(codec) => codec.name().to_owned(),
        Err(unknown) => unknown.to_string(),
    };
    writeln!(
        out,
        " position: {position} {}: {} size: {} magic: {} compresscodec: {codec} crc: {} isvalid: {}",
        timestamp_type(batch),
        batch.max_timestamp.0,
        batch.size_in_bytes,
        batch.magic.byte(),
        batch.crc,
        batch.ensure_valid().is_ok(),
    )
}

fn timestamp_type(batch: &BatchView<'_>) -> &'static str {
    batch
        .timestamp_type()
        .map_or("NoTimestampType", |found| found.name())
}

/// The records of one batch of a file.
struct Records<'a> {
    path: &'a Path,
    position: u64,
    batch: &'a BatchView<'a>,
}

impl Records<'_> {
    fn print(
        &self,
        options: &DumpOptions,
        last_offset: &mut Option<Offset>,
        jumps: &mut Vec<(Offset, Offset)>,
        out: &mut dyn Write,
    ) -> Result<(), DumpError> {
        let failed = |error: ottla_record::InvalidRecords| DumpError::Records {
            path: self.path.to_owned(),
            position: self.position,
            reason: error.to_string(),
        };
        let records = self.batch.records(DECOMPRESSED_SIZE_MAX).map_err(failed)?;
        let checksums = records.message_checksums();
        for (index, record) in records.iter().map_err(failed)?.enumerate() {
            let record = record.map_err(failed)?;
            if let Some(last) = last_offset.replace(record.offset)
                && record.offset != last + 1
            {
                jumps.push((last, record.offset));
            }
            let mut prefix = "| ";
            if !options.skip_record_metadata {
                self.print_metadata(&record, checksums.get(index), out)
                    .map_err(|error| match error {
                        MetadataError::Output(error) => error.into(),
                        MetadataError::Marker(error) => failed(error),
                    })?;
                prefix = " ";
            }
            if let (Some(decoder), false) = (&options.contents, self.batch.is_control()) {
                let (key, payload) =
                    decoder
                        .decode(&record)
                        .map_err(|reason| DumpError::Records {
                            path: self.path.to_owned(),
                            position: self.position,
                            reason,
                        })?;
                if let Some(key) = key {
                    write!(out, "{prefix}key: {key}")?;
                }
                if let Some(payload) = payload {
                    write!(out, " payload: {payload}")?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn print_metadata(
        &self,
        record: &Record<'_>,
        checksum: Option<&(bool, u32)>,
        out: &mut dyn Write,
    ) -> Result<(), MetadataError> {
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        write!(
            out,
            "| offset: {} {}: {} keySize: {} valueSize: {}",
            record.offset,
            timestamp_type(self.batch),
            record.timestamp.0,
            size(record.key),
            size(record.value),
        )?;
        if self.batch.magic == Magic::V2 {
            let keys: Vec<_> = record
                .headers
                .iter()
                .map(|(key, _)| String::from_utf8_lossy(key))
                .collect();
            write!(
                out,
                " sequence: {} headerKeys: [{}]",
                record.sequence,
                keys.join(",")
            )?;
        }
        if let Some((is_valid, stored)) = checksum {
            // The stray brace is Kafka's.
            write!(out, " isValid: {is_valid} crc: {stored}}}")?;
        }
        if self.batch.is_control() {
            print_control(record, out)?;
        }
        Ok(())
    }
}

fn print_control(record: &Record<'_>, out: &mut dyn Write) -> Result<(), MetadataError> {
    match ControlRecordType::parse(record.key).map_err(MetadataError::Marker)? {
        ControlRecordType::Other(id) => write!(out, " controlType: UNKNOWN({id})")?,
        found => {
            let name = match found {
                ControlRecordType::Commit => "COMMIT",
                _ => "ABORT",
            };
            let marker = EndTransactionMarker::parse(record).map_err(MetadataError::Marker)?;
            let epoch = marker.map_or(-1, |marker| marker.coordinator_epoch);
            write!(out, " endTxnMarker: {name} coordinatorEpoch: {epoch}")?;
        }
    }
    Ok(())
}

enum MetadataError {
    Output(io::Error),
    Marker(ottla_record::InvalidRecords),
}

impl From<io::Error> for MetadataError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
