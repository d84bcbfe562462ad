//! Packed networks in a browser: what the page and the tests ask of the runtime, as JSON.
//!
//! [`session`] holds the networks and answers, [`operations`] counts what an image costs, and
//! `exports` hands both to JavaScript. The same code natively is the twin that the module is
//! compared with: `cargo run --release -- NETWORK IMAGES`.
//!
//! ```
//! let mut session = s3_browser::session::Session::default();
//! let refused = session.load(b"GIF89a").unwrap_err();
//! assert_eq!(refused, "packed network: no safetensors file");
//! ```
#![deny(unsafe_code)]

#[cfg(target_family = "wasm")]
pub mod exports;
pub mod json;
pub mod operations;
pub mod session;
