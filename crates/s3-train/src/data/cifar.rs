//! CIFAR-10 from its official binary version: the unpacked folder, or the archive as it is.
//!
//! `data_batch_1.bin` .. `data_batch_5.bin` and `test_batch.bin` hold 10,000 records of 3,073
//! bytes each: the label, then 32x32 red, green and blue values, each plane row by row. Images
//! become `[height, width, channel]`; rows stay rows.
//!
//! ```no_run
//! let (train, test) = s3_train::data::cifar::load("data".as_ref())?;
//! assert_eq!((train.len(), test.len()), (50_000, 10_000));
//! # Ok::<(), s3_train::data::DataError>(())
//! ```

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::Archive;

use super::dataset::{Dataset, Images, channel_statistics};
use super::error::{DataError, Problem, way_out};
use super::read::{self, Failure};
use crate::files::open_regular;

/// Rows, and columns, of an image.
const SIDE: usize = 32;

/// Red, green, blue.
const CHANNELS: usize = 3;

/// Values of an image.
const IMAGE: usize = SIDE * SIDE * CHANNELS;

/// Bytes of a record: label and image.
pub const RECORD: usize = 1 + IMAGE;

/// Records of a file.
pub const RECORDS: usize = 10_000;

/// The folder of the files, in the archive and unpacked.
pub const FOLDER: &str = "cifar-10-batches-bin";

/// The official archive.
pub const ARCHIVE: &str = "cifar-10-binary.tar.gz";

/// Its MD5.
pub const ARCHIVE_MD5: &str = "c32a1d4ab5d03f1284b67883e8d87530";

/// Where it is.
pub const SOURCES: &[&str] = &["https://www.cs.toronto.edu/~kriz"];

/// The official archive unpacks to 184 MB.
pub const UNPACKED: u64 = 1 << 28;

/// The Python version's folder and archive, and the first file of the folder.
const PYTHON: [&str; 3] = [
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "data_batch_1",
];

/// The files, those of the training split first.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// What the labels `0..10` stand for.
const CLASS_NAMES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Reads the training and the test split from the folder `data_dir/cifar-10-batches-bin`, from
/// `data_dir` itself if the files are there, or else from `data_dir/cifar-10-binary.tar.gz`,
/// which is read without unpacking it to disk.
///
/// Of an archive only plain files count, by the names in their own headers: long names and other
/// extensions, which a header may announce with any length, are passed over. It may unpack to
/// [`UNPACKED`] bytes.
///
/// # Errors
///
/// [`DataError`] naming the file that is missing, unreadable or damaged; the Python version.
pub fn load(data_dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    load_files(data_dir, RECORDS)
}

/// [`load`] for files of `records` records.
fn load_files(data_dir: &Path, records: usize) -> Result<(Dataset, Dataset), DataError> {
    let folders = [data_dir.join(FOLDER), data_dir.to_owned()];
    let holds_files = |folder: &&PathBuf| FILES.iter().any(|file| folder.join(file).is_file());
    let archive = data_dir.join(ARCHIVE);
    if let Some(folder) = folders.iter().find(holds_files) {
        return Ok(splits(from_folder(folder, records)?));
    }
    if archive.is_file() {
        return Ok(splits(from_archive(&archive, records)?));
    }
    let other = PYTHON.map(|name| data_dir.join(name));
    let Some(path) = other.iter().find(|path| path.exists()) else {
        let files = format!("{} and no {ARCHIVE}", FILES[0]);
        return Err(DataError::missing("cifar10", files, &folders));
    };
    let text = format!(
        "CIFAR-10's Python version, the binary one is read ({FOLDER} or {ARCHIVE}): {}",
        way_out("cifar10")
    );
    Err(DataError::malformed(path, Problem::Folder(text)))
}

fn from_folder(folder: &Path, records: usize) -> Result<[Batch; 6], DataError> {
    let mut batches = [const { Batch::EMPTY }; 6];
    for (batch, file) in batches.iter_mut().zip(FILES) {
        let path = folder.join(file);
        let mut reader = open_regular(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::missing("cifar10", file, &[folder.to_owned()]),
            _ => DataError::io(&path, source),
        })?;
        *batch = Batch::read(&mut reader, records).map_err(|failure| failure.at(&path))?;
    }
    Ok(batches)
}

fn from_archive(path: &Path, records: usize) -> Result<[Batch; 6], DataError> {
    let io = |source| DataError::io(path, source);
    let file = BufReader::new(open_regular(path).map_err(io)?);
    let mut archive = Archive::new(MultiGzDecoder::new(file).take(UNPACKED));
    let mut found = [const { None }; 6];
    for entry in archive.entries().map_err(io)?.raw(true) {
        let mut entry = entry.map_err(io)?;
        let name = entry.path().map_err(io)?.into_owned();
        let member = |file: &&str| name.ends_with(Path::new(FOLDER).join(file));
        let position = FILES.iter().position(member);
        if let (Some(position), true) = (position, entry.header().entry_type().is_file()) {
            let batch = Batch::read(&mut entry, records);
            let member = path.join(FOLDER).join(FILES[position]);
            found[position] = Some(batch.map_err(|failure| failure.at(&member))?);
        }
    }
    // To the end of the stream, where gzip compares its checksum.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(io)?;
    if rest.limit() == 0 {
        let text = format!("an archive that unpacks to {UNPACKED} bytes and more");
        return Err(DataError::malformed(path, Problem::Folder(text)));
    }
    let mut batches = [const { Batch::EMPTY }; 6];
    for ((batch, found), file) in batches.iter_mut().zip(found).zip(FILES) {
        let missing = || Problem::MissingMember {
            name: format!("{FOLDER}/{file}"),
        };
        *batch = found.ok_or_else(|| DataError::malformed(path, missing()))?;
    }
    Ok(batches)
}

/// The records of one file.
#[derive(Debug)]
struct Batch {
    /// `[records, SIDE, SIDE, CHANNELS]`.
    images: Vec<u8>,
    labels: Vec<u8>,
}

impl Batch {
    const EMPTY: Self = Self {
        images: Vec::new(),
        labels: Vec::new(),
    };

    /// Reads a file of `records` records.
    fn read(reader: &mut impl Read, records: usize) -> Result<Self, Failure> {
        let expected = records * RECORD;
        // One more record than there should be, to tell a longer file from a damaged one.
        let bytes = read::up_to(reader, expected + RECORD)?;
        match bytes.len() {
            got if got % RECORD != 0 => {
                return Err(Problem::PartialRecord {
                    record: RECORD,
                    got,
                }
                .into());
            }
            got if got < expected => return Err(Problem::Truncated { expected, got }.into()),
            got if got > expected => return Err(Problem::TrailingBytes { expected }.into()),
            _ => {}
        }
        let labels: Vec<u8> = bytes.iter().step_by(RECORD).copied().collect();
        read::check_labels(&labels, CLASS_NAMES.len())?;
        let mut images = vec![0; records * IMAGE];
        for (record, image) in bytes
            .chunks_exact(RECORD)
            .zip(images.chunks_exact_mut(IMAGE))
        {
            for (channel, plane) in record[1..].chunks_exact(SIDE * SIDE).enumerate() {
                for (pixel, &value) in image.chunks_exact_mut(CHANNELS).zip(plane) {
                    pixel[channel] = value;
                }
            }
        }
        Ok(Self { images, labels })
    }
}

fn splits(batches: [Batch; 6]) -> (Dataset, Dataset) {
    let [train @ .., test] = batches;
    let mut whole = Batch::EMPTY;
    for batch in train {
        whole.images.extend(batch.images);
        whole.labels.extend(batch.labels);
    }
    let (mean, std) = channel_statistics(&whole.images, CHANNELS);
    let dataset = |name: &str, batch: Batch| Dataset {
        name: name.to_owned(),
        height: SIDE,
        width: SIDE,
        channels: CHANNELS,
        images: Images::Bytes(batch.images),
        labels: batch.labels.into_iter().map(u16::from).collect(),
        class_names: CLASS_NAMES.map(String::from).to_vec(),
        mean: mean.clone(),
        std: std.clone(),
    };
    (
        dataset("cifar10/train", whole),
        dataset("cifar10/test", test),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::read::testing::{gzip, real_data};
    use super::*;

    /// File `number` with `records` records whose bytes say where they are.
    fn file(number: usize, records: usize) -> Vec<u8> {
        let record = |r: usize| {
            let label = ((number + r) % 10) as u8;
            std::iter::once(label).chain((0..IMAGE).map(move |i| (i * 7 + r * 3 + number) as u8))
        };
        (0..records).flat_map(record).collect()
    }

    fn tar(names: &[String]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for name in names {
            let number = FILES.iter().position(|file| name.ends_with(file));
            let bytes = number.map_or(b"readme".to_vec(), |number| file(number, 2));
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// The members in another order than that of `FILES`, with one that nobody needs.
    fn members() -> Vec<String> {
        let name = |file: &&str| format!("{FOLDER}/{file}");
        FILES
            .iter()
            .rev()
            .map(name)
            .chain([format!("{FOLDER}/readme.html")])
            .collect()
    }

    fn folder_of(names: &[&str], within: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(within)).unwrap();
        for name in names {
            let number = FILES.iter().position(|file| file == name).unwrap();
            fs::write(folder.path().join(within).join(name), file(number, 2)).unwrap();
        }
        folder
    }

    fn problem(bytes: &[u8]) -> Problem {
        Batch::read(&mut &bytes[..], 3).unwrap_err().problem()
    }

    #[test]
    fn planes_become_pixels_and_rows_stay_rows() {
        let bytes = file(4, 3);
        let batch = Batch::read(&mut &bytes[..], 3).unwrap();
        assert_eq!(batch.labels, [4, 5, 6]);
        for (r, y, x, c) in [(0, 0, 0, 0), (0, 0, 1, 0), (1, 1, 0, 2), (2, 31, 30, 1)] {
            let got = batch.images[((r * 32 + y) * 32 + x) * 3 + c];
            assert_eq!(got, bytes[r * RECORD + 1 + c * 1024 + y * 32 + x]);
        }
    }

    #[test]
    fn folder_parent_and_archive_give_the_same_images() {
        let inside = folder_of(&FILES, FOLDER);
        let (train, test) = load_files(inside.path(), 2).unwrap();
        assert_eq!(train.labels, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!(test.labels, [5, 6]);
        assert_eq!((&train.mean, &train.std), (&test.mean, &test.std));
        assert_eq!(
            load_files(&inside.path().join(FOLDER), 2).unwrap(),
            (train.clone(), test.clone())
        );

        let packed = tempfile::tempdir().unwrap();
        fs::write(packed.path().join(ARCHIVE), gzip(&tar(&members()))).unwrap();
        assert_eq!(load_files(packed.path(), 2).unwrap(), (train, test));
    }

    #[test]
    fn a_missing_batch_is_named() {
        let folder = folder_of(&[FILES[0], FILES[1], FILES[3], FILES[4], FILES[5]], FOLDER);
        let message = load_files(folder.path(), 2).unwrap_err().to_string();
        assert!(message.contains("no data_batch_3.bin in"), "{message}");

        let packed = tempfile::tempdir().unwrap();
        fs::write(packed.path().join(ARCHIVE), gzip(&tar(&members()[1..]))).unwrap();
        let message = load_files(packed.path(), 2).unwrap_err().to_string();
        assert!(
            message.ends_with("has no `cifar-10-batches-bin/test_batch.bin`"),
            "{message}"
        );

        let empty = tempfile::tempdir().unwrap();
        let message = load_files(empty.path(), 2).unwrap_err().to_string();
        assert!(
            message.contains("no data_batch_1.bin and no cifar-10-binary.tar.gz"),
            "{message}"
        );
    }

    #[test]
    fn the_python_version_is_named_with_the_way_out() {
        for name in PYTHON {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), b"x").unwrap();
            let message = load_files(folder.path(), 2).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{name}: CIFAR-10's Python version")),
                "{message}"
            );
            assert!(
                message.contains("`cargo xtask data fetch cifar10`"),
                "{message}"
            );
        }
    }

    #[test]
    fn extensions_of_an_archive_are_passed_over_whatever_they_announce() {
        let plain = tempfile::tempdir().unwrap();
        fs::write(plain.path().join(ARCHIVE), gzip(&tar(&members()))).unwrap();
        let expected = load_files(plain.path(), 2).unwrap();
        let packed = tempfile::tempdir().unwrap();
        for kind in [
            tar::EntryType::GNULongName,
            tar::EntryType::GNULongLink,
            tar::EntryType::XHeader,
            tar::EntryType::XGlobalHeader,
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path("x").unwrap();
            let with = |size: u64, content: &[u8]| {
                let mut header = header.clone();
                header.set_size(size);
                header.set_cksum();
                let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
                let bytes = [header.as_bytes(), content, &padding, &tar(&members())].concat();
                fs::write(packed.path().join(ARCHIVE), gzip(&bytes)).unwrap();
                load_files(packed.path(), 2)
            };
            assert_eq!(with(9, b"27 path=y").unwrap(), expected, "{kind:?}");
            assert!(with(1 << 40, b"").is_err(), "{kind:?}");
        }
        // What a header is quoted with is one line.
        let mut header = tar::Header::new_gnu();
        header.set_path("a\nb").unwrap();
        header.as_mut_bytes()[148..156].copy_from_slice(b"\xff\n\xff\n\x1b[2J");
        let bytes = gzip(&[&header.as_bytes()[..], &tar(&members())].concat());
        fs::write(packed.path().join(ARCHIVE), bytes).unwrap();
        let message = load_files(packed.path(), 2).unwrap_err().to_string();
        assert!(!message.contains(char::is_control), "{message}");
    }

    #[test]
    fn an_archive_of_very_many_bytes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = gzip(&tar(&members()));
        // Gzip members are read one after the other; each of these unpacks to 4 MB of zeros.
        let zeros = gzip(&vec![0; 1 << 22]);
        bytes.extend(zeros.repeat((UNPACKED >> 22) as usize));
        fs::write(folder.path().join(ARCHIVE), bytes).unwrap();
        let message = load_files(folder.path(), 2).unwrap_err().to_string();
        assert!(
            message.ends_with("unpacks to 268435456 bytes and more"),
            "{message}"
        );
    }

    #[test]
    fn damaged_archives_are_errors_that_name_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let tar = tar(&members());
        let packed = gzip(&tar);
        let mut wrong_checksum = packed.clone();
        wrong_checksum[packed.len() - 5] ^= 1;
        let cut_member = gzip(&tar[..tar.len() / 2]);
        for bytes in [
            &packed[..packed.len() / 2],
            &wrong_checksum,
            &cut_member,
            b"not gzip at all",
        ] {
            fs::write(folder.path().join(ARCHIVE), bytes).unwrap();
            let message = load_files(folder.path(), 2).unwrap_err().to_string();
            assert!(
                message.contains(ARCHIVE) && message.lines().count() == 1,
                "{message}"
            );
        }
    }

    #[test]
    fn files_of_another_length_are_errors() {
        let whole = file(0, 4);
        let expected = 3 * RECORD;
        assert_eq!(
            problem(&whole[..2 * RECORD]),
            Problem::Truncated {
                expected,
                got: 2 * RECORD
            }
        );
        assert_eq!(problem(&whole), Problem::TrailingBytes { expected });
        assert_eq!(problem(b""), Problem::Truncated { expected, got: 0 });
        for got in [1, RECORD - 1, expected - 1, expected + 1] {
            assert_eq!(
                problem(&whole[..got]),
                Problem::PartialRecord {
                    record: RECORD,
                    got
                }
            );
        }
    }

    #[test]
    fn labels_beyond_the_classes_are_an_error() {
        let mut bytes = file(0, 3);
        bytes[RECORD] = 10;
        assert_eq!(
            problem(&bytes),
            Problem::BadLabel {
                index: 1,
                label: 10,
                classes: 10
            }
        );
    }

    #[test]
    fn the_real_files_are_balanced_and_have_the_known_means() {
        let Some(folder) = real_data(FOLDER) else {
            return;
        };
        let (train, test) = load(&folder).unwrap();
        for (dataset, each) in [(&train, 5000), (&test, 1000)] {
            for class in 0..10 {
                assert_eq!(
                    dataset
                        .labels
                        .iter()
                        .filter(|&&label| label == class)
                        .count(),
                    each
                );
            }
        }
        // A copy that went through JPEG differs from the original in the fourth digit.
        for (got, known) in train.mean.iter().zip([0.4914, 0.4822, 0.4465]) {
            assert!((got - known).abs() < 0.002, "{:?}", train.mean);
        }
        for (got, known) in train.std.iter().zip([0.2470, 0.2435, 0.2616]) {
            assert!((got - known).abs() < 0.005, "{:?}", train.std);
        }
    }
}
