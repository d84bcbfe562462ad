//! Requantization to u8 of a network's layers: a factor and a shift a channel, with a shortcut of
//! its own factor. [`Then::Requant`](crate::model::Then) is the definition.
//!
//! # In i32
//!
//! A result is clamped to 0..=255, so a sum `v = acc + bias` beyond some limit may be replaced by
//! the limit: with `T = 2^16 + 255 |residual_factor| + |offset| + 2^(FRACTION-1)` and
//! `L = ceil(T 2^shift / |factor|)`, every `|v| >= L` has `|a| >= T`, hence the same result as
//! `v = ±L`. After that clamp the product is below `T 2^shift + |factor|`, and where that fits i32
//! the factor's shifts are done in i32 lanes; the product of
//! [`Activations::U8`](crate::model::Activations) has 64 bits in any case. Tables whose numbers do
//! not fit go value by value through i64.

use alloc::vec::Vec;

use super::sealed::{self, Narrow};
use super::terms::terms;
use super::{Epilogue, Place};
use crate::Error;
use crate::error::check_len;
use crate::micro::bytes::{AccRow, NR};

/// Fraction bits of the sum in [`Then::Requant`](crate::model::Then).
pub const FRACTION: u32 = 8;

/// Terms of a factor in [`Activations::U8Shift`](crate::model::Activations), at most.
pub const MAX_TERMS: u32 = 4;

/// [`MAX_TERMS`].
pub(crate) const TERMS: usize = MAX_TERMS as usize;

/// A count of places that leaves nothing of 32 bits: the term of a factor that has fewer.
const NOTHING: i32 = 32;

/// The numbers of [`Then::Requant`](crate::model::Then).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requant {
    /// Added to each channel's sum.
    pub bias: Vec<i32>,
    /// Factor of each channel.
    pub factor: Vec<i32>,
    /// Places to the right after it, 0 to 31.
    pub shift: Vec<u8>,
    /// What one unit of the residual is worth, in units of `2^-FRACTION` of the result; 0 without
    /// one.
    pub residual_factor: i32,
    /// The zero point of the result less that of the residual, in the same units.
    pub offset: i32,
    /// The result that stands for the real number 0.
    pub zero_point: u8,
    /// The largest result: what stands for 6 behind an [`Act::Relu6`](crate::model::Act), else 255.
    pub high: u8,
}

/// One layer's numbers as the stores read them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequantTable {
    channels: usize,
    /// Of each channel, as the following; of few channels again and again, up to [`NR`] numbers.
    pub(crate) bias: Vec<i32>,
    pub(crate) factor: Vec<i32>,
    pub(crate) shift: Vec<u8>,
    /// What `acc + bias` is clamped to on both sides.
    pub(crate) limit: Vec<i32>,
    /// Only where factors are sums of shifts: the places of each channel's terms, term by term.
    pub(crate) places: Option<[Vec<i32>; TERMS]>,
    /// -1 for a term that is taken away, else 1.
    pub(crate) signs: [Vec<i32>; TERMS],
    pub(crate) residual_factor: i32,
    /// The terms of the residual's factor: places, and whether it is taken away.
    pub(crate) residual_terms: Vec<(u8, bool)>,
    /// The offset with what rounds.
    pub(crate) offset: i64,
    pub(crate) low: u8,
    pub(crate) high: u8,
    /// Whether i32 lanes hold every step.
    narrow: bool,
    /// The factors where all channels share a shift.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) shared: Option<super::shared::Shared>,
}

impl RequantTable {
    /// The table of `requant`, whose sums do not exceed `bound`; with `by_shifts` it multiplies
    /// nothing.
    ///
    /// The lengths agree, shifts are at most 31, no factor is `i32::MIN`, and the clamp's ends are
    /// in order.
    pub(crate) fn new(
        requant: &Requant,
        relu: bool,
        residual: bool,
        by_shifts: bool,
        bound: i64,
    ) -> RequantTable {
        let channels = requant.bias.len();
        let times = (NR / channels.max(1)).max(1);
        let most = |factor: i32| 255 * i64::from(factor).abs();
        let added = i64::from(requant.offset).abs()
            + (1 << (FRACTION - 1))
            + if residual {
                most(requant.residual_factor)
            } else {
                0
            };
        let target = (1i64 << (8 + FRACTION)) + added;
        let (mut limit, mut narrow) = (Vec::with_capacity(channels), true);
        for n in 0..channels {
            let factor = i64::from(requant.factor[n]).abs();
            let sum = bound + i64::from(requant.bias[n]).abs();
            // T 2^31 is below 2^63: T is below 2^41 at most, so saturate.
            let wide = target.saturating_mul(1 << requant.shift[n]);
            let reached = if factor == 0 {
                0
            } else {
                (wide - 1) / factor + 1
            };
            let least = reached.min(sum);
            limit.push(least.min(i64::from(i32::MAX)) as i32);
            let half = (1i64 << requant.shift[n]) >> 1;
            let product = least.saturating_mul(factor).saturating_add(half);
            let fits = |value: i64| value <= i64::from(i32::MAX);
            narrow &= fits(sum) && fits((product >> requant.shift[n]) + 1 + added);
            narrow &= !by_shifts || fits(product);
        }
        let mut places = [const { Vec::new() }; TERMS];
        let mut signs = [const { Vec::new() }; TERMS];
        if by_shifts {
            for &factor in &requant.factor {
                let mut all = terms(factor);
                for (places, signs) in places.iter_mut().zip(&mut signs) {
                    let term = all.next();
                    places.push(term.map_or(NOTHING, |(place, _)| place.into()));
                    signs.push(if term.is_some_and(|(_, negative)| negative) {
                        -1
                    } else {
                        1
                    });
                }
            }
        }
        RequantTable {
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            shared: super::shared::Shared::new(
                &requant.factor.repeat(times),
                &requant.shift.repeat(times),
            ),
            channels,
            bias: requant.bias.repeat(times),
            factor: requant.factor.repeat(times),
            shift: requant.shift.repeat(times),
            limit: limit.repeat(times),
            places: by_shifts.then_some(places.map(|places| places.repeat(times))),
            signs: signs.map(|signs| signs.repeat(times)),
            residual_factor: requant.residual_factor,
            residual_terms: terms(requant.residual_factor).collect(),
            offset: i64::from(requant.offset) + (1 << (FRACTION - 1)),
            low: if relu { requant.zero_point } else { 0 },
            high: requant.high,
            narrow,
        }
    }

    /// Whether the stores of an instruction set may be used.
    #[cfg(test)]
    pub(crate) fn is_narrow(&self) -> bool {
        self.narrow
    }

    /// `v factor`.
    fn times(&self, v: i64, channel: usize) -> i64 {
        match &self.places {
            None => v.saturating_mul(self.factor[channel].into()),
            Some(places) => by_terms(
                v,
                places
                    .iter()
                    .zip(&self.signs)
                    .filter_map(|(places, signs)| {
                        let place = places[channel];
                        (place != NOTHING).then_some((place as u8, signs[channel] < 0))
                    }),
            ),
        }
    }

    /// `residual residual_factor`.
    fn times_residual(&self, residual: i64) -> i64 {
        match self.places {
            None => residual * i64::from(self.residual_factor),
            Some(_) => by_terms(residual, self.residual_terms.iter().copied()),
        }
    }
}

/// `v` times a factor, by shifts and additions. The product fits; where a sum on the way does not,
/// it wraps twice.
fn by_terms(v: i64, terms: impl Iterator<Item = (u8, bool)>) -> i64 {
    terms.fold(0i64, |sum, (place, negative)| {
        let shifted = v << place;
        match negative {
            true => sum.wrapping_sub(shifted),
            false => sum.wrapping_add(shifted),
        }
    })
}

/// The epilogue: a table and the residual, in the output's layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requantize<'a> {
    pub(crate) table: &'a RequantTable,
    pub(crate) residual: Option<&'a [u8]>,
}

impl Epilogue for Requantize<'_> {
    fn value(&self, acc: i32, channel: usize, index: usize) -> u8 {
        let table = self.table;
        let shift = table.shift[channel];
        let v = i64::from(acc) + i64::from(table.bias[channel]);
        // No factor is i32::MIN: the product and its rounding stay below 2^63.
        let a = (table.times(v, channel) + ((1i64 << shift) >> 1)) >> shift;
        let residual = self
            .residual
            .map_or(0, |r| table.times_residual(r[index].into()));
        // Saturation changes nothing: it happens far beyond what the clamp keeps.
        let sum = a.saturating_add(residual).saturating_add(table.offset);
        (sum >> FRACTION).clamp(table.low.into(), table.high.into()) as u8
    }
}

impl sealed::Epilogue for Requantize<'_> {
    type Output = u8;

    fn prepare(&self, rows: usize, channels: usize, _: i64) -> Result<Narrow, Error> {
        check_len("bias", channels, self.table.channels)?;
        if let Some(residual) = self.residual {
            check_len("residual", rows * channels, residual.len())?;
        }
        Ok(Narrow(self.table.narrow))
    }

    fn repeats(&self) -> bool {
        true
    }
}

impl Requantize<'_> {
    /// Stores a tile where the table is narrow and multiplies: only the product has 64 bits.
    pub(crate) fn store_narrow(&self, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        let table = self.table;
        let n = place.column..place.column + place.columns;
        let (bias, limit) = (&table.bias[n.clone()], &table.limit[n.clone()]);
        let (factor, shift) = (&table.factor[n.clone()], &table.shift[n]);
        let (low, high) = (i32::from(table.low), i32::from(table.high));
        // Narrow: it fits.
        let offset = table.offset as i32;
        for (r, row) in tile.iter().enumerate() {
            let residual = self
                .residual
                .map(|all| &all[place.index(r)..][..bias.len()]);
            for (c, y) in y[place.stored(r)].iter_mut().enumerate() {
                let v = (row.0[c] + bias[c]).clamp(-limit[c], limit[c]);
                let half = (1i64 << shift[c]) >> 1;
                let a = (i64::from(v) * i64::from(factor[c]) + half) >> shift[c];
                let residual = residual.map_or(0, |r| i32::from(r[c]) * table.residual_factor);
                let sum = a as i32 + residual + offset;
                *y = (sum >> FRACTION).clamp(low, high) as u8;
            }
        }
    }
}
