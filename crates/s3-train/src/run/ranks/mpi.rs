//! Ranks that an MPI launcher started.

use super::Ranks;
use anyhow::{Context, Result, bail};
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Equivalence};
use mpi::{Rank, Threading};
use std::sync::{Mutex, PoisonError};

/// All processes of `mpirun`. MPI ends with this value; an error of MPI's own ends the process.
pub(super) struct Mpi {
    rank: usize,
    size: usize,
    /// MPI is started for calls from any thread, one after the other: whoever calls holds this.
    universe: Mutex<Universe>,
}

impl Mpi {
    /// # Errors
    /// MPI is up already, takes calls of one thread only, or was not told of all `launched` ranks.
    pub(super) fn start(launched: usize) -> Result<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .context("MPI was started before")?;
        if threading < Threading::Serialized {
            bail!("this MPI takes calls of the main thread only")
        }
        let world = universe.world();
        let size = usize::try_from(world.size())?;
        if size != launched {
            bail!(
                "started on {launched} ranks, of which this program's MPI sees {size}: use the \
                 launcher of the MPI that it was built with"
            )
        }
        Ok(Self {
            rank: usize::try_from(world.rank())?,
            size,
            universe: Mutex::new(universe),
        })
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, peer: usize, send: &[u8], receive: &mut [u8]) -> Result<()> {
        let universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        let world = universe.world();
        let peer = world.process_at_rank(Rank::try_from(peer)?);
        // MPI counts in 31 bits.
        const MOST: usize = 1 << 30;
        let (mut send, mut receive) = (send.chunks(MOST), receive.chunks_mut(MOST));
        // Nothing to say is a message too: both wait for it.
        let (mut give, mut take) = (send.next(), receive.next());
        loop {
            let into = take.unwrap_or_default();
            let status = send_receive_into(give.unwrap_or_default(), &peer, into, &peer);
            let got = status.count(u8::equivalent_datatype());
            if usize::try_from(got)? != into.len() {
                bail!(
                    "MPI: {got} bytes from another rank, expected {}",
                    into.len()
                )
            }
            (give, take) = (send.next(), receive.next());
            if give.is_none() && take.is_none() {
                return Ok(());
            }
        }
    }

    fn abort(&self) {
        SimpleCommunicator::world().abort(1)
    }
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {} by MPI", self.rank, self.size)
    }
}
