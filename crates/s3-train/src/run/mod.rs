//! Training runs: the loop, what it holds, and the folder that it writes.
//!
//! ```text
//! config, data --> Session: network, optimizer, position --step, epoch--> lines, checkpoints
//!                     ^ checkpoint, or init_from                          in the run's folder
//! ```
//!
//! [`train::train`] runs an experiment from its start or from its last checkpoint ([`checkpoint`]),
//! alone or with other processes ([`ranks`]), and tells an [`observe::Observer`].

mod accumulate;
mod batches;
pub mod checkpoint;
pub mod device;
pub mod dynamics;
pub mod eval;
mod folder;
pub mod loss;
pub mod memory;
pub mod network;
pub mod observe;
pub mod optim;
pub(crate) mod parameters;
pub mod pretrained;
pub mod ranks;
mod resume;
pub mod schedule;
mod session;
mod sitting;
pub mod status;
mod step;
pub mod summary;
pub mod train;
pub mod warnings;

pub(crate) use folder::data_record;
pub use folder::{RunFolder, check_output, pinned};
pub(crate) use session::hold_out;
pub use sitting::Sitting;
