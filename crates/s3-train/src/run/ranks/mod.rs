//! The processes that share the steps of one run.
//!
//! ```text
//! batch of a step = micro-batch 0 | 1 | .. | M-1        config: micro_batches, changes the result
//! rank r of R     = micro-batches r·M/R .. (r+1)·M/R    how it is started, changes no result
//! gradient        = ((g0 + g1) + (g2 + g3)) + ..        one binary tree over the M micro-batches
//! ```
//!
//! A rank adds up its own subtree ([`collective::TreeSum`]), the ranks add up the rest of the same
//! tree ([`collective::sum`]): M micro-batches give the same bytes on 1, 2, .. M ranks. What they
//! need of one another is [`Ranks::exchange`], which MPI offers (feature `mpi`), and threads of one
//! process.

pub mod collective;
#[cfg(feature = "mpi")]
mod mpi;
mod start;
mod threads;

pub use crate::data::MicroBatches;
pub use start::start;
pub use threads::Threads;

use anyhow::{Result, bail};

/// One of the processes of a run, as it sees the others.
pub trait Ranks: Send + Sync + std::fmt::Debug {
    /// Its number, `0..size`; rank 0 writes the files and speaks to the user.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Gives `send` to rank `peer` and takes what it gives: as many bytes as `receive` has. Returns
    /// once the peer has called too, also where there are no bytes.
    ///
    /// # Errors
    /// The peer is gone, or gave another number of bytes.
    fn exchange(&self, peer: usize, send: &[u8], receive: &mut [u8]) -> Result<()>;

    /// Ends all ranks at once, after an error on this one.
    fn abort(&self);
}

/// A process without others.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, peer: usize, _: &[u8], _: &mut [u8]) -> Result<()> {
        bail!("there is no rank {peer}: this process is alone")
    }

    fn abort(&self) {}
}
