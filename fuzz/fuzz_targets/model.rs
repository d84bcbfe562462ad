//! `Model::from_bytes` takes any bytes: it refuses them, or they are a network that runs and whose own
//! bytes are read back as the same network.
//!
//! Almost no change of a file leaves its checksum right, so each input is read a second time with the
//! length of its header and its checksum mended: what lies behind them is then reached.
//! `fuzz/seeds/model` holds a small file of each kind to start from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_kernels::model::{Model, Network, Size};
use serde_json::{Map, Value};

/// Numbers of all of a network's values from which on a run would take too long here.
const LARGE: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(bytes) = mended(bytes) {
        check(&bytes);
    }
});

fn check(bytes: &[u8]) {
    let model = match Model::from_bytes(bytes) {
        Ok(model) => model,
        Err(error) => return assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    };
    let network = model.network();
    let again = Network::from_bytes(&model.to_bytes());
    assert_eq!(again.as_ref().ok(), Some(network));
    let sizes = network.sizes().expect("a model's network is checked");
    if sizes.iter().map(Size::len).sum::<usize>() <= LARGE {
        let scores = model.run(&vec![0.5; sizes[0].len()], 1);
        assert_eq!(scores.map(|s| s.len()).ok(), Some(network.classes.len()));
    }
}

/// The file with the length and the checksum that it should have; `None` where its header is no JSON.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.get(8..)?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Map<String, Value>>();
    let mut header = values.next()?.ok()?;
    let read = values.byte_offset();
    let data = rest.get(read.next_multiple_of(8)..)?;
    let metadata = header.get_mut("__metadata__")?.as_object_mut()?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(metadata.get("s3.config")?.as_str()?.as_bytes());
    hash.update(data);
    let crc32 = format!("{:08x}", hash.finalize());
    metadata.insert("s3.crc32".into(), Value::String(crc32));
    let json = serde_json::to_vec(&header).ok()?;
    let length = (json.len() as u64).to_le_bytes();
    Some([&length[..], &json, data].concat())
}
