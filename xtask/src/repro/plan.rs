//! What a page needs: its rows, epochs and seeds, and what is written from the records of these.

use s3_metrics::spec::Spec;

use super::record::Record;

/// The run that a row starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The row of the page, of the same seed.
    pub(super) row: &'static str,
    /// Whether its epochs are taken from the row's, two of five, so that both together are as many
    /// as those of other rows; else it has as many as the row, on top.
    pub(super) within: bool,
}

impl Start {
    /// From a run of as many epochs, which come on top.
    pub(super) const fn before(row: &'static str) -> Self {
        Self { row, within: false }
    }

    /// From a run of two of five epochs, which are taken from the row's.
    pub(super) const fn within(row: &'static str) -> Self {
        Self { row, within: true }
    }
}

/// A training, but for its epochs and its seed.
pub(super) struct Row {
    /// In the page, in the records and after `--only`.
    pub(super) name: &'static str,
    /// `xtask/experiments/cifar10/resnet20-RECIPE.toml`; with a folder in it
    /// `xtask/experiments/RECIPE.toml`.
    pub(super) recipe: &'static str,
    /// What is set beside it, as after `--set`.
    pub(super) settings: &'static [&'static str],
    /// What the paper has for it; empty where it has nothing.
    pub(super) paper: &'static str,
    /// A public figure for this network, and where it stands.
    pub(super) published: &'static str,
    /// What it starts from, where that is not at random.
    pub(super) start: Option<Start>,
    /// Whether its layers do more than multiply, which trains in f32 only.
    pub(super) only_f32: bool,
    /// Whether only the full budget has it.
    pub(super) only_full: bool,
    /// Test images on which every file that it can become is measured; 0 where none is.
    pub(super) files_on: u32,
}

impl Row {
    /// The recipe of this name as it is.
    pub(super) const fn of(name: &'static str) -> Self {
        Self {
            name,
            recipe: name,
            settings: &[],
            paper: "",
            published: "",
            start: None,
            only_f32: false,
            only_full: false,
            files_on: 0,
        }
    }

    /// Under a name of its own, with settings.
    pub(super) const fn with(
        name: &'static str,
        recipe: &'static str,
        settings: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            settings,
            ..Self::of(recipe)
        }
    }

    /// The experiment's name in a record.
    pub(super) fn experiment(&self) -> String {
        match self.recipe.contains('/') {
            true => self.recipe.to_owned(),
            false => format!("cifar10/resnet20-{}", self.recipe),
        }
    }
}

/// A page in Markdown, and the plots that it shows.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) plots: Vec<Spec>,
}

/// A page: its rows and how it is written.
pub(super) struct Plan {
    /// Of the files in docs/results.
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
    /// At the small and at the full budget; each has its section.
    pub(super) epochs: [&'static [u32]; 2],
    /// Seeds 1 to N of every row, unless said.
    pub(super) seeds: u32,
    /// What a record keeps of each layer's snapshots, by their keys in `s3 compare --json
    /// --dynamics`.
    pub(super) layers: &'static [&'static str],
    pub(super) page: fn(&Plan, &[Record]) -> Page,
}

/// A row with its epochs and its seed.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) row: &'a Row,
    /// With those of the start, where the row counts them.
    pub(super) epochs: u32,
    pub(super) seed: u32,
}

impl Job<'_> {
    pub(super) fn is(&self, record: &Record) -> bool {
        record.row == self.row.name
            && record.seed == u64::from(self.seed)
            && record.total_epochs() == u64::from(self.epochs)
    }

    /// Epochs of the run that it starts from.
    pub(super) fn start_epochs(&self) -> u32 {
        match self.row.start {
            Some(start) if start.within => (2 * self.epochs / 5).max(1),
            Some(_) => self.epochs,
            None => 0,
        }
    }

    /// Epochs of its own run.
    pub(super) fn own_epochs(&self) -> u32 {
        match self.row.start {
            Some(start) if start.within => self.epochs.saturating_sub(self.start_epochs()).max(1),
            _ => self.epochs,
        }
    }
}
