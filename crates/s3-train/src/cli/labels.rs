//! A network beside labels that may mean something else.

use crate::data::Splits;
use crate::terminal::note;
use crate::trained::Trained;
use anyhow::Result;
use clap::Args;
use std::path::Path;

/// Which labels a network is evaluated on.
#[derive(Args)]
pub(super) struct Labels {
    /// Evaluates on data whose class names are others than the network's: its class i is their
    /// class i.
    #[arg(long)]
    pub(super) other_classes: bool,
}

/// The data of a trained network to evaluate it on; says where that is not what it was trained on.
pub(super) fn to_evaluate(
    trained: &Trained,
    data_dir: Option<&Path>,
    labels: &Labels,
) -> Result<Splits> {
    let at_hand = trained.to_evaluate(data_dir, labels.other_classes)?;
    note(trained.warnings().into_iter().chain(at_hand.differs));
    note(at_hand.splits.test.found());
    Ok(at_hand.splits)
}
