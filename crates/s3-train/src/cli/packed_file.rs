//! The file of a packed network, and what somebody may have given in its place.

use crate::given::Given;
use crate::packed;
use crate::terminal;
use anyhow::{Result, anyhow};
use s3_layers::model::Model;
use std::path::Path;

/// Reads the packed network in `path` for the command `verb`.
///
/// # Errors
/// One line that names the file; of a run's folder and of a checkpoint it says what makes a packed
/// network of them.
pub(super) fn load(path: &Path, verb: &str) -> Result<Model> {
    packed::load(path).map_err(|e| {
        let shown = terminal::path(path);
        let export = |run: &Path| {
            let run = terminal::path(run);
            format!("`s3 export {run} -o net.safetensors` writes the file that `{verb}` reads")
        };
        match Given::at(path) {
            Given::Run => anyhow!(
                "{shown}: a run's folder, no packed network; {}",
                export(path)
            ),
            Given::Checkpoint(run) => {
                let run = run.as_deref().unwrap_or(Path::new("RUN"));
                let hint = match verb {
                    "eval" => {
                        let run = terminal::path(run);
                        format!("`s3 eval {run} --checkpoint {shown}` evaluates it")
                    }
                    _ => export(run),
                };
                anyhow!("{shown}: a checkpoint, no packed network; {hint}")
            }
            Given::Experiment => anyhow!(
                "{shown}: an experiment's file, no packed network; `s3 train {shown}` trains it, \
                 {}",
                export(Path::new("RUN"))
            ),
            _ => e,
        }
    })
}
