//! Packing, the byte format, and everything they refuse.

use proptest::prelude::*;
use s3_kernels::{BitWidth, Error, PackedMatrix};

const HEADER: usize = 24;

/// Levels of `bit_width`, chosen by the bytes of `seed` in turn.
fn levels(bit_width: BitWidth, len: usize, seed: u64) -> Vec<i8> {
    let all = bit_width.levels();
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            all[(state >> 33) as usize % all.len()]
        })
        .collect()
}

fn width() -> impl Strategy<Value = BitWidth> {
    prop::sample::select(BitWidth::ALL.to_vec())
}

proptest! {
    #[test]
    fn packing_then_unpacking_is_identity(
        bit_width in width(), rows in 0usize..140, cols in 0usize..40, seed: u64,
    ) {
        let levels = levels(bit_width, rows * cols, seed);
        let w = PackedMatrix::from_levels(&levels, rows, cols, bit_width).unwrap();
        prop_assert_eq!(w.to_levels(), levels);
        let bytes = w.to_bytes();
        prop_assert_eq!(bytes.len(), w.packed_len());
        let bits = rows * cols * bit_width.bits() as usize;
        prop_assert_eq!(bytes.len(), HEADER + bits.div_ceil(8));
        prop_assert_eq!(PackedMatrix::from_bytes(&bytes), Ok(w));
    }

    #[test]
    fn any_bytes_are_read_back_as_they_were_or_refused(bytes: Vec<u8>) {
        if let Ok(w) = PackedMatrix::from_bytes(&bytes) {
            prop_assert_eq!(w.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_flipped_bit_is_another_matrix_or_an_error(
        bit_width in width(), rows in 1usize..9, cols in 1usize..9, seed: u64,
        at: prop::sample::Index,
    ) {
        let levels = levels(bit_width, rows * cols, seed);
        let w = PackedMatrix::from_levels(&levels, rows, cols, bit_width).unwrap();
        let mut bytes = w.to_bytes();
        let at = at.index(bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(other) = PackedMatrix::from_bytes(&bytes) {
            prop_assert_ne!(&other, &w);
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }
}

#[test]
fn the_bytes_are_those_of_version_1_on_every_machine() {
    let w = PackedMatrix::from_levels(&[4, 0, -1, -4, 2, 1], 2, 3, BitWidth::B3).unwrap();
    let mut want = b"S3PM\x01\x03\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
    // Codes 011, 000, 101, 111, 010, 001, lowest bit first.
    let stream = 0b001_010_111_101_000_011u32;
    want.extend(&stream.to_le_bytes()[..3]);
    assert_eq!(w.to_bytes(), want);
}

#[test]
fn realistic_sizes_take_at_most_one_percent_more_than_their_bits() {
    for bit_width in BitWidth::ALL {
        let w = PackedMatrix::from_levels(&vec![0; 64 * 576], 64, 576, bit_width).unwrap();
        let bits = (w.packed_len() * 8) as f64 / (64.0 * 576.0);
        assert!(bits <= 1.01 * f64::from(bit_width.bits()), "{bits}");
    }
}

#[test]
fn every_cut_of_the_bytes_is_a_wrong_length() {
    let bytes = PackedMatrix::from_levels(&[1; 30], 5, 6, BitWidth::B4)
        .unwrap()
        .to_bytes();
    for cut in 0..bytes.len() {
        let error = PackedMatrix::from_bytes(&bytes[..cut]).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{cut}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = PackedMatrix::from_bytes(&longer).unwrap_err();
    assert_eq!(
        error,
        Error::Length {
            what: "packed codes",
            expected: 15,
            got: 16
        }
    );
}

#[test]
fn every_field_of_the_header_is_checked() {
    let bytes = PackedMatrix::from_levels(&[1; 3], 1, 3, BitWidth::B2)
        .unwrap()
        .to_bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        PackedMatrix::from_bytes(&bytes).unwrap_err()
    };
    assert!(matches!(with(0, b'X'), Error::Header { what: "magic", .. }));
    assert_eq!(
        with(4, 2),
        Error::Header {
            what: "version",
            expected: 1,
            got: 2
        }
    );
    assert!(matches!(with(5, 5), Error::Unsupported { got: 5, .. }));
    assert!(matches!(
        with(7, 1),
        Error::Header {
            what: "reserved bytes",
            ..
        }
    ));
    assert!(matches!(with(15, 255), Error::Overflow { .. }));
    assert!(matches!(with(16, 200), Error::Length { .. }));
    assert!(matches!(
        with(24, 0b0100_0000),
        Error::Header {
            what: "unused bits",
            ..
        }
    ));
    assert_eq!(
        with(24, 0b10_0000),
        Error::Code {
            index: 2,
            code: 0b10
        }
    );
}

#[test]
fn levels_outside_the_alphabet_are_refused_by_name() {
    for bit_width in BitWidth::ALL {
        for level in i8::MIN..=i8::MAX {
            let packed = PackedMatrix::from_levels(&[0, level], 2, 1, bit_width);
            match bit_width.contains(level) {
                true => assert_eq!(packed.unwrap().to_levels(), [0, level]),
                false => assert_eq!(
                    packed.unwrap_err(),
                    Error::Level {
                        index: 1,
                        level: level.into(),
                        bits: bit_width.bits()
                    }
                ),
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let overflow = PackedMatrix::from_levels(&[], usize::MAX, 2, BitWidth::B2).unwrap_err();
    assert!(matches!(overflow, Error::Overflow { .. }));
    let short = PackedMatrix::from_levels(&[0; 5], 2, 3, BitWidth::B2).unwrap_err();
    assert_eq!(
        short,
        Error::Length {
            what: "levels",
            expected: 6,
            got: 5
        }
    );
    // No columns: nothing is kept for the rows, however many they are.
    let empty = PackedMatrix::from_levels(&[], usize::MAX, 0, BitWidth::B2).unwrap();
    assert_eq!(
        (empty.rows(), empty.cols(), empty.packed_len()),
        (usize::MAX, 0, HEADER)
    );
}

#[test]
fn a_row_whose_sum_could_leave_i32_is_refused() {
    // 64 * 255 * 131_586 is the largest multiple below 2^31.
    let most = i32::MAX as usize / (64 * 255);
    assert!(PackedMatrix::from_levels(&vec![-64; most], 1, most, BitWidth::B4).is_ok());
    let refused = PackedMatrix::from_levels(&vec![64; most + 1], 1, most + 1, BitWidth::B4);
    assert!(matches!(refused, Err(Error::Overflow { .. })));
}

/// A loop over so many rows would not end.
#[test]
fn rows_without_columns_and_columns_without_rows_cost_nothing() {
    for (rows, cols) in [(usize::MAX, 0), (0, usize::MAX)] {
        for bit_width in BitWidth::ALL {
            let w = PackedMatrix::from_levels(&[], rows, cols, bit_width).unwrap();
            assert_eq!((w.rows(), w.cols()), (rows, cols));
            assert!(w.to_levels().is_empty());
            assert_eq!(PackedMatrix::from_bytes(&w.to_bytes()).unwrap(), w);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The fuzz target's property, near bytes that are right.
    #[test]
    fn bytes_that_were_damaged_are_refused_or_are_those_of_their_matrix(
        bit_width in prop::sample::select(BitWidth::ALL.to_vec()),
        rows in 0usize..9, cols in 0usize..9, length in 0usize..120,
        damage in prop::collection::vec((0usize..64, any::<u8>()), 0..4),
    ) {
        let all = bit_width.levels().iter().copied();
        let levels: Vec<i8> = all.cycle().take(rows * cols).collect();
        let w = PackedMatrix::from_levels(&levels, rows, cols, bit_width).unwrap();
        let mut bytes = w.to_bytes();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= value;
            }
        }
        bytes.truncate(length);
        if let Ok(read) = PackedMatrix::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }
}
