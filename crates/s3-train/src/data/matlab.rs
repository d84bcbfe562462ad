//! The one MATLAB file of ILSVRC2012's development kit, `meta.mat`: which number is which class.
//!
//! A level 5 MAT-file is a header of 128 bytes and elements: 4 bytes kind, 4 bytes length, the
//! bytes, padded to 8 (or, up to 4 bytes, kind and length in two bytes each and the bytes behind
//! them). Kind 15 is a zlib stream of one element, kind 14 an array that is a list of elements. The
//! array `synsets` is a struct whose elements hold their fields one after the other: a number
//! (`ILSVRC2012_ID`), then a text (`WNID`), then others. Read front to back, the number before a
//! WNID is therefore its own; nothing else of the format is looked at.

use std::collections::HashMap;
use std::io::Read;

use flate2::bufread::ZlibDecoder;

/// More than any development kit unpacks to.
const LIMIT: u64 = 1 << 26;

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
const CHARACTERS: u8 = 4;
const CELLS: u8 = 1;
const STRUCT: u8 = 2;

/// The WNID of each `ILSVRC2012_ID`.
///
/// # Errors
///
/// What is wrong with the file.
pub(super) fn synsets(file: &[u8]) -> Result<HashMap<u32, String>, String> {
    let mut found = Found::default();
    let body = file.get(128..).unwrap_or_default();
    walk(body, 0, &mut found).ok_or("no MATLAB file that can be read")?;
    if found.synsets.is_empty() {
        return Err("no `synsets` in it".to_owned());
    }
    Ok(found.synsets)
}

#[derive(Default)]
struct Found {
    number: Option<u32>,
    synsets: HashMap<u32, String>,
}

/// Kind and bytes of the element at the start of `bytes`, and what follows it.
fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let (kind, len) = (word & 0xffff, (word >> 16) as usize);
    if len != 0 {
        return Some((kind, bytes.get(4..8)?.get(..len)?, &bytes[8..]));
    }
    let len = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    let content = bytes.get(8..)?.get(..len)?;
    // A compressed element is not padded.
    let padded = if kind == COMPRESSED {
        len
    } else {
        len.next_multiple_of(8)
    };
    Some((kind, content, bytes.get(8 + padded..).unwrap_or_default()))
}

/// Sees every array of `bytes` in order; `None` if they are damaged.
fn walk(mut bytes: &[u8], depth: usize, found: &mut Found) -> Option<()> {
    // Struct, its fields, cells in them; a damaged file must not exhaust the stack.
    if depth > 8 {
        return None;
    }
    while !bytes.is_empty() {
        let (kind, content, rest) = element(bytes)?;
        match kind {
            // MATLAB packs an array whole; packed ones in packed ones would hold LIMIT each.
            COMPRESSED if depth > 0 => return None,
            COMPRESSED => {
                let mut plain = Vec::new();
                let decoder = ZlibDecoder::new(content);
                decoder.take(LIMIT).read_to_end(&mut plain).ok()?;
                walk(&plain, depth + 1, found)?;
            }
            MATRIX => array(content, depth, found)?,
            _ => {}
        }
        bytes = rest;
    }
    Some(())
}

fn array(bytes: &[u8], depth: usize, found: &mut Found) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    let (_, flags, rest) = element(bytes)?;
    let (_, _dimensions, rest) = element(rest)?;
    let (_, _name, values) = element(rest)?;
    match *flags.first()? {
        CELLS | STRUCT => walk(values, depth + 1, found),
        CHARACTERS => {
            let (kind, content, _) = element(values)?;
            // Kinds 4 and 17: two bytes a character.
            let step = if matches!(kind, 4 | 17) { 2 } else { 1 };
            let text: String = content
                .iter()
                .step_by(step)
                .map(|&b| char::from(b))
                .collect();
            let digits = text.strip_prefix('n').filter(|d| d.len() == 8);
            if digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()))
                && let Some(number) = found.number.take()
            {
                found.synsets.insert(number, text);
            }
            Some(())
        }
        _ => {
            found.number = element(values).and_then(|(kind, content, _)| first(kind, content));
            Some(())
        }
    }
}

/// The first number of an array, if it is a whole one.
fn first(kind: u32, bytes: &[u8]) -> Option<u32> {
    match kind {
        1 | 2 => bytes.first().map(|&b| u32::from(b)),
        3 | 4 => Some(u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?).into()),
        5 | 6 => Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)),
        9 => {
            let value = f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
            (value >= 0.0 && value.fract() == 0.0).then_some(value as u32)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn matrix(class: u8, values: &[u8]) -> Vec<u8> {
        let mut flags = [0; 8];
        flags[0] = class;
        let dimensions = [1i32.to_le_bytes(), 1i32.to_le_bytes()].concat();
        let parts = [
            padded(6, &flags),
            padded(5, &dimensions),
            padded(1, b""),
            values.to_vec(),
        ];
        padded(MATRIX, &parts.concat())
    }

    fn number(n: u16) -> Vec<u8> {
        // As MATLAB stores a double that is a small integer: the short form.
        let [a, b] = n.to_le_bytes();
        matrix(6, &[4, 0, 2, 0, a, b, 0, 0])
    }

    fn text(s: &str) -> Vec<u8> {
        matrix(CHARACTERS, &padded(16, s.as_bytes()))
    }

    /// The file as the development kit has it: compressed, two classes, the second's words first a
    /// WNID that is none.
    fn file() -> Vec<u8> {
        let fields = [
            padded(5, &32u32.to_le_bytes()),
            padded(1, b"ILSVRC2012_ID\0WNID\0words\0"),
            number(1),
            text("n02119789"),
            text("kit fox"),
            number(0),
            matrix(6, &padded(9, b"")),
            number(300),
            text("n02100735"),
            text("setter n12345678"),
            number(2),
        ];
        let plain = matrix(STRUCT, &fields.concat());
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &plain).unwrap();
        let packed = packed.finish().unwrap();
        let head = [
            COMPRESSED.to_le_bytes(),
            (packed.len() as u32).to_le_bytes(),
        ]
        .concat();
        [vec![b' '; 128], head, packed].concat()
    }

    #[test]
    fn the_number_before_a_wnid_is_its_own() {
        let found = synsets(&file()).unwrap();
        assert_eq!(
            (found.len(), &found[&1][..], &found[&300][..]),
            (2, "n02119789", "n02100735")
        );
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = file();
        for cut in 0..whole.len() {
            synsets(&whole[..cut]).unwrap_err();
        }
        for at in 128..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            let _ = synsets(&damaged);
        }
        let inside = |content: &[u8]| {
            let mut packed =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, content).unwrap();
            let packed = packed.finish().unwrap();
            let length = (packed.len() as u32).to_le_bytes();
            [&COMPRESSED.to_le_bytes()[..], &length, &packed].concat()
        };
        let twice = inside(&inside(&number(1)));
        let problem = synsets(&[vec![0; 128], twice].concat()).unwrap_err();
        assert_eq!(problem, "no MATLAB file that can be read");
        let deep = (0..100).fold(Vec::new(), |inner, _| matrix(CELLS, &inner));
        synsets(&[vec![0; 128], deep].concat()).unwrap_err();
    }
}
