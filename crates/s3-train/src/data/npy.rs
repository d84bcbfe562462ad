//! An array as `numpy.save` writes it: a header, then its numbers.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..6 | `\x93NUMPY` |
//! | 6, 7 | the version: 1.0, 2.0 or 3.0 |
//! | 8.. | the length of the text, a little-endian u16 in version 1.0, else u32 |
//! | then | a dictionary of Python: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 49, 10), }` |
//! | then | the numbers, in C order |
//!
//! What `descr` names is read little-endian and big-endian; Fortran order is refused. Memory grows
//! with what is in the file, and what a header promises is compared with that first.
//!
//! No crate reads the header: those that do (`npyz`, `ndarray-npy`) stand on a parser of all of
//! Python's literals, which brings 13 crates, assembly among them and a licence that deny.toml does
//! not have; `npyz` also asks for as much memory as a header says that it is long.

use std::io::Read;

use super::dataset::Images;
use super::error::Problem;
use super::read::{self, Failure};

/// How a file starts.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes that the text may have: NumPy reads no longer one either.
pub(super) const MAX_TEXT: usize = 10_000;

/// What stands before the numbers.
#[derive(Debug)]
pub(super) struct Header {
    dtype: Dtype,
    /// Sides, the first one of which counts images, or labels.
    pub(super) shape: Vec<usize>,
    /// Bytes of the numbers.
    bytes: usize,
    /// Bytes of the header itself.
    len: usize,
}

/// The type of a number or of a text.
#[derive(Debug)]
struct Dtype {
    /// As NumPy calls it: `<f4`.
    name: String,
    is_big_endian: bool,
    /// `u`, `i`, `f`, `S` (bytes), `U` (code points of four bytes), ..
    kind: char,
    /// Bytes of one; of `U` its code points.
    size: usize,
}

impl Header {
    /// Reads up to the numbers. `most` is how many bytes of the array, header included, may be
    /// read.
    ///
    /// # Errors
    ///
    /// No such header, another version, a structured type, Fortran order, or more bytes promised
    /// than `most`.
    pub(super) fn read(mut reader: &mut dyn Read, most: u64) -> Result<Self, Failure> {
        let start = read::header(&mut reader, 8)?;
        if !start.starts_with(MAGIC) {
            return Err(Problem::array("no array that NumPy has written").into());
        }
        let digits = match (start[6], start[7]) {
            (1, 0) => 2,
            (2 | 3, 0) => 4,
            (major, minor) => {
                let text =
                    format!("version {major}.{minor} of NumPy's format, expected 1.0 to 3.0");
                return Err(Problem::array(text).into());
            }
        };
        let length = read::header(&mut reader, digits)?;
        let length = length
            .iter()
            .rev()
            .fold(0, |length, &byte| (length << 8) | usize::from(byte));
        if length > MAX_TEXT {
            let text = format!("a header of {length} bytes, at most {MAX_TEXT} are read");
            return Err(Problem::array(text).into());
        }
        let text = read::header(&mut reader, length)?;
        let text = String::from_utf8_lossy(&text);
        let header = Self::of(&text, 8 + digits + length)?;
        let promised = (header.len as u64).saturating_add(header.bytes as u64);
        if promised > most {
            let text = format!(
                "the header promises {promised} bytes, at most {most} are read of this file"
            );
            return Err(Problem::array(text).into());
        }
        Ok(header)
    }

    fn of(text: &str, len: usize) -> Result<Self, Problem> {
        let Some(Members {
            descr,
            fortran_order,
            shape,
        }) = Members::of(text)
        else {
            let start: String = text.trim_end().chars().take(80).collect();
            return Err(Problem::array(format!(
                "not the header of a plain array: {start}"
            )));
        };
        let dtype = Dtype::of(descr).ok_or_else(|| {
            Problem::array(format!(
                "dtype {descr}: expected numbers or texts (pickled objects are not read)"
            ))
        })?;
        let long = shape.iter().filter(|&&side| side != 1).count();
        if fortran_order && long > 1 {
            let text = "in Fortran order: save numpy.ascontiguousarray of it";
            return Err(Problem::array(text));
        }
        let mut sides = shape.iter().copied().chain([dtype.bytes()]);
        let bytes = sides.try_fold(1usize, |bytes, side| bytes.checked_mul(side));
        let bytes = bytes.ok_or_else(|| {
            Problem::array(format!(
                "shape {shape:?} of {descr}: too many bytes for any file"
            ))
        })?;
        Ok(Self {
            dtype,
            shape,
            bytes,
            len,
        })
    }
}

impl Dtype {
    fn of(name: &str) -> Option<Self> {
        let mut letters = name.chars();
        let is_big_endian = match letters.next()? {
            '<' | '|' | '=' => false,
            '>' => true,
            _ => return None,
        };
        let kind = letters.next()?;
        let size: usize = letters.as_str().parse().ok()?;
        let this = Self {
            name: name.to_owned(),
            is_big_endian,
            kind,
            size,
        };
        // A longer text names no class.
        ((1..=MAX_TEXT).contains(&size)).then_some(this)
    }

    /// Bytes of one number or text.
    fn bytes(&self) -> usize {
        match self.kind {
            'U' => 4 * self.size,
            _ => self.size,
        }
    }
}

/// The members of a header's dictionary.
#[derive(Default)]
struct Members<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Members<'a> {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`; `None` of anything
    /// else.
    fn of(text: &'a str) -> Option<Self> {
        let mut text = Text(text);
        let mut found = [false; 3];
        let mut members = Self::default();
        text.takes("{").then_some(())?;
        while !text.takes("}") {
            let key = text.quoted()?;
            text.takes(":").then_some(())?;
            match key {
                "descr" => (members.descr, found[0]) = (text.quoted()?, true),
                "fortran_order" => (members.fortran_order, found[1]) = (text.truth()?, true),
                "shape" => (members.shape, found[2]) = (text.sides()?, true),
                _ => return None,
            }
            if !text.takes(",") && !text.0.trim_start().starts_with('}') {
                return None;
            }
        }
        (found == [true; 3] && text.0.trim().is_empty()).then_some(members)
    }
}

/// What is left of a text.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Takes `word`, if it is next behind spaces.
    fn takes(&mut self, word: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let quote = if self.takes("'") {
            '\''
        } else {
            self.takes("\"").then_some('"')?
        };
        let (inside, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        Some(inside)
    }

    fn truth(&mut self) -> Option<bool> {
        let is_true = self.takes("True");
        (is_true || self.takes("False")).then_some(is_true)
    }

    fn sides(&mut self) -> Option<Vec<usize>> {
        self.takes("(").then_some(())?;
        let (inside, rest) = self.0.split_once(')')?;
        self.0 = rest;
        let inside = inside.trim();
        let inside = inside.strip_suffix(',').unwrap_or(inside);
        if inside.is_empty() {
            return Some(Vec::new());
        }
        inside
            .split(',')
            .map(|side| side.trim().parse().ok())
            .collect()
    }
}

/// An array in memory.
#[derive(Debug)]
pub(super) struct Array {
    header: Header,
    bytes: Vec<u8>,
}

impl Array {
    /// Reads an array that is all of `reader`; `most` as [`Header::read`] has it.
    ///
    /// # Errors
    ///
    /// As [`Header::read`]; fewer or more bytes than the header promises.
    pub(super) fn read(reader: &mut dyn Read, most: u64) -> Result<Self, Failure> {
        let header = Header::read(reader, most)?;
        Self::behind(header, reader)
    }

    /// Reads the numbers behind `header`, which are all that is left of `reader`.
    ///
    /// # Errors
    ///
    /// Fewer or more bytes than the header promises.
    pub(super) fn behind(header: Header, mut reader: &mut dyn Read) -> Result<Self, Failure> {
        let bytes = read::rest(&mut reader, header.len, header.bytes)?;
        Ok(Self { header, bytes })
    }

    /// Its sides.
    pub(super) fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// Its numbers as images: bytes, or floats of 32 bits.
    ///
    /// # Errors
    ///
    /// Another type than uint8, float32 and float64; a number that is not finite as a float32, with
    /// its place.
    pub(super) fn images(self) -> Result<Images, Problem> {
        let dtype = &self.header.dtype;
        let floats: Vec<f32> = match (dtype.kind, dtype.size) {
            ('u', 1) => return Ok(Images::Bytes(self.bytes)),
            ('f', 4) => self.numbers(f32::from_le_bytes).collect(),
            ('f', 8) => self.numbers(f64::from_le_bytes).map(|v| v as f32).collect(),
            _ => return Err(dtype.expected("uint8, float32 or float64")),
        };
        match floats.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Problem::array(format!(
                "{:?} is {}: expected numbers that are finite as float32",
                self.place(at),
                floats[at]
            ))),
            None => Ok(Images::Floats(floats)),
        }
    }

    /// Its integers, of which there may be as many as bytes in a file: they are never all held.
    ///
    /// # Errors
    ///
    /// Another type.
    pub(super) fn integers(&self) -> Result<Box<dyn Iterator<Item = i128> + '_>, Problem> {
        let dtype = &self.header.dtype;
        Ok(match (dtype.kind, dtype.size) {
            ('i', 1) => Box::new(self.numbers(i8::from_le_bytes).map(i128::from)),
            ('i', 2) => Box::new(self.numbers(i16::from_le_bytes).map(i128::from)),
            ('i', 4) => Box::new(self.numbers(i32::from_le_bytes).map(i128::from)),
            ('i', 8) => Box::new(self.numbers(i64::from_le_bytes).map(i128::from)),
            ('u', 1) => Box::new(self.numbers(u8::from_le_bytes).map(i128::from)),
            ('u', 2) => Box::new(self.numbers(u16::from_le_bytes).map(i128::from)),
            ('u', 4) => Box::new(self.numbers(u32::from_le_bytes).map(i128::from)),
            ('u', 8) => Box::new(self.numbers(u64::from_le_bytes).map(i128::from)),
            _ => return Err(dtype.expected("integers")),
        })
    }

    /// Its texts.
    ///
    /// # Errors
    ///
    /// Another type, or bytes that are no text.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        let dtype = &self.header.dtype;
        let each = self.bytes.chunks_exact(dtype.bytes());
        let no_text = || Problem::array(format!("{}: a name that is no text", dtype.name));
        let text = |bytes: &[u8]| -> Option<String> {
            match dtype.kind {
                'U' => {
                    let (words, _) = bytes.as_chunks::<4>();
                    let point = |&word: &[u8; 4]| match dtype.is_big_endian {
                        true => char::from_u32(u32::from_be_bytes(word)),
                        false => char::from_u32(u32::from_le_bytes(word)),
                    };
                    words.iter().map(point).collect()
                }
                _ => String::from_utf8(bytes.to_vec()).ok(),
            }
        };
        if !"US".contains(dtype.kind) {
            return Err(dtype.expected("texts"));
        }
        // Shorter ones are filled up with zeros.
        each.map(|bytes| Some(text(bytes)?.trim_end_matches('\0').to_owned()))
            .map(|text| text.ok_or_else(no_text))
            .collect()
    }

    /// Its numbers, each of which `of` reads from little-endian bytes.
    fn numbers<const N: usize, T>(&self, of: fn([u8; N]) -> T) -> impl Iterator<Item = T> {
        let is_big_endian = self.header.dtype.is_big_endian;
        let (words, _) = self.bytes.as_chunks::<N>();
        words.iter().map(move |&word| {
            let mut word = word;
            if is_big_endian {
                word.reverse();
            }
            of(word)
        })
    }

    /// The index of number `at`, side by side.
    fn place(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut place: Vec<usize> = self
            .shape()
            .iter()
            .rev()
            .map(|&side| {
                let index = rest % side;
                rest /= side;
                index
            })
            .collect();
        place.reverse();
        place
    }
}

impl Dtype {
    fn expected(&self, what: &str) -> Problem {
        Problem::array(format!("dtype {}: expected {what}", self.name))
    }
}

/// What the tests of arrays share.
#[cfg(test)]
pub(super) mod testing {
    /// The bytes of an array file of version 1.0, as NumPy lays it out.
    pub(in super::super) fn npy(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        file(1, &text, numbers)
    }

    /// The same with any text for a header.
    pub(in super::super) fn file(major: u8, text: &str, numbers: &[u8]) -> Vec<u8> {
        let digits = if major == 1 { 2 } else { 4 };
        let whole = (8 + digits + text.len() + 1).next_multiple_of(64);
        let length = whole - 8 - digits;
        let mut bytes = [super::MAGIC, &[major, 0]].concat();
        bytes.extend(&(length as u32).to_le_bytes()[..digits]);
        bytes.extend(text.as_bytes());
        bytes.resize(whole - 1, b' ');
        bytes.push(b'\n');
        bytes.extend(numbers);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{file, npy};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Array, Failure> {
        Array::read(&mut &bytes[..], bytes.len() as u64)
    }

    #[track_caller]
    fn refused(bytes: &[u8], words: &str) {
        let message = read(bytes).unwrap_err().problem().to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    fn le(floats: &[f32]) -> Vec<u8> {
        floats.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        match read(bytes).unwrap().images().unwrap() {
            Images::Floats(floats) => floats,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn floats_of_both_sizes_and_orders_are_read_to_the_bit() {
        let values = [1.5f32, -0.0, 1e-42, f32::MAX];
        assert_eq!(floats(&npy("<f4", "(2, 2)", &le(&values))), values);
        let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        let read = floats(&npy(">f4", "(2, 2)", &big));
        assert!(
            read.iter()
                .zip(&values)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
        let double = |v: &f32| f64::from(*v);
        let wide: Vec<u8> = values
            .iter()
            .flat_map(|v| double(v).to_le_bytes())
            .collect();
        assert_eq!(floats(&npy("<f8", "(4,)", &wide)), values);
        let wide: Vec<u8> = values
            .iter()
            .flat_map(|v| double(v).to_be_bytes())
            .collect();
        assert_eq!(floats(&npy(">f8", "(4,)", &wide)), values);
    }

    #[test]
    fn bytes_and_integers_of_every_type_are_read() {
        let array = read(&npy("|u1", "(3,)", &[0, 128, 255])).unwrap();
        let integers: Vec<i128> = array.integers().unwrap().collect();
        assert_eq!(integers, [0, 128, 255]);
        assert_eq!(array.images().unwrap(), Images::Bytes(vec![0, 128, 255]));
        let integers = |descr: &str, bytes: &[u8]| {
            let array = read(&npy(descr, "(1,)", bytes)).unwrap();
            array.integers().unwrap().next().unwrap()
        };
        assert_eq!(integers("|i1", &[0xfe]), -2);
        for (size, ones) in [(2, 2), (4, 4), (8, 8)] {
            let mut bytes = vec![0xff; ones];
            assert_eq!(integers(&format!("<i{size}"), &bytes), -1);
            assert_eq!(
                integers(&format!("<u{size}"), &bytes),
                (1 << (8 * size)) - 1
            );
            bytes[0] = 0;
            assert_eq!(
                integers(&format!(">i{size}"), &bytes),
                (1 << (8 * size - 8)) - 1
            );
            assert_eq!(
                integers(&format!(">u{size}"), &bytes),
                (1 << (8 * size - 8)) - 1
            );
        }
    }

    #[test]
    fn names_of_both_kinds_are_read() {
        let points = |text: &str, to: fn(u32) -> [u8; 4]| -> Vec<u8> {
            let mut points: Vec<u32> = text.chars().map(u32::from).collect();
            points.resize(3, 0);
            points.into_iter().flat_map(to).collect()
        };
        for (descr, to) in [
            ("<U3", u32::to_le_bytes as fn(u32) -> [u8; 4]),
            (">U3", u32::to_be_bytes),
        ] {
            let bytes = [points("yes", to), points("né", to), points("", to)].concat();
            let array = read(&npy(descr, "(3,)", &bytes)).unwrap();
            assert_eq!(array.texts().unwrap(), ["yes", "né", ""]);
        }
        let array = read(&npy("|S2", "(2,)", b"a\0bc")).unwrap();
        assert_eq!(array.texts().unwrap(), ["a", "bc"]);
        let broken = read(&npy("|S2", "(1,)", b"\xff\xff")).unwrap();
        assert!(broken.texts().unwrap_err().to_string().contains("no text"));
        let number = read(&npy("|u1", "(1,)", b"x")).unwrap();
        let refused = number.texts().unwrap_err().to_string();
        assert_eq!(refused, "dtype |u1: expected texts");
    }

    #[test]
    fn headers_of_every_version_and_layout_are_read() {
        let values = le(&[7.0]);
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
            "{\"shape\":(1,),\"fortran_order\":False,\"descr\":\"<f4\"}",
            // One number is in both orders.
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }",
            "{'descr': '=f4', 'fortran_order': False, 'shape': (), }",
        ] {
            for major in [1, 2, 3] {
                assert_eq!(floats(&file(major, text, &values)), [7.0], "{text}");
            }
        }
        assert_eq!(
            read(&npy("<f4", "(2, 0, 3)", &[])).unwrap().shape(),
            [2, 0, 3]
        );
    }

    #[test]
    fn what_is_no_plain_array_is_refused_in_one_line() {
        let values = le(&[7.0]);
        refused(b"PK\x03\x04....", "no array that NumPy has written");
        refused(b"", "truncated");
        refused(&file(4, "", &[]), "version 4.0");
        for text in [
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, }",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1, }",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x",
            "{'descr': '<f4\n\u{1b}[2J",
        ] {
            refused(&file(1, text, &values), "not the header of a plain array");
        }
        for descr in ["|O", "<M8[ns]", "f4", "<f0", "", "<f99999999999999999999"] {
            refused(&npy(descr, "(1,)", &values), &format!("dtype {descr}:"));
        }
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
        refused(&file(1, fortran, &le(&[0.0; 4])), "Fortran order");
        let mut long = file(2, "", &[]);
        long[8..12].fill(0xff);
        refused(&long, "a header of 4294967295 bytes");
    }

    #[test]
    fn promises_are_compared_before_memory_is_asked_for() {
        refused(
            &npy("<f4", "(1152921504606846976,)", &[0; 4]),
            "promises 4611686018427388032",
        );
        refused(
            &npy("<f4", "(4294967296, 4294967296)", &[]),
            "too many bytes",
        );
        refused(
            &npy("<f4", "(99999999999999999999999,)", &[]),
            "plain array",
        );
        let whole = npy("<f4", "(3,)", &le(&[1.0, 2.0, 3.0]));
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        let more = [&whole[..], &[0]].concat();
        assert!(matches!(
            read(&more).unwrap_err().problem(),
            Problem::TrailingBytes { .. }
        ));
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_with_its_place() {
        let images = |descr: &str, bytes: &[u8]| {
            let array = read(&npy(descr, "(2, 1, 3)", bytes)).unwrap();
            array.images().unwrap_err().to_string()
        };
        let mut values = [0.5f32; 6];
        values[4] = f32::NAN;
        let message = images("<f4", &le(&values));
        assert!(message.starts_with("[1, 0, 1] is NaN"), "{message}");
        let mut wide = [0.5f64; 6];
        wide[2] = 1e300;
        let wide: Vec<u8> = wide.iter().flat_map(|v| v.to_le_bytes()).collect();
        let message = images("<f8", &wide);
        assert!(message.starts_with("[0, 0, 2] is inf"), "{message}");
        let message = images("<i2", &[0; 12]);
        assert_eq!(message, "dtype <i2: expected uint8, float32 or float64");
        let halves = read(&npy("<f2", "(1,)", &[0; 2])).unwrap();
        assert_eq!(
            halves.integers().err().unwrap().to_string(),
            "dtype <f2: expected integers"
        );
    }
}
