//! The error of the list: why there is no such network.

use std::fmt;
use std::string::String;
use std::vec::Vec;

use crate::model;

/// Why there is no such network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The name is not in the list.
    Unknown {
        /// The name given.
        name: String,
        /// Those of the list.
        expected: Vec<&'static str>,
    },
    /// A key is unknown, missing, of the wrong type or out of range.
    Setting {
        /// What is wrong, naming the key.
        message: String,
    },
    /// The nodes do not fit together on this image.
    Graph(model::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown { name, expected } => {
                let expected = expected.join(", ");
                write!(f, "unknown network `{name}`, expected one of {expected}")
            }
            Error::Setting { message } => f.write_str(message),
            Error::Graph(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<model::Error> for Error {
    fn from(error: model::Error) -> Self {
        Error::Graph(error)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::Setting { message }
    }
}
