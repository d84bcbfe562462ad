//! Nodes that compute nothing: numbers of one image are moved to other places of another.

use rayon::prelude::*;
use s3_kernels::model::Size;
use s3_kernels::train::Element;

/// Where the numbers of one input of a node go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Move {
    /// To channel `first` and the following of each pixel, of `made` channels.
    Concat { first: usize, made: usize },
    /// So many rows down and columns to the right, in rows of `width` pixels.
    Pad {
        top: usize,
        left: usize,
        width: usize,
    },
    /// From pixel by pixel to channel by channel.
    Flatten,
}

impl Move {
    /// Calls `f(start in x, start in y, length)` for each run of numbers of an image of size `from`
    /// that stay side by side.
    fn for_each_run(self, from: &Size, mut f: impl FnMut(usize, usize, usize)) {
        let &Size {
            height,
            width,
            channels,
        } = from;
        match self {
            Move::Concat { first, made } => {
                for pixel in 0..from.pixels() {
                    f(pixel * channels, pixel * made + first, channels);
                }
            }
            Move::Pad {
                top,
                left,
                width: made,
            } => {
                for row in 0..height {
                    let to = ((row + top) * made + left) * channels;
                    f(row * width * channels, to, width * channels);
                }
            }
            Move::Flatten => {
                for channel in 0..channels {
                    for pixel in 0..from.pixels() {
                        f(
                            pixel * channels + channel,
                            channel * from.pixels() + pixel,
                            1,
                        );
                    }
                }
            }
        }
    }

    /// Moves the images `x`, each of size `from`, into `y`, of so many images; other numbers of `y`
    /// stay.
    pub(crate) fn forward<T: Element>(self, x: &[T], from: &Size, y: &mut [T]) {
        let made = y.len() / (x.len() / from.len()).max(1);
        let images = y.par_chunks_mut(made.max(1)).zip(x.par_chunks(from.len()));
        images.for_each(|(y, x)| {
            self.for_each_run(from, |from, to, len| {
                y[to..to + len].copy_from_slice(&x[from..from + len]);
            });
        });
    }

    /// Writes the gradient of `x`, all of it, from that of `y`.
    pub(crate) fn backward<T: Element>(self, dy: &[T], from: &Size, dx: &mut [T]) {
        let made = dy.len() / (dx.len() / from.len()).max(1);
        let images = dx
            .par_chunks_mut(from.len())
            .zip(dy.par_chunks(made.max(1)));
        images.for_each(|(dx, dy)| {
            self.for_each_run(from, |to, from, len| {
                dx[to..to + len].copy_from_slice(&dy[from..from + len]);
            });
        });
    }
}
