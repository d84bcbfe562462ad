//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_layers::{BatchNorm, Net, QuantConv2d, QuantLayer, QuantLinear, export};

fn shared<T: Send + Sync>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<BatchNorm>();
    shared::<Net>();
    shared::<QuantConv2d>();
    shared::<QuantLayer>();
    shared::<QuantLinear>();
    shared::<export::CSource>();
    shared::<export::Error>();
}
