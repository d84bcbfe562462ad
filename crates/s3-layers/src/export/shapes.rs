//! The shape of every value of a network.

use s3_kernels::model::Network;

use super::error::Error;

/// One image's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Shape {
    /// Numbers of one image.
    pub(super) fn len(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// The shapes of `network`'s values, the input's first, of a network that was checked.
pub(super) fn shapes(network: &Network) -> Result<Vec<Shape>, Error> {
    let shape = |[height, width, channels]: [usize; 3]| Shape {
        height,
        width,
        channels,
    };
    let shapes = network.shapes().map_err(Error::Invalid)?;
    Ok(shapes.into_iter().map(shape).collect())
}
