//! Training low-bit shift networks: data sets, optimizers, schedules, the loop and exact
//! checkpoints; and the `s3` command on top of them.
//!
//! An experiment is a TOML file ([`config`]). [`train::train`] runs it on a data set ([`data`])
//! into a run folder ([`run`]) and can go on from the folder's last checkpoint ([`checkpoint`])
//! such that the finished files are the bytes of a run that was never interrupted. Finished runs
//! are read as networks ([`trained`]) and shown as pages and tables ([`report`]).
#![forbid(unsafe_code)]

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[macro_use]
mod terminal;

pub mod app;
mod cli;
pub mod config;
pub mod data;
mod digest;
pub mod files;
pub mod given;
pub mod keys;
mod lists;
pub mod lock;
pub mod report;
pub mod run;
pub mod trained;

pub use report::{finished, groups, logs};
pub use run::{
    checkpoint, device, dynamics, eval, loss, memory, network, observe, optim, pretrained, ranks,
    schedule, status, summary, train, warnings,
};
pub use trained::{input, packed};
