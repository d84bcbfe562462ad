//! What can be wrong with a network, its file or its input.

use std::format;
use std::path::PathBuf;
use std::string::{String, ToString};
use std::{fmt, io};

/// Why a network was refused.
///
/// ```
/// use s3_kernels::model::{Error, Model};
///
/// let error = Model::from_bytes(b"GGUF").unwrap_err();
/// assert!(matches!(error, Error::File { .. }));
/// assert_eq!(error.to_string(), "packed network: no safetensors file");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no packed network.
    File {
        /// What is wrong with them.
        what: String,
    },
    /// A field outside the nodes is wrong.
    Network {
        /// What is wrong with it.
        what: String,
    },
    /// A node is wrong.
    Node {
        /// The node's name.
        node: String,
        /// What is wrong with it.
        what: String,
    },
    /// The kernel of a node refused its shapes or weights.
    Kernel {
        /// The node's name.
        node: String,
        /// Why.
        source: crate::Error,
    },
    /// The input is not of the network's size.
    Input {
        /// Numbers that the batch has.
        expected: usize,
        /// Numbers passed.
        got: usize,
    },
}

impl Error {
    pub(crate) fn file(what: impl fmt::Display) -> Error {
        let what = one_line(what);
        Error::File { what }
    }

    pub(crate) fn network(what: impl fmt::Display) -> Error {
        let what = one_line(what);
        Error::Network { what }
    }

    pub(crate) fn node(node: &str, what: impl fmt::Display) -> Error {
        let (node, what) = (one_line(node), one_line(what));
        Error::Node { node, what }
    }

    pub(crate) fn kernel(node: &str, source: crate::Error) -> Error {
        let node = one_line(node);
        Error::Kernel { node, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::File { what } => write!(f, "packed network: {what}"),
            Error::Network { what } => write!(f, "network: {what}"),
            Error::Node { node, what } => write!(f, "node `{node}`: {what}"),
            Error::Kernel { node, source } => write!(f, "node `{node}`: {source}"),
            Error::Input { expected, got } => {
                write!(f, "input: expected {expected} numbers, got {got}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their own words are part of the message already.
            Error::Io { source, .. } => source.source(),
            Error::Kernel { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// Characters of a message that are kept at its front and at its end, where it is longer than both.
const KEPT: [usize; 2] = [400, 100];

/// `text` with its control characters escaped, and without its middle where it is long: what a file
/// holds must neither break a message's line nor fill the terminal.
fn one_line(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let [front, end] = KEPT;
    let long = text.chars().count().saturating_sub(front + end);
    let mut line = String::new();
    for (at, c) in text.chars().enumerate() {
        match (long > 0 && at == front, c.is_control()) {
            (true, _) => line.push_str(&format!(" .. ({long} characters left out) .. ")),
            _ if long > 0 && (front..front + long).contains(&at) => {}
            (_, true) => line.extend(c.escape_default()),
            (_, false) => line.push(c),
        }
    }
    line
}

/// `Ok` where `got == expected`, else what to say about `what`.
pub(crate) fn expect<T: PartialEq + fmt::Debug>(
    what: &str,
    expected: T,
    got: T,
) -> Result<(), String> {
    if expected == got {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, got {got:?}"))
    }
}

/// `Ok` where `fine`, else what to say about `what`.
pub(crate) fn require(
    fine: bool,
    what: &str,
    expected: &str,
    got: impl fmt::Debug,
) -> Result<(), String> {
    if fine {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected}, got {got:?}"))
    }
}
