//! Every instruction set against [`Epilogue::value`], over whole tiles of extreme accumulators.

use alloc::vec;
use alloc::vec::Vec;

use super::sealed::Epilogue as _;
use super::*;
use crate::micro::bytes::NR;

/// Accumulators at every kind of tie and at the ends of `-bound ..= bound`.
fn accumulators(bound: i32, rows: usize) -> Vec<AccRow> {
    let value = |i: usize| match i % 7 {
        0 => bound,
        1 => -bound,
        2 => i as i32 - 100,
        3 => (1 << (i % 31)) / 2 * 3,
        4 => -(1 << (i % 31)) / 2 * 3,
        5 => bound - i as i32,
        _ => (i as i32).wrapping_mul(0x9e37_79b9_u32 as i32),
    };
    let clamped = |i| value(i).clamp(-bound, bound);
    (0..rows)
        .map(|r| AccRow(core::array::from_fn(|c| clamped(r * 67 + c))))
        .collect()
}

/// Compares what every instruction set stores, at several places of an output, with `value`.
fn check<E: Epilogue>(epilogue: &E, rows: usize, channels: usize, bound: i32) {
    let narrow = epilogue.prepare(rows, channels, i64::from(bound)).unwrap();
    for isa in Isa::available() {
        for (first, row, count) in [(0, 0, rows), (1, 1, rows - 1), (0, 2, rows - 2)] {
            let mut y = vec![E::Output::default(); (rows - first) * channels];
            let mut expected = y.clone();
            let tile = accumulators(bound, count);
            for column in (0..channels).step_by(NR) {
                let columns = (channels - column).min(NR);
                let steps = |row| Steps {
                    first: row * channels + column,
                    step: channels,
                };
                let place = Place {
                    column,
                    columns,
                    whole: steps(row),
                    slice: steps(row - first),
                };
                epilogue.store(isa, narrow, &tile, &place, &mut y);
                for (r, acc) in tile.iter().enumerate() {
                    for c in 0..columns {
                        let index = (row + r) * channels + column + c;
                        let value = epilogue.value(acc.0[c], column + c, index);
                        expected[index - first * channels] = value;
                    }
                }
            }
            assert!(y == expected, "{isa:?} {narrow:?} {channels} channels");
        }
    }
}

#[test]
fn every_instruction_set_stores_the_value() {
    let rows = 6;
    for channels in [1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 128] {
        let shift: Vec<u8> = (0..channels).map(|n| (n * 5 % 32) as u8).collect();
        let values: Vec<u8> = (0..rows * channels).map(|i| (i * 37) as u8).collect();
        for (bound, most, residual_shift) in [
            (1000, 10, 2),
            (i32::MAX >> 1, 1 << 20, 20),
            (i32::MAX, i32::MAX, 31),
        ] {
            let bias: Vec<i32> = (0..channels)
                .map(|n| if n % 2 == 0 { most } else { -most })
                .collect();
            for residual in [
                None,
                Some(Residual {
                    values: &values,
                    shift: residual_shift,
                }),
            ] {
                let requant = ShiftRequant {
                    bias: &bias,
                    shift: &shift,
                    residual,
                };
                check(&requant, rows, channels, bound);
            }
            check(&Raw, rows, channels, bound);
            let scale: Vec<f32> = (0..channels).map(|n| 0.1 - n as f32 * 0.003).collect();
            let bias: Vec<f32> = (0..channels).map(|n| 1.5 * n as f32).collect();
            let shortcut: Vec<f32> = values.iter().map(|&v| f32::from(v) * -0.7).collect();
            for (relu, residual) in [(false, None), (true, None), (true, Some(&shortcut[..]))] {
                let scale = Scale {
                    scale: &scale,
                    bias: &bias,
                    relu,
                    residual,
                };
                check(&scale, rows, channels, bound);
            }
        }
    }
}

#[test]
fn sums_that_could_leave_i32_are_not_called_narrow() {
    let requant = ShiftRequant {
        bias: &[i32::MAX - 10],
        shift: &[4],
        residual: None,
    };
    assert_eq!(requant.prepare(1, 1, 2), Ok(Narrow(true)));
    assert_eq!(requant.prepare(1, 1, 3), Ok(Narrow(false)));
    assert_eq!(requant.value(i32::MAX, 0, 0), 255);
    assert_eq!(requant.value(i32::MIN, 0, 0), 0);
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let good = ShiftRequant {
        bias: &[0, 0],
        shift: &[0, 31],
        residual: None,
    };
    assert!(good.prepare(3, 2, 1).is_ok());
    let length = |what, expected, got| {
        Err(Error::Length {
            what,
            expected,
            got,
        })
    };
    assert_eq!(good.prepare(3, 1, 1), length("bias", 1, 2));
    let short = ShiftRequant {
        shift: &[0],
        ..good
    };
    assert_eq!(short.prepare(3, 2, 1), length("shift", 2, 1));
    let residual = Some(Residual {
        values: &[0; 5],
        shift: 0,
    });
    let short = ShiftRequant { residual, ..good };
    assert_eq!(short.prepare(3, 2, 1), length("residual", 6, 5));
    let unsupported = |what, got| {
        Err(Error::Unsupported {
            what,
            expected: "0 to 31",
            got,
        })
    };
    let far = ShiftRequant {
        shift: &[0, 32],
        ..good
    };
    assert_eq!(far.prepare(3, 2, 1), unsupported("shift", 32));
    let residual = Some(Residual {
        values: &[0; 6],
        shift: 40,
    });
    let far = ShiftRequant { residual, ..good };
    assert_eq!(far.prepare(3, 2, 1), unsupported("residual shift", 40));
}

#[cfg(feature = "model")]
mod requant {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::check;
    use crate::epilogue::Epilogue;
    use crate::epilogue::requant::{FRACTION, Requant};
    use crate::epilogue::requant::{RequantTable, Requantize};

    /// [`Then::Requant`](crate::model::Then) in integers that hold everything.
    fn definition(r: &Requant, relu: bool, acc: i32, n: usize, residual: Option<u8>) -> u8 {
        let round = (1i128 << r.shift[n]) >> 1;
        let v = (i128::from(acc) + i128::from(r.bias[n])) * i128::from(r.factor[n]);
        let residual = i128::from(residual.unwrap_or(0)) * i128::from(r.residual_factor);
        let offset = i128::from(r.offset) + (1 << (FRACTION - 1));
        let y = (((v + round) >> r.shift[n]) + residual + offset) >> FRACTION;
        y.clamp(if relu { r.zero_point.into() } else { 0 }, r.high.into()) as u8
    }

    #[test]
    fn every_instruction_set_requantizes_as_the_definition_says() {
        let rows = 6;
        let (mut narrow, mut wide) = (0, 0);
        for channels in [1, 8, 17, 64, 100] {
            let values: Vec<u8> = (0..rows * channels).map(|i| (i * 37) as u8).collect();
            for case in 0..36 {
                // Ordinary numbers, then the largest there are.
                let (bound, most, factor, shift) = match case % 6 {
                    0 => (5000, 3000, 3 << 10, 8),
                    1 => (4_700_000, 100_000, 0b1010_0100_0001, 12),
                    2 => (i32::MAX >> 1, 1 << 20, 0x5001_0001, 31),
                    3 => (i32::MAX >> 2, 5, 1, 0),
                    4 => (1000, i32::MAX, i32::MAX, 31),
                    _ => (i32::MAX, i32::MAX, -i32::MAX, 3),
                };
                let bias = |n| if n % 2 == 0 { most } else { -most };
                let with_residual = case % 4 < 2;
                let residual_factor = match (with_residual, case % 3) {
                    (false, _) => 0,
                    (true, 0) => 0b101_0001,
                    (true, 1) => -(1 << 14) - 1,
                    (true, _) => i32::MAX,
                };
                let requant = Requant {
                    bias: (0..channels).map(bias).collect(),
                    factor: (0..channels)
                        .map(|n| [factor, -factor, factor >> 3, 0][n % 4])
                        .collect(),
                    shift: vec![shift; channels],
                    residual_factor,
                    offset: [0, -70_000, i32::MAX, i32::MIN][case / 9],
                    zero_point: [0, 3, 255][case % 3],
                    high: [255, 200, 255][case % 3],
                };
                for (relu, by_shifts) in [(true, false), (false, true), (true, true)] {
                    let table =
                        RequantTable::new(&requant, relu, with_residual, by_shifts, bound.into());
                    *if table.is_narrow() {
                        &mut narrow
                    } else {
                        &mut wide
                    } += 1;
                    let epilogue = Requantize {
                        table: &table,
                        residual: with_residual.then_some(&values),
                    };
                    // Five terms are not among the shifts that a network may have.
                    let terms = requant
                        .factor
                        .iter()
                        .map(|&f| crate::epilogue::terms::terms(f).count());
                    if by_shifts && terms.max() > Some(4) {
                        continue;
                    }
                    check(&epilogue, rows, channels, bound);
                    for row in super::accumulators(bound, rows) {
                        for (n, &value) in values.iter().enumerate().take(channels.min(64)) {
                            let residual = with_residual.then_some(value);
                            let expected = definition(&requant, relu, row.0[n], n, residual);
                            let got = epilogue.value(row.0[n], n, n);
                            assert_eq!(got, expected, "{case} {n} {}", row.0[n]);
                        }
                    }
                }
            }
        }
        assert!(narrow > 100 && wide > 100, "{narrow} {wide}");
    }
}
