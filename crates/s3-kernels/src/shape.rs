//! The shape of a 2-D convolution, and the lengths that follow from it.
//!
//! `out = floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1`, in height and width
//! alike.

use crate::error::Error;

/// Shape of a 2-D convolution. Activations are NHWC; every field defaults to 1, `padding` to 0.
///
/// ```
/// use s3_kernels::ConvShape;
///
/// let shape = ConvShape {
///     batch: 8, height: 224, width: 224, in_channels: 3, out_channels: 64,
///     kernel_h: 7, kernel_w: 7, stride: 2, padding: 3,
///     ..ConvShape::default()
/// };
/// assert_eq!(shape.out_height(), Ok(112));
/// assert_eq!(shape.weight_len(), Ok(64 * 3 * 7 * 7));
/// assert_eq!(shape.output_len(), Ok(8 * 112 * 112 * 64));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Kernel height.
    pub kernel_h: usize,
    /// Kernel width.
    pub kernel_w: usize,
    /// Step between windows, in both directions.
    pub stride: usize,
    /// Zeros added on each of the four sides.
    pub padding: usize,
    /// Distance between neighbouring kernel taps, in both directions.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for ConvShape {
    fn default() -> Self {
        ConvShape {
            batch: 1,
            height: 1,
            width: 1,
            in_channels: 1,
            out_channels: 1,
            kernel_h: 1,
            kernel_w: 1,
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
    }
}

impl ConvShape {
    /// Output height in pixels.
    ///
    /// # Errors
    ///
    /// [`Error::KernelTooLarge`] where no window fits; [`Error::Unsupported`] where the stride,
    /// the dilation or the kernel is 0; [`Error::Overflow`].
    pub fn out_height(&self) -> Result<usize, Error> {
        self.out_length(self.height, self.kernel_h)
    }

    /// Output width in pixels.
    ///
    /// # Errors
    ///
    /// As [`ConvShape::out_height`].
    pub fn out_width(&self) -> Result<usize, Error> {
        self.out_length(self.width, self.kernel_w)
    }

    /// Elements of the input: `batch * height * width * in_channels`.
    ///
    /// # Errors
    ///
    /// [`Error::Overflow`].
    pub fn input_len(&self) -> Result<usize, Error> {
        product(
            "input",
            [self.batch, self.height, self.width, self.in_channels],
        )
    }

    /// Elements of the weight: `out_channels * in_channels / groups * kernel_h * kernel_w`.
    ///
    /// # Errors
    ///
    /// [`Error::Groups`] where `groups` is 0 or does not divide both channel counts;
    /// [`Error::Overflow`].
    pub fn weight_len(&self) -> Result<usize, Error> {
        for channels in [self.in_channels, self.out_channels] {
            if self.groups == 0 || !channels.is_multiple_of(self.groups) {
                return Err(Error::Groups {
                    expected: self.groups,
                    got: channels,
                });
            }
        }
        product(
            "weight",
            [
                self.out_channels,
                self.in_channels / self.groups,
                self.kernel_h,
                self.kernel_w,
            ],
        )
    }

    /// Elements of the output: `batch * out_height * out_width * out_channels`.
    ///
    /// # Errors
    ///
    /// As [`ConvShape::out_height`].
    pub fn output_len(&self) -> Result<usize, Error> {
        product(
            "output",
            [
                self.batch,
                self.out_height()?,
                self.out_width()?,
                self.out_channels,
            ],
        )
    }

    fn out_length(&self, input: usize, kernel: usize) -> Result<usize, Error> {
        for (what, value) in [
            ("stride", self.stride),
            ("dilation", self.dilation),
            ("kernel", kernel),
        ] {
            if value == 0 {
                return Err(Error::Unsupported {
                    what,
                    expected: "at least 1",
                    got: 0,
                });
            }
        }
        let overflow = Error::Overflow {
            what: "padded input",
        };
        let padded = self
            .padding
            .checked_mul(2)
            .and_then(|p| p.checked_add(input))
            .ok_or(overflow.clone())?;
        let covered = self
            .dilation
            .checked_mul(kernel - 1)
            .and_then(|c| c.checked_add(1))
            .ok_or(overflow)?;
        if covered > padded {
            return Err(Error::KernelTooLarge {
                expected: padded,
                got: covered,
            });
        }
        Ok((padded - covered) / self.stride + 1)
    }
}

fn product(what: &'static str, factors: [usize; 4]) -> Result<usize, Error> {
    factors
        .iter()
        .try_fold(1usize, |p, &f| p.checked_mul(f))
        .ok_or(Error::Overflow { what })
}

#[cfg(test)]
mod tests {
    use super::ConvShape;
    use crate::Error;

    #[test]
    fn default_is_one_everywhere_and_gives_one_output() {
        let shape = ConvShape::default();
        let lens = (shape.input_len(), shape.weight_len(), shape.output_len());
        assert_eq!(lens, (Ok(1), Ok(1), Ok(1)));
    }

    #[test]
    fn output_counts_the_windows_that_fit() {
        for height in 1..12 {
            for kernel_h in 1..5 {
                for stride in 1..4 {
                    for dilation in 1..4 {
                        for padding in 0..3 {
                            let shape = ConvShape {
                                height,
                                kernel_h,
                                stride,
                                dilation,
                                padding,
                                ..Default::default()
                            };
                            let last = |start: usize| {
                                start + dilation * (kernel_h - 1) < height + 2 * padding
                            };
                            let count = (0..40).map(|i| i * stride).filter(|&s| last(s)).count();
                            match shape.out_height() {
                                Ok(out) => assert_eq!(out, count, "{shape:?}"),
                                Err(_) => assert_eq!(count, 0, "{shape:?}"),
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let big = usize::MAX / 2;
        let shape = ConvShape {
            height: big,
            width: big,
            ..Default::default()
        };
        assert_eq!(shape.input_len(), Err(Error::Overflow { what: "input" }));
        let shape = ConvShape {
            padding: usize::MAX,
            ..Default::default()
        };
        assert_eq!(
            shape.out_width(),
            Err(Error::Overflow {
                what: "padded input"
            })
        );
        let shape = ConvShape {
            stride: 0,
            ..Default::default()
        };
        assert_eq!(
            shape.out_width(),
            Err(Error::Unsupported {
                what: "stride",
                expected: "at least 1",
                got: 0
            })
        );
        let shape = ConvShape {
            in_channels: 6,
            out_channels: 4,
            groups: 3,
            ..Default::default()
        };
        assert_eq!(
            shape.weight_len(),
            Err(Error::Groups {
                expected: 3,
                got: 4
            })
        );
    }
}
