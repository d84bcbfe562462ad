//! Appending, reading and truncating files of one JSON object a line.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why a file of records cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// The file system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `read`, `append to`, `replace`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not a record of the wanted kind.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A record cannot be written as JSON.
    Unwritable {
        /// The file it was meant for.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                path,
                action,
                source,
            } => {
                write!(f, "cannot {action} {}: {source}", path.display())
            }
            Self::Malformed { path, line, reason } => {
                write!(f, "{} line {line}: {reason}", path.display())
            }
            Self::Unwritable { path, reason } => {
                write!(
                    f,
                    "a record for {} has no JSON form: {reason}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are part of the message already.
            Self::Io { source, .. } => source.source(),
            Self::Malformed { .. } | Self::Unwritable { .. } => None,
        }
    }
}

/// Appends records, one JSON object a line, making the file where there is none.
///
/// All lines are written by one call to the system, so that two readers never see half of them
/// interleaved; a kill in the middle can leave an unfinished last line, which
/// [`drop_records_after`] removes. No record makes an empty file, or leaves the file as it is. A
/// link is not followed.
///
/// # Errors
/// [`RecordError::Io`], also for a link; or [`RecordError::Unwritable`] before anything is written.
pub fn append_jsonl<T: Serialize>(path: &Path, records: &[T]) -> Result<(), RecordError> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record).map_err(|error| RecordError::Unwritable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        lines.push(b'\n');
    }
    own_file(path)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(path))
        .and_then(|mut file| file.write_all(&lines))
        .map_err(io_error(path, "append to"))
}

/// Refuses to change what is there and no file of its folder: through a link, another file would
/// be.
fn own_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("a link or no regular file")),
        _ => Ok(()),
    }
}

/// Reads every record of a file.
///
/// # Errors
/// [`RecordError::Malformed`] with the number of the first line that is not a `T` (an empty line
/// is not), [`RecordError::Io`] where the file cannot be read.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    let text = read(path)?;
    lines_of(&text)
        .enumerate()
        .map(|(index, line)| parse(path, index, line))
        .collect()
}

/// Reads every record of a file that another process may be writing: a last line without its end,
/// as a kill or a write under way leaves it, is left out.
///
/// # Errors
/// As [`read_jsonl`], for the lines that are whole.
pub fn read_whole_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    let text = read(path)?;
    let end = text
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |at| at + 1);
    lines_of(&text[..end])
        .enumerate()
        .map(|(index, line)| parse(path, index, line))
        .collect()
}

/// Removes the records of later epochs and returns how many there were; used on resume.
///
/// Every kind of record has an `epoch`; those with one greater than `epoch` go. Lines that stay
/// keep their bytes, and the file is replaced by an atomic rename. An unfinished last line, as a
/// kill leaves it, goes too and counts as one. A file that does not exist has nothing to drop.
///
/// # Errors
/// [`RecordError::Malformed`] with the number of a line (a finished one) that has no epoch, the
/// file being left as it is; [`RecordError::Io`].
pub fn drop_records_after(path: &Path, epoch: u32) -> Result<u64, RecordError> {
    #[derive(Deserialize)]
    struct OfEpoch {
        epoch: u32,
    }

    let text = match read(path) {
        Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(0);
        }
        text => text?,
    };
    let mut kept = Vec::with_capacity(text.len());
    let mut dropped = 0;
    for (index, line) in lines_of(&text).enumerate() {
        let finished = line.ends_with(b"\n");
        match parse::<OfEpoch>(path, index, line) {
            Ok(record) if record.epoch <= epoch && finished => kept.extend_from_slice(line),
            Err(error) if finished => return Err(error),
            _ => dropped += 1,
        }
    }
    if dropped > 0 {
        replace(path, &kept).map_err(io_error(path, "replace"))?;
    }
    Ok(dropped)
}

/// A named pipe would wait for whoever writes it, and a device never ends.
fn read(path: &Path) -> Result<Vec<u8>, RecordError> {
    let about = fs::metadata(path).map_err(io_error(path, "read"))?;
    let bytes = match about.is_file() {
        true => fs::read(path),
        false => Err(io::Error::other("no regular file")),
    };
    bytes.map_err(io_error(path, "read"))
}

/// The lines of a file with their line ends, as bytes: half a line may be half a character.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

fn parse<T: DeserializeOwned>(path: &Path, index: usize, line: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(line).map_err(|error| {
        // serde_json ends its message with its own position; its line is always 1 here.
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or(&message);
        RecordError::Malformed {
            path: path.to_owned(),
            line: index + 1,
            reason: format!("{reason}, column {}", error.column()),
        }
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let new = path.with_file_name(name);
    // What a kill left, or a link; a file that is made anew is nobody else's.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::create_new(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RecordError {
    move |source| RecordError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DynamicsRecord, TimingRecord};

    fn timing(epoch: u32) -> TimingRecord {
        TimingRecord {
            epoch,
            train_seconds: 0.1,
            test_seconds: None,
            images_per_second: 1.0,
            waited_seconds: None,
        }
    }

    fn file_in(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("timing.jsonl")
    }

    #[test]
    fn appending_then_reading_is_identity() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file_in(&folder);
        append_jsonl(&path, &[timing(1), timing(2)]).expect("appends");
        append_jsonl(&path, &[timing(3)]).expect("appends");
        append_jsonl::<TimingRecord>(&path, &[]).expect("appends nothing");
        let back: Vec<TimingRecord> = read_jsonl(&path).expect("reads");
        assert_eq!(back, [timing(1), timing(2), timing(3)]);
    }

    #[test]
    fn dropping_keeps_the_bytes_of_the_lines_that_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file_in(&folder);
        // Several lines an epoch, odd spaces, an unknown key.
        let kept = "{\"epoch\": 1 ,\"new\":2.50}\n{\"epoch\":2}\n{\"epoch\":2}\n";
        fs::write(&path, format!("{kept}{{\"epoch\":3}}\n{{\"epoch\":4}}\n")).expect("writes");
        assert_eq!(drop_records_after(&path, 2).expect("drops"), 2);
        assert_eq!(fs::read_to_string(&path).expect("reads"), kept);
        assert_eq!(
            drop_records_after(&path, 2).expect("nothing left to drop"),
            0
        );
        assert_eq!(
            fs::read_dir(folder.path()).expect("lists").count(),
            1,
            "no file left over"
        );
    }

    #[test]
    fn dropping_removes_an_unfinished_last_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file_in(&folder);
        for unfinished in [
            &b"{\"epoch\":2,\"tr"[..],
            b"{\"epoch\":1}",
            b"{\"layer\":\"\xc3",
        ] {
            fs::write(&path, [b"{\"epoch\":1}\n", unfinished].concat()).expect("writes");
            assert_eq!(drop_records_after(&path, 5).expect("drops"), 1);
            assert_eq!(fs::read(&path).expect("reads"), b"{\"epoch\":1}\n");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_no_other_file() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (file_in(&folder), folder.path().join("precious"));
        fs::write(&other, "{\"epoch\":9}\n").expect("writes");
        symlink(&other, &path).expect("links");
        let error = append_jsonl(&path, &[timing(1)]).expect_err("a link");
        assert!(
            error.to_string().contains("timing.jsonl: a link"),
            "{error}"
        );
        // Replacing goes by a name beside the file, which may be a link too.
        fs::remove_file(&path).expect("removes");
        append_jsonl(&path, &[timing(1), timing(2)]).expect("appends");
        symlink(&other, folder.path().join("timing.jsonl.tmp")).expect("links");
        assert_eq!(drop_records_after(&path, 1).expect("drops"), 1);
        let kept = fs::read_to_string(&other).expect("reads");
        assert_eq!(kept, "{\"epoch\":9}\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = file_in(&folder);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let expected = format!("cannot read {}: no regular file", path.display());
            let errors = [
                read_jsonl::<TimingRecord>(path).expect_err("no file"),
                read_whole_lines::<TimingRecord>(path).expect_err("no file"),
                drop_records_after(path, 1).expect_err("no file"),
            ];
            assert!(errors.iter().all(|error| error.to_string() == expected));
        }
    }

    #[test]
    fn a_file_that_does_not_exist_has_nothing_to_drop() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(
            drop_records_after(&file_in(&folder), 1).expect("no file"),
            0
        );
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file_in(&folder);
        append_jsonl(&path, &[timing(1)]).expect("appends");
        let mut text = fs::read(&path).expect("reads");
        text.extend_from_slice(b"{\"epoch\":oops}\n");
        fs::write(&path, &text).expect("writes");
        let expected = format!("{} line 2: expected value, column 10", path.display());
        let error = read_jsonl::<TimingRecord>(&path).expect_err("line 2");
        assert_eq!(error.to_string(), expected);
        let error = drop_records_after(&path, 0).expect_err("line 2");
        assert_eq!(error.to_string(), expected);
        assert_eq!(fs::read(&path).expect("reads"), text, "left as it is");
    }

    #[test]
    fn a_record_of_another_kind_is_malformed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file_in(&folder);
        append_jsonl(&path, &[timing(1)]).expect("appends");
        let error = read_jsonl::<DynamicsRecord>(&path)
            .expect_err("a timing")
            .to_string();
        assert!(error.contains("line 1: missing field `layer`"), "{error}");
        fs::write(&path, "\n").expect("writes");
        assert!(read_jsonl::<TimingRecord>(&path).is_err());
    }

    #[test]
    fn a_missing_file_is_one_clear_line() {
        let error = read_jsonl::<TimingRecord>(Path::new("no/such.jsonl")).expect_err("no file");
        // Its reason is in the message, and so no source, which a chain of causes would say again.
        assert!(std::error::Error::source(&error).is_none());
        let error = error.to_string();
        assert!(error.starts_with("cannot read no/such.jsonl: ") && !error.contains('\n'));
    }
}
