//! Getting the public data sets, and checking what is there.
//!
//! The data folder is `--dir`, else `$S3_DATA_DIR`, else `data`. In it
//!
//! | data set | files |
//! | --- | --- |
//! | `mnist` | `mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz` (or unpacked, without `.gz`) |
//! | `cifar10` | `cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin`, `batches.meta.txt` |
//!
//! Checksums are MD5, because that is what the sources and other projects publish; they guard
//! against damage, and against a mirror that serves something else by mistake.

mod download;
mod fetch;
mod hash;
mod set;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::folders::data_dir;
use set::DataSet;

/// `data fetch` and `data verify`.
#[derive(clap::Subcommand)]
pub(crate) enum DataCommand {
    /// Downloads a data set from its official source, resuming and checking; no-op where it is
    /// whole
    Fetch {
        /// Data set
        set: DataSet,
        /// Data folder [default: $S3_DATA_DIR, else data]
        #[arg(long, visible_alias = "data-dir", value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Asks this address first: a folder with the official files
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Checks every data set in the folder: what is there, whole, and has the right checksums
    Verify {
        /// Data folder [default: $S3_DATA_DIR, else data]
        #[arg(long, visible_alias = "data-dir", value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Runs a command; `verify` fails where something is there and damaged or incomplete.
pub(crate) fn run(command: &DataCommand) -> Result<ExitCode> {
    match command {
        DataCommand::Fetch { set, dir, mirror } => {
            fetch::fetch(*set, &data_dir(dir.as_ref()), mirror.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        DataCommand::Verify { dir } => {
            let folder = data_dir(dir.as_ref());
            say!("data folder {}", folder.display());
            let mut sound = true;
            for (set, state) in verify::all(&folder)? {
                sound &= !matches!(state, verify::State::Damaged(_));
                say!("{:8} {state}", set.name());
            }
            Ok(if sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
