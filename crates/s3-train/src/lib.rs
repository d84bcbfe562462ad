//! Training low-bit shift networks: data sets, optimizers, schedules, the loop and exact
//! checkpoints; and the `s3` command on top of them.
//!
//! An experiment is a TOML file ([`config`]). [`train::train`] runs it into a run folder ([`run`])
//! and can go on from the folder's last checkpoint ([`checkpoint`]) such that the finished files are
//! the bytes of a run that was never interrupted.
#![forbid(unsafe_code)]

mod batches;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod dynamics;
pub mod eval;
pub mod files;
pub mod finished;
pub mod given;
pub mod groups;
pub mod keys;
pub mod lock;
pub mod logs;
pub mod loss;
pub mod network;
pub mod observe;
pub mod optim;
pub mod packed;
pub mod picture;
pub mod pretrained;
pub mod ranks;
pub mod report;
pub mod run;
pub mod schedule;
mod session;
pub mod summary;
mod together;
pub mod train;
pub mod trained;
