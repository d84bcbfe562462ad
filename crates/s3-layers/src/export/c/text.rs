//! The words of the two files.

use std::fmt::{Display, Write};

use s3_kernels::model::{Act, Input, Network, Numbers, Op, Size, Then, terms};

use super::super::error::Error;
use super::writer::Writer;

const HEAD: &str = include_str!("parts/head.c");
const LAYER: &str = include_str!("parts/layer.c");
const PAIRS: &str = include_str!("parts/pairs.c");
const LANES: &str = include_str!("parts/lanes.c");
const LISTS: &str = include_str!("parts/lists.c");
const PRODUCTS: &str = include_str!("parts/products.c");
const PIXEL: &str = include_str!("parts/pixel.c");
const BORDER: &str = include_str!("parts/border.c");
const CONV: &str = include_str!("parts/conv.c");
const MAX_POOL: &str = include_str!("parts/max_pool.c");
const SUBSAMPLE: &str = include_str!("parts/subsample.c");
const FILL: &str = include_str!("parts/fill.c");
const PUT: &str = include_str!("parts/put.c");
const QUOTIENT: &str = include_str!("parts/quotient.c");
const AVG_POOL: &str = include_str!("parts/avg_pool.c");
const MEAN_POOL: &str = include_str!("parts/mean_pool.c");
const SUMS: &str = include_str!("parts/sums.c");
const PIXELS: &str = include_str!("parts/pixels.c");
const FLOATS: &str = include_str!("parts/floats.c");
const BEST: &str = include_str!("parts/best.c");

/// What the header says of `quantize`, by what it takes.
const OF_PIXELS: &str = "\
/* The 8-bit image of pixels of 0 to 255. */
void @name@_quantize(const uint8_t *pixels, int8_t *image);

";
const OF_FLOATS: &str = "\
/* The 8-bit image of finite numbers as they were measured. */
void @name@_quantize(const float *numbers, int8_t *image);

";

/// Fraction bits of the scores that `best` compares.
const SCORE_BITS: i32 = 23;

pub(super) fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether stdint.h or limits.h has a macro that the header would have, or is the header's own
/// name.
pub(super) fn is_of_the_system(name: &str) -> bool {
    const PLAIN: [&str; 13] = [
        "stdint",
        "limits",
        "size",
        "ptrdiff",
        "sig_atomic",
        "wchar",
        "wint",
        "bool",
        "schar",
        "shrt",
        "long",
        "llong",
        "char",
    ];
    const UNSIGNED: [&str; 6] = ["uchar", "ushrt", "uint", "ulong", "ullong", "int"];
    let sized = |name: &str| {
        let rest = name.trim_start_matches('u').strip_prefix("int");
        let rest = rest.map(|rest| {
            rest.trim_start_matches("_least")
                .trim_start_matches("_fast")
        });
        rest.is_some_and(|rest| ["8", "16", "32", "64", "ptr", "max"].contains(&rest))
    };
    PLAIN.contains(&name) || UNSIGNED.contains(&name) || sized(name)
}

/// `text` as it may stand in a comment.
pub(super) fn remark(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || ".-_ ".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(plain).collect()
}

/// A constant array.
pub(super) fn array<T: Display>(to: &mut String, declaration: &str, values: &[T]) {
    let _ = write!(to, "static const {declaration}[{}] = {{", values.len());
    for (index, value) in values.iter().enumerate() {
        let space = if index % 20 == 0 { "\n    " } else { " " };
        let comma = if index + 1 < values.len() { "," } else { "" };
        let _ = write!(to, "{space}{value}{comma}");
    }
    let _ = writeln!(to, "}};");
}

/// The bytes that the C file reads a factor from: the number of digits, then of each its places,
/// and 64 where it is subtracted.
pub(super) fn factor(factor: i32) -> Vec<u8> {
    let mut bytes = vec![0];
    for (places, is_negative) in terms(factor) {
        bytes[0] += 1;
        bytes.push(places | if is_negative { 64 } else { 0 });
    }
    bytes
}

/// `part` with its lines of these `marks`, which begin with `@mark@`, and without those of others.
fn marked(part: &str, marks: &[&str]) -> String {
    let mut text = String::new();
    for line in part.split_inclusive('\n') {
        match line.strip_prefix('@').and_then(|line| line.split_once('@')) {
            None => text.push_str(line),
            Some((mark, line)) if marks.contains(&mark) => text.push_str(line),
            Some(_) => {}
        }
    }
    text
}

/// A string literal: what is no plain letter is written by its bytes.
fn quoted(text: &str) -> String {
    let mut literal = String::from('"');
    for byte in text.bytes() {
        match byte {
            b' ' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b',' | b'.' => {
                literal.push(byte.into());
            }
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    literal.push('"');
    literal
}

pub(super) fn header(network: &Network, name: &str) -> String {
    let Size {
        height,
        width,
        channels,
    } = network.graph.image;
    let (of_pixels, of_floats) = match network.input.numbers {
        Numbers::Bytes => (OF_PIXELS, ""),
        Numbers::Floats => ("", OF_FLOATS),
    };
    include_str!("parts/header.h")
        .replace("@quantize@", of_pixels)
        .replace("@quantize_floats@", of_floats)
        .replace("@title@", &remark(&network.name))
        .replace("@name@", name)
        .replace("@NAME@", &name.to_uppercase())
        .replace("@height@", &height.to_string())
        .replace("@width@", &width.to_string())
        .replace("@channels@", &channels.to_string())
        .replace("@input@", &(height * width * channels).to_string())
        .replace("@classes@", &network.classes.len().to_string())
}

impl Writer<'_> {
    /// The C file, with those functions that the network uses.
    pub(super) fn source(&self, name: &str) -> Result<String, Error> {
        let mut text = format!(
            "/* {} */\n#include \"{name}.h\"\n\n",
            remark(&self.network.name)
        );
        let offset = if self.last_place > u16::MAX.into() {
            "uint32_t"
        } else {
            "uint16_t"
        };
        // Lanes are words, so that the values begin at one.
        let words = self.plan.len.div_ceil(4).max(1);
        let (places, taps, zeros) = (self.most_columns, self.most_taps, self.most_channels);
        let _ = write!(
            text,
            "typedef {offset} s3_offset;\n\n\
             static uint32_t s3_words[{words}];\n\
             #define s3_values ((uint8_t *)s3_words)\n\
             static uint32_t *s3_sums;\n\
             static s3_offset s3_places[{places}];\n\
             static const uint8_t s3_zeros[{zeros}] = {{0}};\n"
        );
        if self.is_narrow {
            text.push_str("static int32_t s3_shares[32];\n");
        }
        text.push('\n');
        let sized_taps = self.if_paired(
            &format!("static s3_tap s3_taps[{}];\n", self.most_unpaired),
            &format!("static s3_tap s3_taps[{places}];\n"),
        );
        let pairs = self.pairs();
        let lists = format!(
            "#if S3_MULTIPLIER < 2\n\
             static s3_offset s3_taps[{taps}], *s3_begin[16], *s3_end[16], *s3_runs[28];\n\n\
             {LISTS}#else\n\
             typedef struct {{\n    s3_offset place;\n    int8_t level[2];\n}} s3_tap;\n\n\
             {sized_taps}\n{PRODUCTS}#endif\n"
        );
        let calls = |functions: &[&str]| functions.iter().any(|&f| self.called.contains(f));
        let parts = [
            (HEAD, true),
            (LAYER, true),
            (&pairs, self.has_pairs()),
            (LANES, true),
            (&lists, true),
            (PIXEL, self.is_one),
            (BORDER, calls(&["border"])),
            (CONV, calls(&["conv"])),
            (MAX_POOL, calls(&["max_pool"])),
            (SUBSAMPLE, calls(&["subsample"])),
            (FILL, calls(&["fill"])),
            (PUT, calls(&["put"])),
            (QUOTIENT, calls(&["avg_pool", "mean_pool"])),
            (AVG_POOL, calls(&["avg_pool"])),
            (MEAN_POOL, calls(&["mean_pool"])),
            (SUMS, true),
        ];
        let has_windows = calls(&["max_pool", "subsample", "put", "avg_pool"]);
        let marks = [
            ("window", has_windows),
            ("narrow", self.is_narrow),
            ("wide", self.is_wide),
            ("both", self.is_narrow && self.is_wide),
            ("pixel", self.is_one),
            ("pairs", self.is_paired),
            ("twos", self.has_pairs()),
        ];
        let marks: Vec<&str> = marks
            .iter()
            .filter(|mark| mark.1)
            .map(|mark| mark.0)
            .collect();
        for (part, _) in parts.into_iter().filter(|(_, is_used)| *is_used) {
            text.push_str(&marked(part, &marks));
            text.push('\n');
        }
        text.push_str(self.tables.trim_start());
        let _ = write!(
            text,
            "\nvoid {name}_run(const int8_t *image, int32_t *sums)\n{{\n{}}}\n",
            self.steps
        );
        self.after(&mut text, name)?;
        Ok(text)
    }

    /// Whether the products of a layer are summed in pairs, where the processor does.
    fn has_pairs(&self) -> bool {
        self.is_paired || self.is_one
    }

    /// `paired` where products are summed in pairs, else `others`.
    pub(super) fn if_paired(&self, paired: &str, others: &str) -> String {
        match (self.has_pairs(), others) {
            (true, "") => format!("\n#if S3_MULTIPLIER > 2\n{paired}#endif\n"),
            (true, others) => format!("#if S3_MULTIPLIER > 2\n{paired}#else\n{others}#endif\n"),
            (false, others) => others.to_owned(),
        }
    }

    /// What two codes beside each other are, and the functions of layers whose image lies in pairs.
    fn pairs(&self) -> String {
        let mut text = "#if S3_MULTIPLIER > 2\n".to_owned();
        for &bits in &self.paired_bits {
            let level = |code: u32| {
                let sign = 1 << (bits - 1);
                let size = (1 << (code & (sign - 1))) >> 1;
                if code & sign == 0 { size } else { -size }
            };
            let codes = (0..1u32 << (2 * bits)).map(|codes| {
                let (first, second) = (codes & ((1 << bits) - 1), codes >> bits);
                format!("{{{{{}, {}}}}}", level(first), level(second))
            });
            let codes: Vec<String> = codes.collect();
            array(&mut text, &format!("s3_pair s3_twos_{bits}"), &codes);
        }
        if self.is_paired {
            let words = self.most_row;
            let _ = write!(text, "static uint32_t s3_row[{words}];\n\n{PAIRS}");
        }
        format!("{text}#endif\n")
    }

    /// What is not inference: the 8-bit image, the best class, and scores.
    fn after(&self, text: &mut String, name: &str) -> Result<(), Error> {
        let Some(Op::Layer(last)) = self.network.graph.nodes.last().map(|node| &node.op) else {
            return Err(Error::network("expected a convolution as the last node"));
        };
        let Then::Scale { scale, bias } = &last.holds.then else {
            return Err(Error::network("expected f32 scores from the last node"));
        };
        let most = scale
            .iter()
            .fold(0f64, |most, &s| most.max(f64::from(s).abs()));
        let unit = if most > 0.0 { most } else { 1.0 } / f64::from(1 << SCORE_BITS);
        let fixed = |v: &f32| (f64::from(*v) / unit).round();
        if bias.iter().any(|b| fixed(b).abs() > 2f64.powi(61)) {
            return Err(Error::network("the scores' bias dwarfs their scale"));
        }
        let factors: Vec<u8> = scale.iter().flat_map(|s| factor(fixed(s) as i32)).collect();
        let offsets: Vec<String> = bias
            .iter()
            .map(|b| format!("INT64_C({})", fixed(b) as i64))
            .collect();
        let float = |values: &[f32]| values.iter().map(|v| format!("{v:?}f")).collect::<Vec<_>>();
        let classes: Vec<String> = self.network.classes.iter().map(|c| quoted(c)).collect();
        let input = &self.network.input;
        let takes_pixels = input.numbers.is_bytes();
        let upper = name.to_uppercase();
        let count = self.network.graph.image.pixels().to_string();
        text.push('\n');
        if takes_pixels {
            array(text, "int8_t s3_pixels", &pixels(input));
        }
        array(text, "uint8_t s3_score_terms", &factors);
        array(text, "int64_t s3_score_bias", &offsets);
        let named = |part: &str| {
            part.replace("@name@", name)
                .replace("@NAME@", &upper)
                .replace("@pixels@", &count)
        };
        if takes_pixels {
            text.push_str(&named(PIXELS));
        }
        text.push_str(&named(BEST));
        let _ = writeln!(text, "\n#ifdef {upper}_FLOAT");
        array(text, "float s3_score_scale", &float(scale));
        array(text, "float s3_score_offset", &float(bias));
        let marks: &[&str] = match last.act {
            Act::None => &[],
            Act::Relu => &["relu"],
            Act::Relu6 => &["relu", "relu6"],
        };
        text.push_str(&named(&marked(include_str!("parts/scores.c"), marks)));
        if !takes_pixels {
            array(text, "float s3_mean", &float(&input.mean));
            array(text, "float s3_std", &float(&input.std));
            array(text, "float s3_step", &float(&[input.scale]));
            text.push_str(&named(FLOATS));
        }
        text.push_str("#endif\n\n");
        let mut names = String::new();
        array(&mut names, &format!("char *const {name}_classes"), &classes);
        text.push_str(names.trim_start_matches("static "));
        Ok(())
    }
}

/// The 8-bit number of each pixel value, channel after channel: the runtime's arithmetic.
fn pixels(input: &Input) -> Vec<i8> {
    let statistics = input.mean.iter().zip(&input.std);
    let number = |pixel: u8, mean: f32, std: f32| {
        let x = (f32::from(pixel) / 255.0 - mean) / std;
        (x / input.scale).round_ties_even().clamp(-127.0, 127.0) as i8
    };
    statistics
        .flat_map(|(&mean, &std)| (0..=255).map(move |pixel| number(pixel, mean, std)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{factor, is_identifier, is_of_the_system, marked, quoted, remark};

    #[test]
    fn a_factor_is_counted_and_its_signs_are_marked() {
        assert_eq!(factor(0), [0]);
        assert_eq!(factor(7), [2, 64, 3]);
        assert_eq!(factor(-64), [1, 64 | 6]);
    }

    #[test]
    fn a_line_with_a_mark_is_there_where_the_mark_is_asked_for() {
        let part = "a\n@x@    b @name@\n@y@c\nd\n";
        assert_eq!(marked(part, &[]), "a\nd\n");
        assert_eq!(marked(part, &["x"]), "a\n    b @name@\nd\n");
        assert_eq!(marked(part, &["x", "y"]), "a\n    b @name@\nc\nd\n");
    }

    #[test]
    fn names_are_identifiers_and_text_cannot_leave_its_place() {
        assert!(is_identifier("resnet20_s3"));
        for name in ["", "2", "Net", "a-b", "é"] {
            assert!(!is_identifier(name), "{name}");
        }
        for name in ["size", "int8", "uint_fast64", "intptr", "stdint", "int"] {
            assert!(is_identifier(name) && is_of_the_system(name), "{name}");
        }
        assert!(!is_of_the_system("integer") && !is_of_the_system("net8"));
        assert_eq!(remark("a */ b"), "a __ b");
        assert_eq!(quoted("a\"??/é"), "\"a\\042\\077\\077\\057\\303\\251\"");
    }
}
