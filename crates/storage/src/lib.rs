//! Partition logs on disk, byte for byte as Kafka 3.9 keeps them: segments, indexes, checkpoints,
//! leader epochs, producer state, recovery, and the directories of `log.dirs`.
//!
//! What belongs here: everything that touches a log's files. What does not: who leads, who is in
//! sync, what a request says (the high watermark is told from outside); threads and timers (duties
//! are plain functions with the time as argument); sockets (a read answers with a range of a file).
//!
//! Read in this order: [`directory`], [`log_manager`], [`log`], [`log_reader`], then the files of a
//! partition: `segment`, [`offset_index`], [`time_index`], [`transaction_index`],
//! [`leader_epoch_cache`], [`producer`], [`checkpoint`]; and [`cleaner`].
//!
//! Invariants
//! - A log has one writer (`&mut Log`); readers see a list of segments and a set of offsets that
//!   were published whole, and never wait.
//! - What is below the recovery point survives a crash. Damage there is never dropped.
//! - An I/O error takes the whole log directory offline, once; nothing is retried.
//! - Nothing but Kafka's own files is ever in a log directory: a Java broker may open it next.

pub mod checkpoint;
pub mod cleaner;
pub mod directory;
pub mod errors;
#[doc(hidden)]
pub mod fuzz_target;
mod index_file;
mod index_map;
pub mod leader_epoch_cache;
pub mod log;
pub mod log_config;
pub mod log_dir;
pub mod log_manager;
pub mod log_reader;
pub mod meta_properties;
pub mod names;
pub mod offset_index;
pub mod partition_directory;
pub mod partition_metadata;
pub mod producer;
pub mod published;
pub mod random;
mod scanner;
mod segment;
pub mod time_index;
pub mod transaction_index;

pub use directory::{FileSlice, StorageFile};
pub use errors::{AppendError, LoadError, LogError, ReadError};
pub use log::{
    AppendInfo, FlushPlan, Log, OffsetForTimestamp, OpenLog, ProducerDescription, TimestampTarget,
};
pub use log_config::LogConfig;
pub use log_dir::{FlushObserver, LogDir};
pub use log_manager::{
    CreateError, LogDirs, LogHandle, LogManager, LogManagerSettings, StartError,
};
pub use log_reader::{FetchIsolation, FetchedRecords, LogReader};
pub use ottla_record::AppendOrigin;
pub use producer::VerificationGuard;
pub use published::{LogOffsets, LogPosition};
pub use transaction_index::AbortedTransaction;
