//! MD5 of files and streams.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use md5::{Digest, Md5};

/// MD5 of what a reader yields, as 32 lower-case hexadecimal digits.
pub(super) fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// MD5 of a file.
pub(super) fn of_file(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    of_reader(file).with_context(|| format!("cannot read {}", path.display()))
}

/// MD5 of what a gzip file holds; an error where it is cut short or not gzip.
pub(super) fn of_gzip(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    of_reader(MultiGzDecoder::new(io::BufReader::new(file)))
        .with_context(|| format!("cannot unpack {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_of_known_texts() {
        assert_eq!(
            of_reader(&b""[..]).expect("reads"),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
        assert_eq!(
            of_reader(&b"abc"[..]).expect("reads"),
            "900150983cd24fb0d6963f7d28e17f72"
        );
    }
}
