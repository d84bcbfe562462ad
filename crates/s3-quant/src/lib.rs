//! Every training method of this project behind one registration list.
//!
//! A method is one file with a serde struct that implements
//! [`MethodConfig`](s3_core::MethodConfig), and one line in [`METHODS`]: the configuration files,
//! the command line, the loop, the tables and the contract tests then know it.
//!
//! ```
//! let table = toml::toml! { name = "s3"  bits = 3 };
//! let built = s3_quant::build(&table)?;
//! assert_eq!(built.resolved["init"].as_str(), Some("low_variance"));
//! assert!(s3_quant::METHODS.iter().any(|m| m.name == "twn"));
//! # Ok::<(), s3_quant::Error>(())
//! ```
#![forbid(unsafe_code)]

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod activation;
mod apot;
mod binary_connect;
mod bwhn;
mod bwn;
mod by_role;
mod deepshift_ps;
mod deepshift_q;
mod denseshift;
mod entry;
mod filters;
mod fp32;
mod hwgq;
mod inq;
mod irnet;
mod lqnet;
mod lrnet;
mod power;
mod registry;
mod shiftcnn;
mod sq;
mod stages;
mod staircase;
mod ttq;
mod twn;

pub use apot::Apot;
pub use binary_connect::BinaryConnect;
pub use bwhn::Bwhn;
pub use bwn::Bwn;
pub use by_role::ByRole;
pub use deepshift_ps::{DeepShiftPs, Start};
pub use deepshift_q::{DeepShiftQ, Range};
pub use denseshift::DenseShift;
pub use entry::{Built, Entry, entry};
pub use fp32::Fp32;
pub use hwgq::Hwgq;
pub use inq::Inq;
pub use irnet::IrNet;
pub use lqnet::LqNet;
pub use lrnet::LrNet;
pub use registry::{Error, build, build_in, find, find_in};
pub use shiftcnn::ShiftCnn;
pub use sq::Sq;
pub use staircase::{Slope, Staircase};
pub use ttq::Ttq;
pub use twn::{Granularity, Twn};

/// The registration list.
pub const METHODS: &[Entry] = &[
    entry::<Fp32>(),
    entry::<s3_core::s3::S3>(),
    entry::<Staircase>(),
    entry::<DenseShift>(),
    entry::<DeepShiftQ>(),
    entry::<DeepShiftPs>(),
    entry::<Inq>(),
    entry::<Twn>(),
    entry::<Ttq>(),
    entry::<Sq>(),
    entry::<LrNet>(),
    entry::<Bwn>(),
    entry::<BinaryConnect>(),
    entry::<Hwgq>(),
    entry::<Bwhn>(),
    entry::<IrNet>(),
    entry::<LqNet>(),
    entry::<Apot>(),
    entry::<ShiftCnn>(),
];
