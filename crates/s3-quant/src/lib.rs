//! Every training method of this project behind one registration list.
//!
//! A method is one file with a serde struct that implements [`MethodConfig`](s3_core::MethodConfig), and one line in
//! [`METHODS`]: the configuration files, the command line, the loop, the tables and the contract
//! tests then know it.
//!
//! ```
//! let table = toml::toml! { name = "s3"  bits = 3 };
//! let built = s3_quant::build(&table)?;
//! assert_eq!(built.resolved["init"].as_str(), Some("authors"));
//! assert!(s3_quant::METHODS.iter().any(|m| m.name == "twn"));
//! # Ok::<(), s3_quant::Error>(())
//! ```
#![forbid(unsafe_code)]

mod by_role;
mod fp32;
mod registry;
mod twn;

pub use by_role::ByRole;
pub use fp32::Fp32;
pub use registry::{Built, Entry, Error, build, find};
pub use twn::Twn;

use registry::entry;

/// The registration list.
pub const METHODS: &[Entry] = &[
    entry::<Fp32>(), //
    entry::<s3_core::s3::S3>(),
    entry::<Twn>(),
];
