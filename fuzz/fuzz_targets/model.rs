//! `Model::from_bytes` takes any bytes: it refuses them, or they are a network that runs and whose own
//! bytes are read back as the same network.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_kernels::model::{Model, Network};

/// Numbers of an image from which on a run would take too long here.
const LARGE: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::from_bytes(bytes) else {
        return;
    };
    let again = Network::from_bytes(&model.to_bytes());
    assert_eq!(again.as_ref().ok(), Some(model.network()));
    let input = &model.network().input;
    let len = input.height * input.width * input.channels;
    if len <= LARGE {
        let scores = model.run(&vec![0.5; len], 1);
        assert_eq!(scores.map(|s| s.len()).ok(), Some(model.network().classes.len()));
    }
});
