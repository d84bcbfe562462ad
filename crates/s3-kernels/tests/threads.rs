//! The main types may be shared between threads and moved to another: compiling is the test.

use s3_kernels::{BitWidth, ConvShape, Error, Isa, Kernel, PackedMatrix};

fn shared<T: Send + Sync>() {}

#[test]
fn the_main_types_are_send_and_sync() {
    shared::<BitWidth>();
    shared::<ConvShape>();
    shared::<Error>();
    shared::<Isa>();
    shared::<Kernel>();
    shared::<PackedMatrix>();
    #[cfg(feature = "model")]
    {
        use s3_kernels::{model, zoo};
        shared::<model::Error>();
        shared::<model::Graph<zoo::Plan>>();
        shared::<model::Model>();
        shared::<model::Network>();
        shared::<zoo::Entry>();
        shared::<zoo::Error>();
    }
    #[cfg(feature = "train")]
    {
        use s3_kernels::train;
        shared::<train::BatchNormSaved<f32>>();
        shared::<train::Bf16>();
        shared::<train::PoolShape>();
    }
    #[cfg(feature = "peak")]
    shared::<s3_kernels::peak::Memory>();
}
