//! Why a network has no form in a format.

use std::fmt;

use s3_kernels::model;

/// Why an export was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The network does not run either.
    Invalid(model::Error),
    /// The network as a whole has no form in this format.
    Network {
        /// Why, and what would be accepted.
        what: String,
    },
    /// A node has none.
    Node {
        /// Its name.
        node: String,
        /// Why, and what would be accepted.
        what: String,
    },
}

impl Error {
    pub(super) fn network(what: impl fmt::Display) -> Error {
        let what = what.to_string();
        Error::Network { what }
    }

    pub(super) fn node(node: &str, what: impl fmt::Display) -> Error {
        let (node, what) = (node.to_owned(), what.to_string());
        Error::Node { node, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(error) => error.fmt(f),
            Error::Network { what } => write!(f, "network: {what}"),
            Error::Node { node, what } => write!(f, "node `{node}`: {what}"),
        }
    }
}

impl std::error::Error for Error {}
