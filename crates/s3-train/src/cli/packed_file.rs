//! The file of a packed network, and what somebody may have given in its place.

use crate::terminal;
use anyhow::{Result, anyhow};
use s3_layers::model::Model;
use s3_train::packed;
use s3_train::run::RunFolder;
use std::io::Read;
use std::path::Path;

/// What the header of a checkpoint has, and no other file.
const CHECKPOINT: &[u8] = b"\"s3.checkpoint\"";

/// Bytes of a file's start that hold this word: safetensors writes the metadata first.
const START: u64 = 4096;

/// Reads the packed network in `path` for the command `verb`.
///
/// # Errors
/// One line that names the file; of a run's folder and of a checkpoint it says what makes a packed network
/// of them.
pub(super) fn load(path: &Path, verb: &str) -> Result<Model> {
    packed::load(path).map_err(|e| {
        let shown = terminal::path(path);
        let export = |run: &Path| {
            let run = terminal::path(run);
            format!("`s3 export {run} -o net.safetensors` writes the file that `{verb}` reads")
        };
        if RunFolder::open(path).is_ok() {
            return anyhow!(
                "{shown}: a run's folder, no packed network; {}",
                export(path)
            );
        }
        if is_checkpoint(path) {
            let run = path.parent().filter(|run| RunFolder::open(run).is_ok());
            let run = run.unwrap_or(Path::new("RUN"));
            let hint = match verb {
                "eval" => {
                    let run = terminal::path(run);
                    format!("`s3 eval {run} --checkpoint {shown}` evaluates it")
                }
                _ => export(run),
            };
            return anyhow!("{shown}: a checkpoint, no packed network; {hint}");
        }
        e
    })
}

fn is_checkpoint(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = s3_train::files::open_regular(path)
        .and_then(|file| file.take(START).read_to_end(&mut start));
    read.is_ok()
        && start
            .windows(CHECKPOINT.len())
            .any(|word| word == CHECKPOINT)
}
