//! `checkpoint::from_bytes` takes any bytes: it refuses them in one line, or they are a checkpoint whose own
//! bytes are read back as the same one.
//!
//! Almost no change of a file leaves its checksum right, so each input is read a second time with the length of
//! its header and its checksum mended. `fuzz/seeds/checkpoint` holds a small file to start from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_train::checkpoint::{from_bytes, to_bytes};

/// What stands before the eight digits of the checksum.
const CHECKSUM: &[u8] = br#"\"crc32\":\""#;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(bytes) = mended(bytes) {
        check(&bytes);
    }
});

fn check(bytes: &[u8]) {
    let (header, tensors) = match from_bytes(bytes) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let text = format!("{error:#}");
            assert_eq!(text.lines().count(), 1, "{text}");
            return;
        }
    };
    // Values that are not finite are read and not written.
    let Ok(again) = to_bytes(&header, &tensors) else {
        return;
    };
    let (same, values) = from_bytes(&again).expect("its own bytes");
    let text = |header| serde_json::to_string(header).expect("JSON");
    assert_eq!(text(&same), text(&header));
    assert_eq!(values.len(), tensors.len());
    for (name, tensor) in &tensors {
        assert_eq!(values[name].dims(), tensor.dims());
    }
}

/// The file with the length and the checksum that it should have; `None` where its header is no JSON.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.get(8..)?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    let length = values.byte_offset().next_multiple_of(8);
    let mut file = [&(length as u64).to_le_bytes()[..], rest].concat();
    let at = file.windows(CHECKSUM.len()).position(|w| w == CHECKSUM)? + CHECKSUM.len();
    let digits = at..at + 8;
    file.get_mut(digits.clone())?.copy_from_slice(b"00000000");
    let sum = format!("{:08x}", crc32fast::hash(&file));
    file[digits].copy_from_slice(sum.as_bytes());
    Some(file)
}
