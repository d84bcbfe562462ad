//! The data sets that can be fetched.

use crate::data::{DataName, cifar};

/// A data set with public files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in super::super) enum DataSet {
    /// MNIST: 70,000 handwritten digits, 11 MB
    Mnist,
    /// CIFAR-10, binary version: 60,000 photographs of ten classes, 162 MB
    Cifar10,
}

impl DataSet {
    /// As configurations and the command line write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mnist => DataName::Mnist.as_str(),
            Self::Cifar10 => DataName::Cifar10.as_str(),
        }
    }

    /// Its folder in the data folder.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Cifar10 => cifar::FOLDER,
        }
    }
}
