//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_metrics::{accuracy, confusion, cost, density, finished, paired, record, spec, tensorboard};

fn shared<T: Send + Sync>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<accuracy::Accuracy>();
    shared::<accuracy::AccuracyError>();
    shared::<confusion::Confusion>();
    shared::<cost::ModelCost>();
    shared::<density::Density>();
    shared::<finished::Finished>();
    shared::<paired::Sample>();
    shared::<record::EpochRecord>();
    shared::<record::RecordError>();
    shared::<spec::Spec>();
    shared::<tensorboard::EventWriter<Vec<u8>>>();
    #[cfg(feature = "plot")]
    shared::<s3_metrics::plot::Plot>();
}
