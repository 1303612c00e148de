//! `ottla log …`: looking into log directories without a broker and without a JVM.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use ottla_log_tools::dump::{Decoder, DumpOptions, Text, dump};
use ottla_log_tools::truncate;
use ottla_log_tools::verify::verify;

const STRING_DECODER: &str = "org.apache.kafka.tools.api.StringDecoder";

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prints what files of a partition hold, as kafka-dump-log.sh does and with its options.
    Dump(DumpArguments),
    /// Checks log directories, or directories of partitions, while no broker has them open: every
    /// batch, index, snapshot, epoch and checkpoint. Ends with 1 if anything is wrong.
    Verify {
        /// Directories of log.dirs, or of partitions.
        #[arg(required = true)]
        directories: Vec<PathBuf>,
    },
    /// Removes the end of a partition's log, for instance what is damaged below its recovery point:
    /// a broker never does that by itself. The broker must be stopped.
    Truncate(TruncateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    /// The comma separated list of data and index log files to be dumped.
    #[arg(long, value_delimiter = ',', required = true)]
    files: Vec<PathBuf>,
    /// Prints what the records hold.
    #[arg(long)]
    print_data_log: bool,
    /// Prints each record, not only each batch.
    #[arg(long)]
    deep_iteration: bool,
    /// Reads records as those of __consumer_offsets.
    #[arg(long)]
    offsets_decoder: bool,
    /// Reads records as those of __transaction_state.
    #[arg(long)]
    transaction_log_decoder: bool,
    /// Checks indexes as a broker does at its start.
    #[arg(long)]
    index_sanity_check: bool,
    /// Compares indexes with their logs without printing them.
    #[arg(long)]
    verify_index_only: bool,
    /// Leaves out offsets, sizes and timestamps of records.
    #[arg(long)]
    skip_record_metadata: bool,
    /// How many bytes of a log are read.
    #[arg(long)]
    max_bytes: Option<u64>,
    /// Taken for the sake of scripts: batches of any size are read.
    #[arg(long, hide = true)]
    max_message_size: Option<u64>,
    /// Kafka's class that reads keys: StringDecoder, IntegerDecoder or LongDecoder.
    #[arg(long)]
    key_decoder_class: Option<String>,
    /// Kafka's class that reads values: StringDecoder, IntegerDecoder or LongDecoder.
    #[arg(long)]
    value_decoder_class: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TruncateArguments {
    /// The directory of the partition.
    partition: PathBuf,
    /// The log ends before this offset; without it, before the first damaged batch.
    #[arg(long)]
    to_offset: Option<i64>,
    /// Only says what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Runs a command; output goes to standard output.
pub(crate) fn run(command: &LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Dump(arguments) => run_dump(arguments),
        LogCommand::Verify { directories } => run_verify(directories),
        LogCommand::Truncate(arguments) => run_truncate(arguments),
    }
}

fn run_dump(arguments: &DumpArguments) -> anyhow::Result<ExitCode> {
    let text = |class: &Option<String>| {
        let class = class.as_deref().unwrap_or(STRING_DECODER);
        Text::of_class(class).with_context(|| format!("{class}: Java classes cannot run here"))
    };
    let (key, value) = (
        text(&arguments.key_decoder_class)?,
        text(&arguments.value_decoder_class)?,
    );
    let is_plain = arguments.print_data_log
        || arguments.key_decoder_class.is_some()
        || arguments.value_decoder_class.is_some();
    let contents = match () {
        () if arguments.offsets_decoder => Some(Decoder::Offsets),
        () if arguments.transaction_log_decoder => Some(Decoder::Transactions),
        () if is_plain => Some(Decoder::Plain { key, value }),
        () => None,
    };
    let options = DumpOptions {
        deep_iteration: arguments.deep_iteration || contents.is_some(),
        contents,
        skip_record_metadata: arguments.skip_record_metadata,
        verify_index_only: arguments.verify_index_only,
        index_sanity_check: arguments.index_sanity_check,
        max_bytes: arguments.max_bytes,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = dump(&arguments.files, &options, &mut out, &mut io::stderr());
    out.flush()?;
    result?;
    Ok(ExitCode::SUCCESS)
}

fn run_verify(directories: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut is_sound = true;
    for directory in directories {
        let report = verify(directory).with_context(|| directory.display().to_string())?;
        for problem in &report.problems {
            writeln!(out, "{}: {}", problem.path.display(), problem.reason)?;
        }
        writeln!(
            out,
            "{}: {} partitions, {} batches, {} problems",
            directory.display(),
            report.partitions,
            report.batches,
            report.problems.len()
        )?;
        is_sound &= report.problems.is_empty();
    }
    Ok(if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_truncate(arguments: &TruncateArguments) -> anyhow::Result<ExitCode> {
    // Its name tells which partition it is, whatever way leads there.
    let partition = arguments
        .partition
        .canonicalize()
        .with_context(|| arguments.partition.display().to_string())?;
    if arguments.to_offset.is_some_and(|offset| offset < 0) {
        bail!("--to-offset: offsets are not negative");
    }
    let mut out = io::stdout().lock();
    let Some(truncation) = truncate::plan(&partition, arguments.to_offset)? else {
        writeln!(out, "{}: nothing to remove", partition.display())?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some((segment, length)) = &truncation.cut {
        writeln!(out, "{}: cut to {length} bytes", segment.display())?;
    }
    for path in &truncation.removed {
        writeln!(out, "{}: removed", path.display())?;
    }
    let (path, end) = (partition.display(), truncation.end_offset);
    if arguments.dry_run {
        writeln!(
            out,
            "{path}: would end at offset {end} (nothing was changed)"
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    truncate::execute(&partition, &truncation)?;
    writeln!(out, "{path}: ends at offset {end}")?;
    Ok(ExitCode::SUCCESS)
}
