//! The file: the same network from the same bytes, and every other byte refused.

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::networks::{Maker, Of, Values, names, network, various};
use crate::BitWidth;
use crate::model::*;

type Make = fn(Activations, BitWidth, u64) -> Network;

/// A network whose file is short.
fn small(activations: Activations) -> Network {
    let mut maker = Maker {
        values: Values(7),
        activations,
    };
    let stem = maker.conv(Of::Packed(BitWidth::B3), [1, 2, 3, 1], None);
    let fc = maker.classifier(Of::Plain, 2, 2);
    let mean = Op::MeanPool { shift: 0 };
    let mut graph = Graph::new(Size {
        height: 4,
        width: 4,
        channels: 1,
    });
    graph.push("conv", &[0], Op::Layer(stem));
    graph.push("mean", &[1], mean);
    graph.push("fc", &[2], Op::Layer(fc));
    Network {
        name: "small".into(),
        input: Input {
            mean: vec![0.1307],
            std: vec![0.3081],
            scale: if activations == Activations::F32 {
                1.0
            } else {
                0.021
            },
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: names(2),
        activations,
        graph,
    }
}

/// The file's parts: header without its length, data.
fn parts(bytes: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header = core::str::from_utf8(&bytes[8..8 + length]).unwrap();
    (header.into(), bytes[8 + length..].to_vec())
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// A file of version 2 of these parts, with another `input` in its configuration.
fn configured(header: &str, data: &[u8], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    let metadata = &mut header["__metadata__"];
    let config = metadata["s3.config"].as_str().unwrap();
    let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
    change(&mut config["input"]);
    let config = config.to_string();
    let mut hash = crc32fast::Hasher::new();
    hash.update(config.as_bytes());
    hash.update(data);
    metadata["s3.crc32"] = format!("{:08x}", hash.finalize()).into();
    metadata["s3.config"] = config.into();
    metadata["s3.format_version"] = "2".into();
    file(&header.to_string(), data)
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let message = Model::from_bytes(bytes).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_network_survives_its_file_and_the_bytes_survive_the_network() {
    for activations in [Activations::F32, Activations::U8, Activations::U8Shift] {
        for width in BitWidth::ALL {
            for (version, make) in [(1, network as Make), (2, various)] {
                let network = make(activations, width, 11);
                let bytes = network.to_bytes();
                let model = Model::from_bytes(&bytes).unwrap();
                assert_eq!(*model.network(), network);
                assert_eq!(model.to_bytes(), bytes);
                let written = format!(r#""s3.format_version":"{version}""#);
                assert!(parts(&bytes).0.contains(&written), "{version}");
            }
        }
    }
}

#[test]
fn every_float_of_the_description_survives() {
    let mut values = Values(3);
    for _ in 0..2000 {
        let mut network = small(Activations::F32);
        let mean = f32::from_bits(values.next() as u32);
        if mean.is_finite() {
            network.input.mean[0] = mean;
            let read = Network::from_bytes(&network.to_bytes()).unwrap();
            assert_eq!(read.input.mean[0].to_bits(), mean.to_bits());
        }
    }
}

#[test]
fn a_network_of_floats_says_so_in_version_2_and_others_do_not() {
    let mut network = small(Activations::U8);
    let (header, _) = parts(&network.to_bytes());
    assert!(header.contains(r#""s3.format_version":"1""#) && !header.contains("numbers"));
    network.input.numbers = Numbers::Floats;
    let bytes = network.to_bytes();
    let (header, data) = parts(&bytes);
    assert!(header.contains(r#"\"numbers\":\"floats\""#), "{header}");
    assert!(header.contains(r#""s3.format_version":"2""#));
    assert_eq!(*Model::from_bytes(&bytes).unwrap().network(), network);
    let old = header.replace(r#""s3.format_version":"2""#, r#""s3.format_version":"1""#);
    refused(&file(&old, &data), &["s3.format_version", "2", "got 1"]);
}

#[test]
fn a_network_of_pictures_says_in_version_2_how_they_are_fitted() {
    let mut network = small(Activations::U8);
    let (header, data) = parts(&network.to_bytes());
    assert!(header.contains(r#""s3.format_version":"1""#) && !header.contains("fit"));
    for (fit, written) in [
        (Fit::AsIs {}, r#""fit":{"name":"as_is"}"#),
        (
            Fit::ResizeAndCrop { resize: 5, crop: 4 },
            r#""fit":{"name":"resize_and_crop","resize":5,"crop":4}"#,
        ),
    ] {
        network.input.fit = Some(fit);
        let bytes = network.to_bytes();
        let (header, data) = parts(&bytes);
        assert!(header.contains(&written.replace('"', "\\\"")), "{header}");
        assert!(header.contains(r#""s3.format_version":"2""#));
        assert_eq!(*Model::from_bytes(&bytes).unwrap().network(), network);
        let old = header.replace(r#""s3.format_version":"2""#, r#""s3.format_version":"1""#);
        let got = r#"s3.format_version`: expected 2, which has what the network is, got 1"#;
        refused(&file(&old, &data), &[got]);
    }
    let says = |fit: &str| {
        configured(&header, &data, |input| {
            input["fit"] = serde_json::from_str(fit).unwrap();
        })
    };
    assert!(Model::from_bytes(&says(r#"{"name":"as_is"}"#)).is_ok());
    for (fit, words) in [
        (
            r#"{"name":"stretch"}"#,
            &["s3.config", "`stretch`", "`resize_and_crop`"][..],
        ),
        (
            r#"{"name":"resize_and_crop","crop":4}"#,
            &["s3.config", "missing field `resize`"],
        ),
        (
            r#"{"name":"resize_and_crop","resize":5,"crop":4,"x":1}"#,
            &["unknown field `x`"],
        ),
        (r#"{"name":"as_is","x":1}"#, &["unknown field `x`"]),
        (
            r#"{"name":"resize_and_crop","resize":5,"crop":3}"#,
            &["network: input.fit: cuts 3x3 out, the network sees 4x4"],
        ),
        (
            r#"{"name":"resize_and_crop","resize":3,"crop":4}"#,
            &["network: input.fit.resize: expected 4 to 32, got 3"],
        ),
        (
            r#"{"name":"resize_and_crop","resize":33,"crop":4}"#,
            &["network: input.fit.resize: expected 4 to 32, got 33"],
        ),
    ] {
        refused(&says(fit), words);
    }
    network.input.numbers = Numbers::Floats;
    network.input.fit = Some(Fit::ResizeAndCrop { resize: 5, crop: 4 });
    refused(
        &network.to_bytes(),
        &["network: input.fit of floats: expected AsIs"],
    );
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    for activations in [Activations::F32, Activations::U8Shift] {
        let bytes = small(activations).to_bytes();
        for length in 0..bytes.len() {
            assert!(Model::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Model::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_flipped_byte_is_refused_or_changes_nothing() {
    let network = small(Activations::U8Shift);
    let bytes = network.to_bytes();
    let (header, _) = parts(&bytes);
    for at in 0..bytes.len() {
        let flips: &[u8] = if at < 8 + header.len() {
            &[1, 2, 4, 8, 16, 32, 64, 128, 255, 0x2a]
        } else {
            &[1, 128]
        };
        for flip in flips {
            let mut other = bytes.clone();
            other[at] ^= flip;
            match Model::from_bytes(&other) {
                Err(error) => assert_eq!(error.to_string().lines().count(), 1),
                Ok(model) => assert_eq!(*model.network(), network, "byte {at}, flip {flip}"),
            }
        }
    }
}

#[test]
fn other_formats_and_versions_are_refused_by_name() {
    let (header, data) = parts(&small(Activations::U8).to_bytes());
    let replaced = |from: &str, to: &str| {
        assert!(header.contains(from), "{from}");
        file(&header.replace(from, to), &data)
    };
    refused(
        &replaced(r#""s3.format_version":"1""#, r#""s3.format_version":"3""#),
        &["s3.format_version", "\"1\"", "\"2\"", "\"3\""],
    );
    refused(
        &replaced(r#""format":"s3-packed""#, r#""format":"pt""#),
        &["format", "pt"],
    );
    refused(
        &replaced(r#""s3.config""#, r#""s3.konfig""#),
        &["s3.config"],
    );
    refused(
        &replaced(r#""conv.shift""#, r#""conv.shaft""#),
        &["conv.shift", "missing"],
    );
    refused(
        &replaced(r#""dtype":"I32""#, r#""dtype":"F32""#),
        &["I32", "F32"],
    );
    refused(&replaced(r#""dtype":"I32""#, r#""dtype":"F64""#), &["F64"]);
    let foreign = r#"{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    refused(&file(foreign, &[0; 4]), &["format", "none"]);
    // The first bytes of a text are no length.
    for other in [
        &b"\x89PNG\r\n\x1a\n"[..],
        b"",
        b"short",
        b"[data]\nname = \"mnist\"\n",
    ] {
        refused(other, &["packed network", "no safetensors file"]);
    }
    refused(&file("[]", &[]), &["no safetensors file"]);
    refused(&file("{}", &[]), &["format"]);
    refused(&file(r#"{"a":1}"#, &[]), &["header"]);
    let deep = "[".repeat(1 << 20);
    refused(&file(&deep, &[]), &["no safetensors file"]);
    refused(&file(&format!(r#"{{"a":{deep}"#), &[]), &["header"]);
}

#[test]
fn what_is_new_in_a_file_of_version_1_is_refused() {
    let mut network = small(Activations::U8);
    if let Op::Layer(conv) = &mut network.graph.nodes[0].op {
        conv.act = Act::Relu6;
    }
    let (header, data) = parts(&network.to_bytes());
    let old = header.replace(r#""s3.format_version":"2""#, r#""s3.format_version":"1""#);
    refused(&file(&old, &data), &["s3.format_version", "2", "got 1"]);
    // The other way round it is a file of version 2 that need not be one.
    let (header, data) = parts(&small(Activations::U8).to_bytes());
    let new = header.replace(r#""s3.format_version":"1""#, r#""s3.format_version":"2""#);
    assert!(Model::from_bytes(&file(&new, &data)).is_ok());
}

#[test]
fn lengths_that_no_file_has_are_refused_before_anything_is_allocated() {
    let bytes = small(Activations::U8).to_bytes();
    let (header, data) = parts(&bytes);
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    refused(&endless, &["header", "at most"]);
    refused(
        &[&(1u64 << 23).to_le_bytes()[..], b"{}"].concat(),
        &["header"],
    );
    let replaced = |from: &str, to: &str| {
        assert!(header.contains(from), "{from}");
        file(&header.replace(from, to), &data)
    };
    let most = usize::MAX;
    refused(
        &replaced(
            r#""shape":[2,1,1,2]"#,
            &std::format!(r#""shape":[{most},1,1,2]"#),
        ),
        &["fc.weight", "shape"],
    );
    refused(
        &replaced(
            r#""data_offsets":[0,8]"#,
            &std::format!(r#""data_offsets":[0,{most}]"#),
        ),
        &["data"],
    );
    let mut network = small(Activations::U8);
    if let Op::Layer(conv) = &mut network.graph.nodes[0].op {
        conv.channels = usize::MAX;
    }
    refused(&network.to_bytes(), &["`conv`", "shape"]);
    let mut network = small(Activations::U8);
    network.graph.image.height = 1 << (usize::BITS - 4);
    refused(&network.to_bytes(), &["input", "shape"]);
}

#[test]
fn a_file_that_is_not_there_is_named_once_with_the_reason() {
    let error = Model::load("no/such/file").unwrap_err();
    assert!(error.to_string().starts_with("no/such/file: "), "{error}");
    // The message has it: a printer of the whole chain must not say it twice.
    assert!(core::error::Error::source(&error).is_none());
}

#[test]
#[cfg(unix)]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    for (path, what) in [
        ("/dev/zero", "a named pipe, a socket or a device"),
        (".", "a folder"),
    ] {
        let message = Model::load(path).unwrap_err().to_string();
        assert_eq!(message, format!("{path}: {what}, no regular file"));
    }
}

#[test]
fn a_value_of_megabytes_is_not_quoted_whole() {
    let long = |length: usize| "x".repeat(length);
    let mut network = small(Activations::U8);
    network.graph.nodes[0].name = long(1 << 20);
    network.graph.nodes[1].name = long(1 << 20);
    let bytes = network.to_bytes();
    let (header, data) = parts(&bytes);
    let version = header.replace("s3-packed", &long(1 << 20));
    let dtype = header.replace(r#""I32""#, &format!("{:?}", long(1 << 20)));
    for bytes in [bytes, file(&version, &data), file(&dtype, &data)] {
        let message = Model::from_bytes(&bytes).unwrap_err().to_string();
        assert!(message.len() < 1200, "{}", message.len());
        assert!(message.contains("characters left out"), "{message}");
    }
}

#[test]
fn a_chain_of_many_thousand_nodes_is_read_and_runs() {
    let mut network = small(Activations::U8);
    let fc = network.graph.nodes.pop().unwrap();
    for index in 2..20_000 {
        let op = Op::MaxPool(Window::square(1, 1, 0));
        network.graph.push(format!("pool{index}"), &[index], op);
    }
    network.graph.push(fc.name, &[20_000], fc.op);
    let bytes = network.to_bytes();
    let model = Model::from_bytes(&bytes).unwrap();
    assert!(model.run(&[0.5; 16], 1).is_ok());
}

#[test]
fn a_tensor_twice_or_for_no_node_is_refused() {
    let (header, data) = parts(&small(Activations::U8).to_bytes());
    let entry = r#","fc.more":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    let end = header.trim_end().len() - 1;
    let more = format!("{}{entry}", &header[..end]);
    refused(&file(&more, &data), &["fc.more"]);
    let twice = format!("{}{}", &header[..end], entry.replace("more", "bias"));
    refused(&file(&twice, &data), &["fc.bias", "twice"]);
}

#[test]
fn the_packed_weights_of_the_file_are_as_small_as_their_bits() {
    let network = network(Activations::U8, BitWidth::B3, 2);
    let (mut weights, mut bytes) = (0, 0);
    for (_, layer) in network.graph.layers() {
        if let Weight::Packed(w) = &layer.holds.weight {
            weights += w.rows() * w.cols();
            bytes += w.packed_len();
        }
    }
    assert!(weights > 10_000);
    assert!((8 * bytes) as f64 <= 3.1 * weights as f64);
}
