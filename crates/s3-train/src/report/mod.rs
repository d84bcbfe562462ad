//! What is shown of runs: a page, the rows of a table, lines for other programs.
//!
//! ```text
//! run folders --read--> Run --page--> HTML (plots are SVG in data URIs; no script, no network)
//!      |--finished--> rows of a table, by their groups of seeds
//!      `--logs--> CSV, TensorBoard
//! ```
//!
//! A page has curves, weight dynamics, layers, answers and settings. What a folder does not hold,
//! because the run is under way, was stopped or is older than a measure, is said where it would
//! stand.

mod answers;
pub mod finished;
pub mod groups;
mod html;
pub mod logs;
mod page;
pub(crate) mod plots;
mod run;
mod settings;

pub(crate) use answers::Bitmap;
pub use answers::{Answers, answers};
pub use html::Drawn;
pub use page::{Page, page};
pub use run::{Run, read};
