//! Looking into log directories without a broker: [`dump`] prints what files hold, as
//! `kafka-dump-log.sh` does; [`verify`] checks a whole directory; [`truncate`] is the operator's way
//! out of damage below a recovery point, which no broker here ever removes by itself.
//!
//! What does not belong here: writing logs while a broker may run ([`truncate`] takes the
//! directory's lock first), and options, which `bin/ottla` reads.

mod batch_file;
pub mod dump;
mod index_file;
pub mod truncate;
pub mod verify;

pub use batch_file::BatchFileError;
