//! Reading as many bytes as a format asks for, from plain or gzipped files.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::{DataError, Problem};
use crate::files::open_regular;

/// Why a stream could not be read; it does not know yet which file it came from.
#[derive(Debug)]
pub(super) enum Failure {
    /// The reader failed.
    Io(io::Error),
    /// The bytes are wrong.
    Problem(Problem),
}

impl Failure {
    /// The same failure, of the file at `path`.
    pub(super) fn at(self, path: &Path) -> DataError {
        match self {
            Self::Io(source) => DataError::io(path, source),
            Self::Problem(problem) => DataError::malformed(path, problem),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Opens a file and unpacks it if it is gzipped, which its first two bytes say: some browsers
/// unpack a download and keep the name that ends in `.gz`.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(open_regular(path)?);
    let gzipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if gzipped {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

/// Reads up to `limit` bytes. Memory grows with what is there, not with what a header promises.
pub(super) fn up_to(reader: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a header of `len` bytes and, when it is complete, whatever follows stays in `reader`.
pub(super) fn header(reader: &mut impl Read, len: usize) -> Result<Vec<u8>, Failure> {
    let bytes = up_to(reader, len)?;
    if bytes.len() < len {
        return Err(Problem::Truncated {
            expected: len,
            got: bytes.len(),
        }
        .into());
    }
    Ok(bytes)
}

/// Reads the `len` bytes after a header of `before` bytes, which must be the last of the stream.
///
/// Reading on to the end also makes gzip compare its checksum.
pub(super) fn rest(reader: &mut impl Read, before: usize, len: usize) -> Result<Vec<u8>, Failure> {
    let bytes = up_to(reader, len + 1)?;
    let expected = before + len;
    match bytes.len() {
        got if got < len => Err(Problem::Truncated {
            expected,
            got: before + got,
        }
        .into()),
        got if got > len => Err(Problem::TrailingBytes { expected }.into()),
        _ => Ok(bytes),
    }
}

/// Checks that every label names one of `classes` classes.
pub(super) fn check_labels(labels: &[u8], classes: usize) -> Result<(), Problem> {
    match labels
        .iter()
        .position(|&label| usize::from(label) >= classes)
    {
        Some(index) => Err(Problem::BadLabel {
            index,
            label: labels[index].into(),
            classes,
        }),
        None => Ok(()),
    }
}

/// What the tests of the readers share.
#[cfg(test)]
pub(super) mod testing {
    use std::path::PathBuf;

    use super::*;

    impl Failure {
        /// The problem, where the test expects one.
        pub(in super::super) fn problem(self) -> Problem {
            match self {
                Self::Problem(problem) => problem,
                Self::Io(source) => panic!("not a problem of the format: {source}"),
            }
        }
    }

    /// `bytes`, gzipped.
    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The folder of the real data sets if it holds `file`: `$S3_DATA_DIR`, or `shared/data`
    /// beside the workspace. Otherwise says that the calling test is skipped.
    #[expect(clippy::print_stdout, reason = "a skipped test has to say so")]
    pub(in super::super) fn real_data(file: &str) -> Option<PathBuf> {
        let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
        let folder = std::env::var_os("S3_DATA_DIR").map_or_else(beside, PathBuf::from);
        let found = folder.join(file).exists();
        if !found {
            println!(
                "skipped: no {file} in {} (S3_DATA_DIR names the folder)",
                folder.display()
            );
        }
        found.then_some(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::gzip;
    use super::*;

    fn read(bytes: &[u8], len: usize) -> Result<Vec<u8>, Failure> {
        rest(&mut &bytes[..], 4, len)
    }

    #[test]
    fn the_rest_is_exactly_as_long_as_asked() {
        assert_eq!(read(b"abc", 3).unwrap(), b"abc");
        let short = read(b"abc", 5).unwrap_err().problem();
        assert_eq!(
            short,
            Problem::Truncated {
                expected: 9,
                got: 7
            }
        );
        let long = read(b"abc", 2).unwrap_err().problem();
        assert_eq!(long, Problem::TrailingBytes { expected: 6 });
    }

    #[test]
    fn gzip_is_recognised_by_its_bytes_and_its_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            rest(&mut open(&path).unwrap(), 0, 1000)
        };
        let plain: Vec<u8> = (0..1000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let packed = gzip(&plain);
        assert_eq!(read(&plain).unwrap(), plain);
        assert_eq!(read(&packed).unwrap(), plain);

        let mut damaged = packed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let mut wrong_checksum = packed.clone();
        wrong_checksum[packed.len() - 5] ^= 1;
        let garbage_behind = [&packed[..], b"garbage"].concat();
        for bytes in [
            &packed[..packed.len() / 2],
            &damaged,
            &wrong_checksum,
            &garbage_behind,
        ] {
            assert!(matches!(read(bytes), Err(Failure::Io(_))));
        }
    }

    #[test]
    fn the_first_label_out_of_range_is_named() {
        check_labels(&[0, 9, 5], 10).unwrap();
        let problem = check_labels(&[0, 9, 10, 11], 10).unwrap_err();
        assert_eq!(
            problem,
            Problem::BadLabel {
                index: 2,
                label: 10,
                classes: 10
            }
        );
    }
}
