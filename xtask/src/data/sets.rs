//! The data sets that can be fetched: their files, sources and checksums.

/// A data set with public files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DataSet {
    /// MNIST: 70,000 handwritten digits, 11 MB
    Mnist,
    /// CIFAR-10, binary version: 60,000 photographs of ten classes, 162 MB
    Cifar10,
}

impl DataSet {
    /// Every data set.
    pub(crate) const ALL: [Self; 2] = [Self::Mnist, Self::Cifar10];

    /// The name as configurations and the command line write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Cifar10 => "cifar10",
        }
    }

    /// Its folder in the data folder.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Cifar10 => "cifar-10-batches-bin",
        }
    }
}

/// One of the four files of MNIST.
pub(crate) struct IdxFile {
    /// Name without `.gz`.
    pub(crate) name: &'static str,
    /// MD5 of the official `.gz`.
    pub(crate) packed: &'static str,
    /// MD5 of what it holds, whatever packed it.
    pub(crate) unpacked: &'static str,
}

pub(crate) const MNIST: [IdxFile; 4] = [
    IdxFile {
        name: "train-images-idx3-ubyte",
        packed: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        unpacked: "6bbc9ace898e44ae57da46a324031adb",
    },
    IdxFile {
        name: "train-labels-idx1-ubyte",
        packed: "d53e105ee54ea40749a09fcbcd1e9432",
        unpacked: "a25bea736e30d166cdddb491f175f624",
    },
    IdxFile {
        name: "t10k-images-idx3-ubyte",
        packed: "9fb629c4189551a2d022fa330f9573f3",
        unpacked: "2646ac647ad5339dbf082846283269ea",
    },
    IdxFile {
        name: "t10k-labels-idx1-ubyte",
        packed: "ec29112dd5afa0611ce80d1b7f02629c",
        unpacked: "27ae3e4e09519cfbb04c329615203637",
    },
];

pub(super) const MNIST_SOURCES: &[&str] = &[
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
];

pub(super) const CIFAR10_ARCHIVE: &str = "cifar-10-binary.tar.gz";
pub(super) const CIFAR10_MD5: &str = "c32a1d4ab5d03f1284b67883e8d87530";
pub(super) const CIFAR10_SOURCES: &[&str] = &["https://www.cs.toronto.edu/~kriz"];

/// The six files of CIFAR-10 that hold images.
pub(crate) const CIFAR10: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// What is written beside the files of CIFAR-10 when the official archive is unpacked:
/// the MD5 and the name of each, as `md5sum` writes them.
pub(crate) const CHECKSUMS: &str = "MD5SUMS";
