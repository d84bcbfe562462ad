//! Factors whose channels share one shift, for registers that are shifted by one count alone.
//!
//! All are shifted by the largest count, `s`, and factors are larger by what their own count lacks:
//!
//! `(v factor + half) >> shift  =  (v factor 2^e + half 2^e) >> s`, `e = s - shift`

use alloc::vec::Vec;

/// The factors of all channels, and what they share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shared {
    /// At most 31.
    pub(crate) shift: u32,
    pub(crate) factor: Vec<i32>,
    /// What rounds.
    pub(crate) half: Vec<i64>,
}

impl Shared {
    /// `None` where a factor is too large for it.
    pub(crate) fn new(factor: &[i32], shift: &[u8]) -> Option<Shared> {
        let most = shift.iter().max().copied().unwrap_or(0);
        let more = |shift: &u8| most - shift;
        let larger = |(&factor, shift): (&i32, _)| {
            let larger = i64::from(factor) << more(shift);
            i32::try_from(larger).ok()
        };
        let half = |shift: &u8| ((1i64 << shift) >> 1) << more(shift);
        Some(Shared {
            shift: most.into(),
            factor: factor
                .iter()
                .zip(shift)
                .map(larger)
                .collect::<Option<_>>()?,
            half: shift.iter().map(half).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Shared;

    #[test]
    fn one_shift_behind_larger_factors_is_each_channels_own() {
        let (factor, shift) = ([3, -20_000, 1, i32::MIN / 64], [0, 15, 7, 20]);
        let shared = Shared::new(&factor, &shift).unwrap();
        for n in 0..4 {
            for v in [-70_000i64, -129, -1, 0, 1, 5, 127, 128, 1 << 20] {
                let half = (1i64 << shift[n]) >> 1;
                let expected = (v * i64::from(factor[n]) + half) >> shift[n];
                let product = v * i64::from(shared.factor[n]) + shared.half[n];
                assert_eq!(product >> shared.shift, expected, "{n} {v}");
            }
        }
    }

    #[test]
    fn factors_that_do_not_fit_share_nothing() {
        assert_eq!(Shared::new(&[1 << 20, 1], &[0, 20]), None);
    }
}
