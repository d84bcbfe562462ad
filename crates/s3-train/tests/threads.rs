//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_train::app::App;
use s3_train::config::Config;
use s3_train::data::{DataError, Dataset, Loader};
use s3_train::optim::Optimizer;
use s3_train::run::RunFolder;
use s3_train::status::Status;
use s3_train::trained::Trained;

fn shared<T: Send + Sync>() {}

fn moved<T: Send>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<App>();
    shared::<Config>();
    shared::<DataError>();
    shared::<Dataset>();
    shared::<Optimizer>();
    shared::<RunFolder>();
    shared::<Status>();
    shared::<Trained>();
    // One reader: its batches come through a channel.
    moved::<Loader>();
}
