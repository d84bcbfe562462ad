//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_quant::{Built, ByRole, Entry, Error};

fn shared<T: Send + Sync>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<Built>();
    shared::<ByRole>();
    shared::<Entry>();
    shared::<Error>();
}
