//! Loops over f32 in plain Rust, which `arch` compiles once for each instruction set.

/// The operands of one call: some pixels of all channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip<'a> {
    /// Images with their border.
    pub(crate) x: &'a [f32],
    /// Offset of the window of each pixel.
    pub(crate) windows: &'a [usize],
    /// Offset of each tap from the window.
    pub(crate) taps: &'a [usize],
    /// `[taps][channels]`.
    pub(crate) weights: &'a [f32],
    /// Channels.
    pub(crate) channels: usize,
}

/// Sums of each pixel and channel, `[windows][channels]`, in the order of the definition.
#[inline(always)]
pub(crate) fn depthwise(strip: &Strip<'_>, y: &mut [f32]) {
    for (&window, y) in strip.windows.iter().zip(y.chunks_exact_mut(strip.channels)) {
        let (wide, rest) = y.as_chunks_mut::<64>();
        for (i, y) in wide.iter_mut().enumerate() {
            *y = block(strip, window, 64 * i);
        }
        let first = strip.channels - rest.len();
        let (narrow, rest) = rest.as_chunks_mut::<16>();
        for (i, y) in narrow.iter_mut().enumerate() {
            *y = block(strip, window, first + 16 * i);
        }
        let first = strip.channels - rest.len();
        for (i, y) in rest.iter_mut().enumerate() {
            [*y] = block(strip, window, first + i);
        }
    }
}

/// The sums of `N` neighbouring channels of one pixel.
#[inline(always)]
fn block<const N: usize>(strip: &Strip<'_>, window: usize, first: usize) -> [f32; N] {
    let load = |from: &[f32], at: usize| -> [f32; N] {
        let mut values = [0.0; N];
        values.copy_from_slice(&from[at..at + N]);
        values
    };
    let product = |tap: usize| {
        let x = load(strip.x, window + strip.taps[tap] + first);
        let w = load(strip.weights, tap * strip.channels + first);
        let mut product = [0.0; N];
        for c in 0..N {
            product[c] = w[c] * x[c];
        }
        product
    };
    let mut sums = [0.0; N];
    for tap in (0..strip.taps.len()).step_by(3) {
        let mut t = product(tap);
        for tap in tap + 1..(tap + 3).min(strip.taps.len()) {
            let next = product(tap);
            for c in 0..N {
                t[c] += next[c];
            }
        }
        for c in 0..N {
            sums[c] += t[c];
        }
    }
    sums
}
