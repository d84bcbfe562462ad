//! Which file does a run start from?

use super::super::checkpoint;
use crate::config::Config;
use crate::files::read_regular;
use crate::given::Given;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// A file to start from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// What its SHA-256 must be, where that is known.
    pub sha256: Option<&'a str>,
    /// Whether the classifier starts as in a run from scratch.
    pub fresh_head: bool,
}

impl<'a> Source<'a> {
    /// The file that `config` names, if any.
    ///
    /// # Errors
    /// Settings of the file without one.
    pub fn of(config: &'a Config) -> Result<Option<Self>> {
        let fresh_head = config.head_is_fresh()?;
        let sha256 = config.init_sha256.as_deref();
        let Some(path) = config.init_from.as_deref() else {
            let keys = [("init_head", fresh_head), ("init_sha256", sha256.is_some())];
            if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
                bail!(
                    "{key}: there is no file to start from, give it by init_from (--init from:FILE)"
                )
            }
            return Ok(None);
        };
        Ok(Some(Self {
            path,
            sha256,
            fresh_head,
        }))
    }
}

/// The bytes of the file `path` of `init_from`.
///
/// # Errors
/// It cannot be read, or is something else, which is said: a run's folder, a packed network, ..
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    match Given::at(path) {
        Given::Run => bail!(
            "init_from: {shown}: a run's folder, no file of weights; its last checkpoint is {}",
            path.join("last.safetensors").display()
        ),
        Given::Packed => bail!(
            "init_from: {shown}: a packed network, whose weights are frozen: the checkpoint that \
             it was made of starts another run"
        ),
        given @ (Given::Folder | Given::Experiment) => {
            bail!("init_from: {shown}: {}, no file of weights", given.words())
        }
        _ => {}
    }
    let bytes = read_regular(path, checkpoint::MAX_BYTES);
    bytes.with_context(|| format!("init_from: reading {shown}"))
}
