//! Why a network has no form in a format.

use std::fmt;

/// Why an export was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The network as a whole has no form in this format, or is not a network that runs.
    Network {
        /// What is wrong, and what would be accepted.
        what: String,
    },
    /// A layer has none.
    Layer {
        /// Its name.
        layer: String,
        /// What is wrong, and what would be accepted.
        what: String,
    },
}

impl Error {
    pub(super) fn network(what: impl fmt::Display) -> Error {
        let what = what.to_string();
        Error::Network { what }
    }

    pub(super) fn layer(layer: &str, what: impl fmt::Display) -> Error {
        let (layer, what) = (layer.to_owned(), what.to_string());
        Error::Layer { layer, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Network { what } => write!(f, "network: {what}"),
            Error::Layer { layer, what } => write!(f, "layer `{layer}`: {what}"),
        }
    }
}

impl std::error::Error for Error {}
