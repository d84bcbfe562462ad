//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_core::s3::S3;
use s3_core::{Codes, LayerSpec, Method, Params, Quantizer};

fn shared<T: Send + Sync>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<Codes>();
    shared::<LayerSpec>();
    shared::<Params>();
    shared::<S3>();
    shared::<Box<dyn Method>>();
    shared::<Box<dyn Quantizer>>();
}
