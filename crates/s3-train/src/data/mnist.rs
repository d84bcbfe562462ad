//! MNIST from its four official IDX files, gzipped or not.
//!
//! | file | content |
//! | --- | --- |
//! | `train-images-idx3-ubyte[.gz]`, `t10k-images-idx3-ubyte[.gz]` | magic `0x803`, count, rows, columns; a byte a pixel |
//! | `train-labels-idx1-ubyte[.gz]`, `t10k-labels-idx1-ubyte[.gz]` | magic `0x801`, count; a byte a label |
//!
//! Names with a point for the middle hyphen, `train-images.idx3-ubyte[.gz]`, are read as well.
//!
//! The numbers of a header are big-endian `u32`. Images stay 28x28x1. The counts are those of the
//! headers, so that drop-in replacements of MNIST (Fashion-MNIST, KMNIST) load as well, under the
//! digits' class names.
//!
//! ```no_run
//! let (train, test) = s3_train::data::mnist::load("data".as_ref())?;
//! assert_eq!((train.len(), test.len()), (60_000, 10_000));
//! # Ok::<(), s3_train::data::DataError>(())
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Images, channel_statistics};
use super::error::{DataError, Problem};
use super::read::{self, Failure};

/// Rows, and columns, of an image.
const SIDE: usize = 28;

/// The ten digits.
const CLASSES: usize = 10;

/// More images than any data set in this format holds: a larger count is a damaged header.
const MAX_IMAGES: usize = 1_000_000;

const IMAGE_MAGIC: u32 = 0x803;
const LABEL_MAGIC: u32 = 0x801;

/// One of the four files of MNIST.
#[derive(Debug)]
pub struct File {
    /// Name without `.gz`.
    pub name: &'static str,
    /// MD5 of the official `.gz`.
    pub packed: &'static str,
    /// MD5 of what it holds, whatever packed it.
    pub unpacked: &'static str,
}

/// The files, those of the training split first, images before labels.
pub const FILES: [File; 4] = [
    File {
        name: "train-images-idx3-ubyte",
        packed: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        unpacked: "6bbc9ace898e44ae57da46a324031adb",
    },
    File {
        name: "train-labels-idx1-ubyte",
        packed: "d53e105ee54ea40749a09fcbcd1e9432",
        unpacked: "a25bea736e30d166cdddb491f175f624",
    },
    File {
        name: "t10k-images-idx3-ubyte",
        packed: "9fb629c4189551a2d022fa330f9573f3",
        unpacked: "2646ac647ad5339dbf082846283269ea",
    },
    File {
        name: "t10k-labels-idx1-ubyte",
        packed: "ec29112dd5afa0611ce80d1b7f02629c",
        unpacked: "27ae3e4e09519cfbb04c329615203637",
    },
];

/// Where the `.gz` are.
pub const SOURCES: &[&str] = &[
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
];

/// Reads the training and the test split from `data_dir/mnist`, from `data_dir`, or from
/// `data_dir/MNIST/raw`, where torchvision puts them.
///
/// Memory grows with the bytes that are there, to twice what 1,000,000 images take (784 MB).
///
/// # Errors
///
/// [`DataError`] naming the file that is missing, unreadable or damaged.
pub fn load(data_dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    let mut train = split(data_dir, 0, "mnist/train")?;
    let mut test = split(data_dir, 2, "mnist/test")?;
    (train.mean, train.std) = channel_statistics(train.images.bytes(), 1);
    (test.mean, test.std) = (train.mean.clone(), train.std.clone());
    Ok((train, test))
}

/// The split of the files from `first` on, its statistics still missing.
fn split(data_dir: &Path, first: usize, name: &str) -> Result<Dataset, DataError> {
    let image_file = find(data_dir, FILES[first].name)?;
    let label_file = find(data_dir, FILES[first + 1].name)?;
    let images = parse(&image_file, read_images)?;
    let labels = parse(&label_file, read_labels)?;
    let (image_count, label_count) = (images.len() / (SIDE * SIDE), labels.len());
    if image_count != label_count {
        let (images, labels) = (image_count, label_count);
        return Err(DataError::Unpaired {
            image_file,
            images,
            label_file,
            labels,
        });
    }
    Ok(Dataset {
        name: name.to_owned(),
        height: SIDE,
        width: SIDE,
        channels: 1,
        images: Images::Bytes(images),
        labels: labels.into_iter().map(u16::from).collect(),
        class_names: (0..CLASSES).map(|digit| digit.to_string()).collect(),
        mean: Vec::new(),
        std: Vec::new(),
    })
}

fn find(data_dir: &Path, file: &str) -> Result<PathBuf, DataError> {
    let folders = [
        data_dir.join("mnist"),
        data_dir.to_owned(),
        data_dir.join("MNIST/raw"),
    ];
    let names = [file.to_owned(), file.replace("-idx", ".idx")];
    let names = names
        .map(|name| [name.clone(), format!("{name}.gz")])
        .concat();
    let mut files = folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)));
    files
        .find(|path| path.is_file())
        .ok_or_else(|| DataError::missing("mnist", format!("{file}[.gz]"), &folders[..2]))
}

type Parser = fn(&mut dyn Read) -> Result<Vec<u8>, Failure>;

fn parse(path: &Path, parser: Parser) -> Result<Vec<u8>, DataError> {
    let mut reader = read::open(path).map_err(|source| DataError::io(path, source))?;
    parser(&mut reader).map_err(|failure| failure.at(path))
}

/// The pixels of an IDX file of images, `[count, SIDE, SIDE]`.
fn read_images(mut reader: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    let [count, height, width] = header(reader, IMAGE_MAGIC)?;
    if (height, width) != (SIDE, SIDE) {
        let (got_height, got_width) = (height, width);
        return Err(Problem::BadSize {
            height: SIDE,
            width: SIDE,
            got_height,
            got_width,
        }
        .into());
    }
    read::rest(&mut reader, 16, check_count(count)? * SIDE * SIDE)
}

/// The labels of an IDX file of labels, `[count]`.
fn read_labels(mut reader: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    let [count] = header(reader, LABEL_MAGIC)?;
    let labels = read::rest(&mut reader, 8, check_count(count)?)?;
    read::check_labels(&labels, CLASSES)?;
    Ok(labels)
}

/// The sizes that follow the magic number.
fn header<const N: usize>(mut reader: &mut dyn Read, magic: u32) -> Result<[usize; N], Failure> {
    let bytes = read::header(&mut reader, 4 + 4 * N)?;
    let number =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if number(0) != magic {
        return Err(Problem::BadMagic {
            expected: magic,
            got: number(0),
        }
        .into());
    }
    Ok(std::array::from_fn(|i| number(4 + 4 * i) as usize))
}

fn check_count(got: usize) -> Result<usize, Problem> {
    let good = (1..=MAX_IMAGES).contains(&got);
    if good {
        Ok(got)
    } else {
        Err(Problem::BadCount {
            limit: MAX_IMAGES,
            got,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::read::testing::{gzip, real_data};
    use super::*;

    fn idx(header: &[u32], body: &[u8]) -> Vec<u8> {
        let header = header.iter().flat_map(|number| number.to_be_bytes());
        header.chain(body.iter().copied()).collect()
    }

    fn images(count: usize) -> Vec<u8> {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i % 251) as u8).collect();
        idx(&[0x803, count as u32, 28, 28], &pixels)
    }

    fn labels(labels: &[u8]) -> Vec<u8> {
        idx(&[0x801, labels.len() as u32], labels)
    }

    fn image_problem(bytes: &[u8]) -> Problem {
        read_images(&mut &bytes[..]).unwrap_err().problem()
    }

    fn label_problem(bytes: &[u8]) -> Problem {
        read_labels(&mut &bytes[..]).unwrap_err().problem()
    }

    /// A folder with the four files, two of them gzipped, one of each kind in `mnist/`.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mnist")).unwrap();
        let files = [
            ("train-images-idx3-ubyte", images(3)),
            (
                "mnist/train-labels-idx1-ubyte.gz",
                gzip(&labels(&[7, 0, 9])),
            ),
            ("mnist/t10k-images-idx3-ubyte", images(2)),
            ("t10k-labels-idx1-ubyte.gz", gzip(&labels(&[1, 2]))),
        ];
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn both_splits_come_back_as_written() {
        let folder = folder();
        let (train, test) = load(folder.path()).unwrap();
        assert_eq!((train.height, train.width, train.channels), (28, 28, 1));
        assert_eq!((train.labels, test.labels), (vec![7, 0, 9], vec![1, 2]));
        assert_eq!(
            (train.images.bytes(), test.images.bytes()),
            (&images(3)[16..], &images(2)[16..])
        );
        assert_eq!((&train.mean, &train.std), (&test.mean, &test.std));
    }

    #[test]
    fn names_with_a_point_and_torchvisions_folder_are_read() {
        let hyphens = folder();
        let expected = load(hyphens.path()).unwrap();
        for within in ["", "mnist", "MNIST/raw"] {
            let other = tempfile::tempdir().unwrap();
            let within = other.path().join(within);
            fs::create_dir_all(&within).unwrap();
            for from in [hyphens.path().to_owned(), hyphens.path().join("mnist")] {
                for entry in fs::read_dir(from).unwrap().flatten() {
                    let name = entry.file_name().to_string_lossy().replace("-idx", ".idx");
                    if entry.path().is_file() {
                        fs::copy(entry.path(), within.join(name)).unwrap();
                    }
                }
            }
            assert_eq!(load(other.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_file_is_named_with_the_places_searched() {
        let folder = folder();
        fs::remove_file(folder.path().join("mnist/t10k-images-idx3-ubyte")).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        let root = folder.path().display();
        let expected = format!(
            "data set `mnist`: no t10k-images-idx3-ubyte[.gz] in {root}/mnist or {root}; \
             {root}/mnist holds train-labels-idx1-ubyte.gz; `cargo xtask data fetch mnist` fetches \
             it, "
        );
        assert!(message.starts_with(&expected), "{message}");
    }

    #[test]
    fn images_without_labels_are_an_error_naming_both_files() {
        let folder = folder();
        fs::write(
            folder.path().join("t10k-labels-idx1-ubyte.gz"),
            gzip(&labels(&[1, 2, 3])),
        )
        .unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("t10k-images-idx3-ubyte holds 2 images"),
            "{message}"
        );
        assert!(
            message.contains("t10k-labels-idx1-ubyte.gz holds 3 labels"),
            "{message}"
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = folder();
        let path = folder.path().join("mnist/train-labels-idx1-ubyte.gz");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (images, labels) = (images(2), labels(&[1, 2, 3]));
        for len in 0..images.len() {
            let expected = if len < 16 { 16 } else { images.len() };
            assert_eq!(
                image_problem(&images[..len]),
                Problem::Truncated { expected, got: len }
            );
        }
        for len in 0..labels.len() {
            let expected = if len < 8 { 8 } else { labels.len() };
            assert_eq!(
                label_problem(&labels[..len]),
                Problem::Truncated { expected, got: len }
            );
        }
    }

    #[test]
    fn bytes_behind_the_end_are_an_error() {
        let problem = image_problem(&[images(2), vec![0]].concat());
        assert_eq!(
            problem,
            Problem::TrailingBytes {
                expected: 16 + 2 * 784
            }
        );
        let problem = label_problem(&[labels(&[3]), vec![0; 5]].concat());
        assert_eq!(problem, Problem::TrailingBytes { expected: 9 });
    }

    #[test]
    fn headers_that_make_no_sense_are_errors() {
        let expected = Problem::BadMagic {
            expected: 0x803,
            got: 0x801,
        };
        assert_eq!(image_problem(&labels(&[0; 20])), expected);
        let expected = Problem::BadMagic {
            expected: 0x801,
            got: 0x803,
        };
        assert_eq!(label_problem(&images(1)), expected);
        let problem = image_problem(&idx(&[0x803, 1, 28, 32], &[0; 28 * 32]));
        let expected = Problem::BadSize {
            height: 28,
            width: 28,
            got_height: 28,
            got_width: 32,
        };
        assert_eq!(problem, expected);
        for count in [0, u32::MAX] {
            let expected = Problem::BadCount {
                limit: 1_000_000,
                got: count as usize,
            };
            assert_eq!(image_problem(&idx(&[0x803, count, 28, 28], &[])), expected);
            assert_eq!(label_problem(&idx(&[0x801, count], &[])), expected);
        }
    }

    #[test]
    fn labels_beyond_the_digits_are_an_error() {
        let problem = label_problem(&labels(&[9, 0, 10]));
        assert_eq!(
            problem,
            Problem::BadLabel {
                index: 2,
                label: 10,
                classes: 10
            }
        );
    }

    #[test]
    fn the_real_files_hold_the_known_digits() {
        let Some(folder) = real_data("mnist/train-images-idx3-ubyte.gz") else {
            return;
        };
        let (train, test) = load(&folder).unwrap();
        assert_eq!((train.len(), test.len()), (60_000, 10_000));
        assert_eq!(train.labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
        assert_eq!(test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
        let count = |digit| train.labels.iter().filter(|&&label| label == digit).count();
        assert_eq!((count(0), count(1), count(5)), (5923, 6742, 5421));
        assert!((train.mean[0] - 0.1307).abs() < 5e-5 && (train.std[0] - 0.3081).abs() < 5e-5);
    }
}
