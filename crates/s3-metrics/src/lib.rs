//! Weight dynamics (WSVR, WLVR), accuracy, cost counts and run records: functions of plain slices.
//!
//! This crate measures. It holds no tensor, no layer and no training loop, does not print, and
//! does not link the tensor library, so that a reader of a run folder builds it in seconds.
//!
//! | module | question it answers |
//! | --- | --- |
//! | [`dynamics`] | how do the weights of a layer move between two snapshots (paper, section 5.2)? |
//! | [`density`] | how are the weights of a layer spread (Figure 2)? |
//! | [`gradient`] | how much gradient reaches a layer, and how much of it is zero (section 3.1)? |
//! | [`accuracy`] | how many of these logits name their label? |
//! | [`budget`] | what does a training take: hours, days, euros? |
//! | [`confusion`] | which class is taken for which? |
//! | [`cost`] | what does one inference of this network cost in operations and in bytes? |
//! | `plot` (feature `plot`) | how does a run look: curves, densities, levels, filters, errors? |
//! | [`finished`] | what does a table of results say of a finished run? |
//! | [`paired`] | what do seeds say of two configurations: differences, intervals, words? |
//! | [`spec`] | what does a plot show, for whoever draws it elsewhere? |
//! | [`record`] | what is a line of `epochs.jsonl`, `dynamics.jsonl`, `timing.jsonl`? |
//! | [`tensorboard`] | how does TensorBoard read a run? |
//!
//! Weight snapshots are slices of `f32` in any fixed order; a layer is one slice.
//!
//! ```
//! use s3_metrics::{dynamics, record::DynamicsRecord};
//!
//! let (epoch0, epoch10) = ([1.0, -1.0, 0.0, 2.0], [-1.0, -1.0, 1.0, 4.0]);
//! assert_eq!(dynamics::sign_variation_rate(&epoch0, &epoch10), 0.25);
//! assert_eq!(dynamics::zero_rate(&epoch0), 0.25);
//!
//! let record = DynamicsRecord::of_snapshot(10, "conv1", "hidden", Some(&epoch0), &epoch10);
//! assert_eq!(record.wsvr, Some(0.25));
//! assert_eq!(record.levels, vec![(-1.0, 2), (1.0, 1), (4.0, 1)]);
//! ```
#![forbid(unsafe_code)]

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod accuracy;
pub mod budget;
pub mod confusion;
pub mod cost;
pub mod density;
pub mod dynamics;
mod exact;
pub mod finished;
pub mod gradient;
pub mod paired;
#[cfg(feature = "plot")]
pub mod plot;
pub mod record;
pub mod spec;
pub mod tensorboard;
