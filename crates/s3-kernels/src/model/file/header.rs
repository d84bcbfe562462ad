//! The container: safetensors. Eight bytes of length, a JSON header, the tensors one after the
//! other.

use std::collections::{BTreeMap, btree_map};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{fmt, str};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::error::Error;

/// The longest header that is read.
const MAX_HEADER: usize = 16 << 20;

const FORMAT: &str = "s3-packed";
/// The versions that are read.
const VERSIONS: [u32; 2] = [1, 2];
const METADATA: &str = "__metadata__";

/// The numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Dtype {
    F32,
    I32,
    I8,
    U8,
}

impl Dtype {
    fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::I8 | Dtype::U8 => 1,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

#[derive(Serialize)]
struct Metadata<'a> {
    format: &'a str,
    #[serde(rename = "s3.config")]
    config: &'a str,
    #[serde(rename = "s3.crc32")]
    crc32: String,
    #[serde(rename = "s3.format_version")]
    version: String,
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: Metadata<'a>,
    #[serde(flatten)]
    entries: BTreeMap<String, Entry>,
}

/// CRC-32 of the configuration and the data behind it.
fn checksum(config: &str, data: &[u8]) -> String {
    let mut hash = crc32fast::Hasher::new();
    hash.update(config.as_bytes());
    hash.update(data);
    format!("{:08x}", hash.finalize())
}

/// Collects tensors, and makes a file of them.
#[derive(Default)]
pub(super) struct Writer {
    /// Those of four bytes a number lie before those of one, so that all are aligned.
    wide: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    narrow: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    pub(super) fn put(&mut self, name: String, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let tensor = (name, dtype, shape.to_vec(), bytes);
        match dtype.bytes() {
            1 => self.narrow.push(tensor),
            _ => self.wide.push(tensor),
        }
    }

    pub(super) fn finish(self, version: u32, config: &str) -> Vec<u8> {
        let (mut entries, mut data) = (BTreeMap::new(), Vec::new());
        for (name, dtype, shape, bytes) in self.wide.into_iter().chain(self.narrow) {
            let start = data.len();
            data.extend(bytes);
            let data_offsets = (start, data.len());
            let entry = Entry {
                dtype,
                shape,
                data_offsets,
            };
            entries.insert(name, entry);
        }
        let metadata = Metadata {
            format: FORMAT,
            config,
            crc32: checksum(config, &data),
            version: version.to_string(),
        };
        let header = Header { metadata, entries };
        // Strings and numbers: there is nothing that JSON cannot hold.
        let mut json = serde_json::to_vec(&header).unwrap_or_default();
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut file = Vec::with_capacity(8 + json.len() + data.len());
        file.extend((json.len() as u64).to_le_bytes());
        file.extend(json);
        file.extend(data);
        file
    }
}

/// The tensors of a file that were not taken yet.
pub(super) struct Tensors<'a> {
    entries: BTreeMap<String, Entry>,
    data: &'a [u8],
}

/// A header, where no name is there twice.
#[derive(Default)]
struct Read {
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Read, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a safetensors header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let mut read = Read::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        read.metadata.extend(map.next_value::<BTreeMap<_, _>>()?);
                        continue;
                    }
                    match read.entries.entry(name) {
                        btree_map::Entry::Vacant(free) => {
                            free.insert(map.next_value()?);
                        }
                        btree_map::Entry::Occupied(held) => {
                            let twice = format!("tensor `{}` is there twice", held.key());
                            return Err(A::Error::custom(twice));
                        }
                    }
                }
                Ok(read)
            }
        }

        from.deserialize_map(Members)
    }
}

/// The version, the configuration and the tensors of a file.
pub(super) fn read(bytes: &[u8]) -> Result<(u32, String, Tensors<'_>), Error> {
    let expected =
        |what: &str, got: usize| Error::file(format_args!("expected {what} bytes, got {got}"));
    let (length, rest) = match bytes.split_first_chunk::<8>() {
        Some((length, rest)) if rest.first() == Some(&b'{') => (length, rest),
        _ => return Err(Error::file("no safetensors file")),
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER as u64 {
        return Err(Error::file(format_args!(
            "header: expected at most {MAX_HEADER} bytes, got {length}"
        )));
    }
    let length = length as usize;
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err(expected(&format!("a header of {length}"), rest.len()));
    };
    let text = str::from_utf8(header)
        .map_err(|error| Error::file(format_args!("header: expected UTF-8: {error}")))?;
    let mut read: Read =
        serde_json::from_str(text).map_err(|error| Error::file(format_args!("header: {error}")))?;
    let mut metadata = |key: &str| read.metadata.remove(key);
    check("format", FORMAT, metadata("format"))?;
    let key = "s3.format_version";
    let version = metadata(key);
    let is = |number: &u32| version.as_deref() == Some(&*number.to_string());
    let Some(number) = VERSIONS.into_iter().find(is) else {
        let [first, last] = VERSIONS.map(|number| format!("{number:?}"));
        let got = version.map_or_else(|| "none".to_string(), |got| format!("{got:?}"));
        return Err(Error::file(format_args!(
            "metadata `{key}`: expected \"{first}\" or \"{last}\", got {got}"
        )));
    };
    let Some(config) = metadata("s3.config") else {
        return Err(Error::file("metadata `s3.config`: is missing"));
    };
    let crc32 = metadata("s3.crc32");
    check_cover(&read.entries, data.len())?;
    check("s3.crc32", &checksum(&config, data), crc32)?;
    let tensors = Tensors {
        entries: read.entries,
        data,
    };
    Ok((number, config, tensors))
}

fn check(key: &str, expected: &str, got: Option<String>) -> Result<(), Error> {
    if got.as_deref() == Some(expected) {
        return Ok(());
    }
    let got = got.map_or_else(|| "none".to_string(), |got| format!("{got:?}"));
    Err(Error::file(format_args!(
        "metadata `{key}`: expected {expected:?}, got {got}"
    )))
}

/// Checks that the tensors are all of the data, and that no two overlap.
fn check_cover(entries: &BTreeMap<String, Entry>, length: usize) -> Result<(), Error> {
    let mut ranges: Vec<_> = entries
        .iter()
        .map(|(name, entry)| (entry.data_offsets, name.as_str()))
        .collect();
    ranges.sort_unstable();
    let mut end = 0;
    for ((first, last), name) in ranges {
        if first != end || last < first || last > length {
            return Err(Error::file(format_args!(
                "tensor `{name}`: expected data from {end}, at most to {length}, got {first} to \
                 {last}"
            )));
        }
        end = last;
    }
    if end != length {
        return Err(Error::file(format_args!(
            "data: expected {end} bytes, got {length}"
        )));
    }
    Ok(())
}

impl<'a> Tensors<'a> {
    /// The bytes of a tensor, which is then gone. Without a `shape` it is a list of any length.
    pub(super) fn take(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: Option<&[usize]>,
    ) -> Result<&'a [u8], String> {
        let Some(entry) = self.entries.remove(name) else {
            return Err(format!("tensor `{name}`: is missing"));
        };
        let (start, end) = entry.data_offsets;
        let bytes = &self.data[start..end];
        if entry.dtype != dtype {
            let got = entry.dtype;
            return Err(format!("tensor `{name}`: expected {dtype:?}, got {got:?}"));
        }
        let list = [bytes.len() / dtype.bytes()];
        let shape = shape.unwrap_or(&list);
        if entry.shape != shape {
            let got = entry.shape;
            return Err(format!(
                "tensor `{name}`: expected shape {shape:?}, got {got:?}"
            ));
        }
        let length = shape
            .iter()
            .try_fold(dtype.bytes(), |length, &side| length.checked_mul(side));
        if length != Some(bytes.len()) {
            let got = bytes.len();
            return Err(format!(
                "tensor `{name}`: expected data of shape {shape:?}, got {got} bytes"
            ));
        }
        Ok(bytes)
    }

    /// The name of a tensor that nothing took.
    pub(super) fn any(&self) -> Option<&str> {
        self.entries.keys().next().map(String::as_str)
    }
}
