//! Which ranks was this process started with?

#[cfg(feature = "mpi")]
use super::mpi;
use super::{Alone, Ranks};
use anyhow::{Result, bail};
use std::sync::Arc;

/// The ranks that this process was started with: those of `mpirun`, or itself alone.
///
/// # Errors
/// `mpirun` started several processes and the program was built without MPI, or their number is no
/// power of two.
pub fn start() -> Result<Arc<dyn Ranks>> {
    let Some(size) = launched() else {
        return Ok(Arc::new(Alone));
    };
    if !size.is_power_of_two() {
        bail!("{size} ranks: expected a power of two (gradients are added up in a binary tree)")
    }
    #[cfg(feature = "mpi")]
    return Ok(Arc::new(mpi::Mpi::start(size)?));
    #[cfg(not(feature = "mpi"))]
    match size {
        1 => Ok(Arc::new(Alone)),
        _ => bail!("started on {size} ranks, but built without MPI: build with --features mpi"),
    }
}

/// The number of processes that an MPI launcher says it started: Open MPI's variable, or MPICH's.
fn launched() -> Option<usize> {
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok())
}
