//! C: compiled by gcc and by g++, and the same integers as the runtime's.

use std::path::Path;
use std::process::Command;

use s3_kernels::BitWidth;
use s3_kernels::model::{Act, Activations, Network, Numbers, Op, Window};

use super::super::{CSource, c};
use super::forms::{ending_in, forms};
use super::networks::{images, model, network, sums};
use super::programs::{self, list};

const IMAGES: usize = 6;
const CLASSES: usize = 10;

/// Prints the 8-bit image of the pixels, and for each image its sums and scores and its class.
const PROGRAM: &str = r#"
#include <stdio.h>
#include "net.h"
static const int8_t images[] = {@images@};
static const uint8_t pixels[NET_INPUT] = {@pixels@};
static int8_t made[NET_INPUT];
int main(void)
{
    int32_t sums[NET_CLASSES];
    float scores[NET_CLASSES];
    unsigned at, n;
    net_quantize(pixels, made);
    for (at = 0; at < NET_INPUT; ++at)
        printf("%d%s", made[at], at + 1 < NET_INPUT ? " " : "\n");
    for (at = 0; at < sizeof images; at += NET_INPUT) {
        net_run(images + at, sums);
        net_scores(sums, scores);
        for (n = 0; n < NET_CLASSES; ++n)
            printf("%ld %.9g ", (long)sums[n], (double)scores[n]);
        printf("%d\n", net_best(sums));
    }
    return 0;
}
"#;

/// Prints the 8-bit image of floats.
const FLOATS: &str = r#"
#include <stdio.h>
#include "net.h"
static const float numbers[NET_INPUT] = {@numbers@};
static int8_t made[NET_INPUT];
int main(void)
{
    unsigned at;
    net_quantize(numbers, made);
    for (at = 0; at < NET_INPUT; ++at)
        printf("%d%s", made[at], at + 1 < NET_INPUT ? " " : "\n");
    return 0;
}
"#;

/// Who compiles `net.c` and who compiles the program that calls it.
const COMPILERS: [[(&str, &str); 2]; 3] = [
    [("gcc", "-std=c99"); 2],
    [("g++", "-std=c++11"); 2],
    [("gcc", "-std=c11"), ("g++", "-std=c++20")],
];

/// Those of [`COMPILERS`] that are installed.
fn installed() -> impl Iterator<Item = [(&'static str, &'static str); 2]> {
    let is_there = |&(compiler, _): &(&str, &str)| {
        let found = Command::new(compiler).arg("--version").output().is_ok();
        if !found {
            programs::skip(&format!("{compiler} is not installed"));
        }
        found
    };
    COMPILERS
        .into_iter()
        .filter(move |both| both.iter().all(is_there))
}

fn write(source: &CSource, image: &[i8], pixels: &[u8], folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("net.h", &source.header);
    write("net.c", &source.source);
    let program = PROGRAM
        .replace("@images@", &list(image))
        .replace("@pixels@", &list(pixels));
    write("main.c", &program);
}

/// With `multiplier` for S3_MULTIPLIER.
fn compile_and_run(compilers: [(&str, &str); 2], multiplier: u8, folder: &Path) -> String {
    for (file, (compiler, standard)) in ["net.c", "main.c"].into_iter().zip(compilers) {
        let mut command = Command::new(compiler);
        command
            .current_dir(folder)
            .args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"])
            .args(["-fsanitize=undefined", "-fno-sanitize-recover=all"])
            .arg(format!("-DS3_MULTIPLIER={multiplier}"))
            .args(["-DNET_FLOAT", "-c", file]);
        programs::output(&mut command);
    }
    let [_, (linker, _)] = compilers;
    programs::output(Command::new(linker).current_dir(folder).args([
        "-fsanitize=undefined",
        "net.o",
        "main.o",
        "-o",
        "net",
    ]));
    programs::output(&mut Command::new(folder.join("net")))
}

/// 9 by 7 pixels of 3 channels, over the whole range.
fn pixels() -> Vec<u8> {
    (0..9 * 7 * 3u32).map(|n| (n * 89 + 3) as u8).collect()
}

fn normalized(network: &Network, pixels: &[u8]) -> Vec<f32> {
    let input = &network.input;
    let number = |(n, &pixel): (usize, &u8)| {
        let channel = n % network.graph.image.channels;
        (f32::from(pixel) / 255.0 - input.mean[channel]) / input.std[channel]
    };
    pixels.iter().enumerate().map(number).collect()
}

#[test]
fn compiled_as_c_and_as_cpp_it_computes_the_runtimes_integers() {
    let compilers: Vec<_> = installed().collect();
    for activations in [Activations::U8, Activations::U8Shift] {
        for width in BitWidth::ALL {
            is_the_runtime(&network(activations, width, 5), &compilers);
            is_the_runtime(&forms(activations, width, 5), &compilers);
        }
    }
}

#[test]
fn scores_have_the_activation_of_the_last_layer() {
    let compilers: Vec<_> = installed().take(1).collect();
    let network = network(Activations::U8, BitWidth::B3, 5);
    let scores = model(&network).run(&images(IMAGES), IMAGES).unwrap();
    let (least, most) = scores
        .iter()
        .fold((f32::MAX, f32::MIN), |(least, most), &s| {
            (least.min(s), most.max(s))
        });
    for act in [Act::Relu, Act::Relu6] {
        let network = ending_in(network.clone(), act, (least + most) / 2.0);
        let ended = model(&network).run(&images(IMAGES), IMAGES).unwrap();
        assert!(ended.contains(&0.0) && ended.iter().any(|&score| score > 0.0));
        assert_eq!(ended.contains(&6.0), act == Act::Relu6);
        is_the_runtime(&network, &compilers);
    }
}

fn is_the_runtime(network: &Network, compilers: &[[(&str, &str); 2]]) {
    let x = images(IMAGES);
    let source = c(network, "net").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (model, pixels) = (model(network), pixels());
    write(&source, &model.quantized(&x), &pixels, folder.path());
    // Every compiler without products, the first one with them.
    let more = compilers.iter().take(1);
    let all = compilers.iter().map(|&both| (both, 0));
    for (compilers, multiplier) in
        all.chain(more.flat_map(|&both| [(both, 1), (both, 2), (both, 3)]))
    {
        let text = compile_and_run(compilers, multiplier, folder.path());
        let (image, text) = text.split_once('\n').unwrap();
        let expected = model.quantized(&normalized(network, &pixels));
        assert_eq!(image, list(&expected).replace(',', " "));
        check(text, network, &x);
    }
}

/// The lines of the program beside what the runtime makes of `x`.
fn check(text: &str, network: &Network, x: &[f32]) {
    assert_eq!(text.lines().count(), IMAGES);
    let scores = model(network).run(x, IMAGES).unwrap();
    let sums = sums(network, x, IMAGES);
    let per_image = sums.chunks(CLASSES).zip(scores.chunks(CLASSES));
    for (line, (sums, scores)) in text.lines().zip(per_image) {
        let words: Vec<&str> = line.split(' ').collect();
        for (n, (&sum, &score)) in sums.iter().zip(scores).enumerate() {
            assert_eq!(words[2 * n].parse(), Ok(sum), "{n}");
            assert_eq!(words[2 * n + 1].parse(), Ok(score));
        }
        let best: usize = words[2 * CLASSES].parse().unwrap();
        assert!(scores.iter().all(|&score| score <= scores[best]));
    }
}

#[test]
fn floats_become_the_runtimes_8_bit_image() {
    let mut network = network(Activations::U8, BitWidth::B3, 5);
    let plain = c(&network, "net").unwrap();
    assert!(plain.header.contains("const uint8_t *pixels"));
    network.input.numbers = Numbers::Floats;
    // Halves of a step in the first channel: ties, on both sides of 0 and of the range.
    (network.input.mean[0], network.input.std[0]) = (0.0, 1.0);
    network.input.scale = 0.5;
    let numbers: Vec<f32> = (0..9 * 7 * 3).map(|n| (n - 94) as f32 * 0.75).collect();
    let input = &network.input;
    let normalized = numbers
        .iter()
        .enumerate()
        .map(|(n, v)| (v - input.mean[n % 3]) / input.std[n % 3]);
    let expected = model(&network).quantized(&normalized.collect::<Vec<_>>());
    assert!(expected.contains(&127) && expected.contains(&-127));
    let source = c(&network, "net").unwrap();
    let (integers, floats) = source.source.split_once("#ifdef NET_FLOAT").unwrap();
    assert!(!integers.contains("float") && floats.contains("net_quantize(const float *numbers"));
    assert!(source.header.contains("net_quantize(const float *numbers"));
    let folder = tempfile::tempdir().unwrap();
    write(&source, &[], &[], folder.path());
    let numbers: Vec<String> = numbers.iter().map(|v| format!("{v:?}f")).collect();
    let program = FLOATS.replace("@numbers@", &numbers.join(", "));
    std::fs::write(folder.path().join("main.c"), program).unwrap();
    for compilers in installed() {
        let text = compile_and_run(compilers, 0, folder.path());
        assert_eq!(text.trim_end(), list(&expected).replace(',', " "));
    }
}

#[test]
fn the_layers_hold_no_product() {
    for network in [
        network(Activations::U8Shift, BitWidth::B3, 6),
        forms(Activations::U8Shift, BitWidth::B3, 6),
    ] {
        let source = c(&network, "net").unwrap().source;
        let code: String = source
            .split("/*")
            .map(|part| part.split_once("*/").map_or(part, |p| p.1))
            .collect();
        let (code, floats) = code.split_once("#ifdef NET_FLOAT").unwrap();
        let layers = without_products(code);
        // Beside `*` of declarations and dereferences: a product has a space on both sides.
        assert!(!layers.contains(" * ") && !layers.contains(" / ") && !layers.contains(" % "));
        assert!(floats.contains(" * "));
        assert_eq!(c(&network, "net").unwrap().source, source);
    }
}

/// `code` as a compiler reads it where S3_MULTIPLIER is 0.
fn without_products(code: &str) -> String {
    let mut is_read = vec![true];
    let mut lines = String::new();
    for line in code.lines() {
        if line.starts_with("#if") {
            is_read.push(!line.starts_with("#if S3_MULTIPLIER > "));
        } else if line.starts_with("#else") {
            let read = is_read.pop().is_some_and(|read| !read);
            is_read.push(read);
        } else if line.starts_with("#endif") {
            is_read.pop();
        } else if is_read.iter().all(|&read| read) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn a_file_has_what_its_network_needs_and_nothing_else() {
    let source = |network: &Network| c(network, "net").unwrap().source;
    let plain = source(&network(Activations::U8, BitWidth::B3, 6));
    let forms = source(&forms(Activations::U8, BitWidth::B3, 6));
    for word in ["s3_fill", "s3_put", "s3_avg_pool"] {
        assert!(!plain.contains(word) && forms.contains(word), "{word}");
    }
    assert!(!plain.contains('@'));
    for word in ["s3_subsample", "s3_mean_pool", "@"] {
        assert!(!forms.contains(word), "{word}");
    }
    // Factors of 16 bits and of more: sums become bytes in 32 bits and in 64.
    assert!(plain.contains("s3_store(") && plain.contains("s3_store_wide("));
}

#[test]
fn what_c_cannot_hold_is_refused_with_the_reason() {
    let error = |network: &Network, name| c(network, name).unwrap_err().to_string();
    let float = network(Activations::F32, BitWidth::B3, 1);
    assert!(error(&float, "net").contains("choose u8"));
    let integer = network(Activations::U8, BitWidth::B3, 1);
    assert!(error(&integer, "My Net").starts_with("network: name `My Net`: expected"));
    let mut wrong = integer.clone();
    wrong.graph.nodes[1].inputs = vec![7];
    assert_eq!(
        error(&wrong, "net"),
        "node `maxpool`: input: expected a value before this node, 0 to 1, got 7"
    );
    let mut large = integer.clone();
    let window = Window {
        kernel: [1 << 20; 2],
        stride: 1 << 20,
        padding: (1 << 20) - 4,
    };
    large.graph.nodes[1].op = Op::MaxPool(window);
    assert_eq!(
        error(&large, "net"),
        "node `maxpool`: an image with its border leaves 32 bits of bytes"
    );
}
