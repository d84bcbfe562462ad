//! Ranks that are threads of one process: what tests and examples share a run between.

use super::Ranks;
use anyhow::{Context, Result, bail};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// One of several threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    links: Vec<Link>,
}

/// To and from one rank.
type Link = (Sender<Vec<u8>>, Mutex<Receiver<Vec<u8>>>);

impl Threads {
    /// `size` ranks, one for each thread.
    ///
    /// ```
    /// use s3_train::ranks::{Ranks, Threads, collective};
    /// let ranks = Threads::new(2);
    /// let sum = |r: &Threads| {
    ///     let mut values = [r.rank() as f32 + 1.0, 10.0];
    ///     collective::sum(r, &mut values).map(|()| values)
    /// };
    /// std::thread::scope(|s| {
    ///     let other = s.spawn(|| sum(&ranks[1]));
    ///     assert_eq!(sum(&ranks[0])?, [3.0, 20.0]);
    ///     assert_eq!(other.join().expect("no panic")?, [3.0, 20.0]);
    ///     Ok::<(), anyhow::Error>(())
    /// })?;
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn new(size: usize) -> Vec<Self> {
        let mut to: Vec<Vec<Sender<Vec<u8>>>> = vec![Vec::new(); size];
        let mut from: Vec<Vec<Mutex<Receiver<Vec<u8>>>>> = (0..size).map(|_| Vec::new()).collect();
        for senders in &mut to {
            for receivers in &mut from {
                let (sender, receiver) = channel();
                senders.push(sender);
                receivers.push(Mutex::new(receiver));
            }
        }
        let links = to.into_iter().zip(from);
        let links = links.map(|(to, from)| to.into_iter().zip(from).collect());
        let rank = |(rank, links)| Self { rank, links };
        links.enumerate().map(rank).collect()
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.links.len()
    }

    fn exchange(&self, peer: usize, send: &[u8], receive: &mut [u8]) -> Result<()> {
        let (to, from) = self
            .links
            .get(peer)
            .with_context(|| format!("there is no rank {peer}"))?;
        let gone = || format!("rank {peer} is gone");
        to.send(send.to_vec()).with_context(gone)?;
        let from = from.lock().unwrap_or_else(PoisonError::into_inner);
        let got = from.recv().with_context(gone)?;
        if got.len() != receive.len() {
            bail!(
                "{} bytes from rank {peer}, expected {}",
                got.len(),
                receive.len()
            )
        }
        receive.copy_from_slice(&got);
        Ok(())
    }

    /// A thread that ends drops its links, which ends those that wait for it.
    fn abort(&self) {}
}
