//! Arrays in one file, as `numpy.savez` and `numpy.savez_compressed` write them: a zip archive
//! whose member `x.npy` is the array `x`.
//!
//! Members are stored or deflated. One that is deflated may promise [`RATIO`] times its bytes in
//! the archive, or [`ROOM`] where that is more: no archive unpacks to more memory than that.
//!
//! `zip` finds the members; they are unpacked here. Its feature for it would make candle, which
//! stands on `zip` as well, another build in some selections of packages.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::error::{DataError, Problem};
use super::read::Failure;
use crate::files::open_regular;

/// How many times its bytes in the archive an array may have.
const RATIO: u64 = 100;
/// Bytes that any array may have.
const ROOM: u64 = 1 << 28;

/// An archive of arrays.
pub(super) struct Npz {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl Npz {
    /// Opens the archive at `path` and lists its members.
    ///
    /// # Errors
    ///
    /// Those of the file system; no archive.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = open_regular(path).map_err(|cause| DataError::io(path, cause))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| failure(e).at(path))?;
        Ok(Self {
            path: path.to_owned(),
            archive,
        })
    }

    /// Where the array `key` is, for messages.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}.npy"))
    }

    /// What `read` reads of the array `key`, given its bytes and how many of them may be read at
    /// most; `None` where there is no such array. The checksum is compared when all of the array
    /// was read.
    ///
    /// # Errors
    ///
    /// Those of `read`, of the file system, and of a member that is damaged, encrypted or packed in
    /// another way.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut dyn Read, u64) -> Result<T, Failure>,
    ) -> Result<Option<T>, DataError> {
        let Some(index) = self.archive.index_for_name(&format!("{key}.npy")) else {
            return Ok(None);
        };
        let unpacked = || -> Result<T, Failure> {
            let member = self.archive.by_index_raw(index).map_err(failure)?;
            if member.encrypted() {
                return Err(Problem::array("encrypted").into());
            }
            let (method, packed) = (member.compression(), member.compressed_size());
            let expected = member.crc32();
            let (reader, most): (Box<dyn Read + '_>, u64) = match method {
                CompressionMethod::STORE => (Box::new(member), packed),
                CompressionMethod::DEFLATE => (
                    Box::new(DeflateDecoder::new(member)),
                    packed.saturating_mul(RATIO).max(ROOM),
                ),
                other => {
                    let text =
                        format!("{other}: expected a file of numpy.savez or savez_compressed");
                    return Err(Problem::array(text).into());
                }
            };
            let mut reader = Summed {
                reader,
                sum: crc32fast::Hasher::new(),
                expected,
            };
            read(&mut reader, most)
        };
        unpacked().map(Some).map_err(|e| e.at(&self.path(key)))
    }

    /// A refusal of an archive without the array `key`, with those that it has.
    pub(super) fn without(&self, key: &str) -> DataError {
        const LISTED: usize = 8;
        let names = self.archive.file_names_raw();
        let name = |bytes: &[u8]| {
            let name = String::from_utf8_lossy(bytes).into_owned();
            name.strip_suffix(".npy")
                .map_or(name.clone(), str::to_owned)
        };
        let mut names: Vec<String> = names.map(name).collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(LISTED);
        names.truncate(LISTED);
        let mut has = match names.is_empty() {
            true => "nothing".to_owned(),
            false => names.join(", "),
        };
        if more > 0 {
            has += &format!(" and {more} more");
        }
        let text = format!("no array {key}, the archive holds {has}");
        DataError::malformed(&self.path, Problem::array(text))
    }
}

fn failure(error: ZipError) -> Failure {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error {
        // Of the bytes, and not of the file system.
        ZipError::Io(cause)
            if ![InvalidData, InvalidInput, UnexpectedEof].contains(&cause.kind()) =>
        {
            cause.into()
        }
        other => Problem::array(format!("no archive of arrays that can be read: {other}")).into(),
    }
}

/// A reader that compares the CRC-32 of all that was read where it ends.
struct Summed<R> {
    reader: R,
    sum: crc32fast::Hasher,
    expected: u32,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(to)?;
        self.sum.update(&to[..read]);
        let is_end = read == 0 && !to.is_empty();
        if is_end && self.sum.clone().finalize() != self.expected {
            let text = "damaged: its checksum is another one";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(read)
    }
}

/// What the tests of arrays share.
#[cfg(test)]
pub(super) mod testing {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    /// A zip archive of `members`, each stored or deflated, put together by hand.
    pub(in super::super) fn npz(members: &[(&str, &[u8])], is_deflated: bool) -> Vec<u8> {
        let mut file = Vec::new();
        let mut directory = Vec::new();
        for (key, content) in members {
            let name = format!("{key}.npy");
            let packed = if is_deflated {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            } else {
                content.to_vec()
            };
            let method: u16 = if is_deflated { 8 } else { 0 };
            let mut about = Vec::new();
            for short in [20, 0, method, 0, 0x21] {
                about.extend(short.to_le_bytes());
            }
            let sum = crc32fast::hash(content);
            for long in [sum, packed.len() as u32, content.len() as u32] {
                about.extend(long.to_le_bytes());
            }
            about.extend((name.len() as u16).to_le_bytes());
            about.extend([0; 2]);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&about);
            directory.extend([0; 10]);
            directory.extend((file.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            file.extend(b"PK\x03\x04");
            file.extend(&about);
            file.extend(name.as_bytes());
            file.extend(packed);
        }
        let start = file.len() as u32;
        file.extend(&directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((directory.len() as u32).to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend([0; 2]);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::Array;
    use super::super::npy::testing::npy;
    use super::testing::npz;
    use super::*;

    /// The integers of the array `key` of an archive of these bytes; `Err` is one line that names
    /// the file.
    fn integers(bytes: &[u8], key: &str) -> Result<Vec<i128>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        std::fs::write(&path, bytes).unwrap();
        let line = |e: DataError| {
            let line = e.to_string();
            assert!(
                line.contains("a.npz") && line.lines().count() == 1,
                "{line}"
            );
            line
        };
        let mut archive = Npz::open(&path).map_err(line)?;
        let Some(array) = archive.read(key, Array::read).map_err(line)? else {
            return Err(line(archive.without(key)));
        };
        let integers = array.integers().map_err(|e| e.to_string())?;
        Ok(integers.collect())
    }

    fn two(is_deflated: bool) -> Vec<u8> {
        let x = npy("|u1", "(2, 300)", &[7; 600]);
        let y = npy("<i4", "(2,)", &[3, 0, 0, 0, 5, 0, 0, 0]);
        npz(&[("x", &x), ("y", &y)], is_deflated)
    }

    #[test]
    fn stored_and_deflated_arrays_are_found_by_name() {
        for is_deflated in [false, true] {
            let bytes = two(is_deflated);
            assert_eq!(integers(&bytes, "y").unwrap(), [3, 5]);
            assert_eq!(integers(&bytes, "x").unwrap(), [7; 600]);
            let without = integers(&bytes, "z").unwrap_err();
            let expected = "a.npz: no array z, the archive holds x, y";
            assert!(without.ends_with(expected), "{without}");
        }
        assert!(two(true).len() < two(false).len());
    }

    #[test]
    fn damage_is_one_line_or_changes_nothing() {
        for is_deflated in [false, true] {
            let whole = two(is_deflated);
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x41;
                for (key, expected) in [("x", vec![7; 600]), ("y", vec![3, 5])] {
                    if let Ok(found) = integers(&bytes, key) {
                        assert_eq!(found, expected, "byte {at}");
                    }
                }
            }
            for len in 0..whole.len() {
                assert!(integers(&whole[..len], "x").is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        // 2^60 bytes promised; and 2^29 that are there, deflated a thousandfold.
        let promise = npy("|u1", "(1152921504606846976,)", &[]);
        let message = integers(&npz(&[("x", &promise), ("y", &promise)], true), "x").unwrap_err();
        assert!(
            message.contains("promises 1152921504606847104 bytes"),
            "{message}"
        );
        let zeros = npy("|u1", "(536870912,)", &vec![0; 1 << 20]);
        let message = integers(&npz(&[("x", &zeros)], true), "x").unwrap_err();
        assert!(message.contains("at most 268435456 are read"), "{message}");
        // A header that promises less than what follows it ends where it says.
        let less = npy("|u1", "(3,)", &vec![0; 1 << 20]);
        let message = integers(&npz(&[("x", &less)], true), "x").unwrap_err();
        assert!(message.contains("bytes after the end"), "{message}");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b""[..], b"PK", b"hello, hello, hello, hello, hello"] {
            let message = integers(bytes, "x").unwrap_err();
            assert!(message.contains("no archive of arrays"), "{message}");
        }
        let mut other = two(false);
        let at = other.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        other[at + 10] = 12;
        let message = integers(&other, "x").unwrap_err();
        assert!(
            message.contains("expected a file of numpy.savez"),
            "{message}"
        );
    }
}
