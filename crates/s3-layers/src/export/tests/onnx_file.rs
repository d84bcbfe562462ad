//! ONNX and QONNX: the message read again, and the scores that their own programs compute.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use prost::Message;
use s3_kernels::BitWidth;
use s3_kernels::model::{Activations, Fit, Network, Weight};

use super::super::message::metadata;
use super::super::proto::tensor_proto::DataType;
use super::super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use super::super::{OnnxWeights, onnx, qonnx};
use super::forms::forms;
use super::networks::{images, model, network};
use super::programs;

fn read(file: &[u8]) -> (ModelProto, GraphProto) {
    let mut model = ModelProto::decode(file).unwrap();
    let graph = model.graph.take().unwrap();
    (model, graph)
}

fn constants(graph: &GraphProto) -> BTreeMap<&str, &TensorProto> {
    graph.initializer.iter().map(|t| (t.name(), t)).collect()
}

/// `bits` bits each, lowest first, two's complement.
fn unpacked(tensor: &TensorProto, bits: u32) -> Vec<i8> {
    let count = tensor.dims.iter().product::<i64>() as usize;
    let level = |index: usize| {
        let byte = tensor.raw_data()[index * bits as usize / 8];
        let above = 8 - bits - (index as u32 * bits) % 8;
        (byte << above) as i8 >> (8 - bits)
    };
    (0..count).map(level).collect()
}

/// Level `(out, in, row, column)` of a layer, from the network's rows.
fn levels_in_onnx_order(network: &Network, name: &str) -> Vec<i8> {
    let mut layers = network.graph.layers();
    let (_, layer) = layers.find(|(node, _)| node.name == name).unwrap();
    let Weight::Packed(w) = &layer.holds.weight else {
        panic!("{name} is not packed")
    };
    let (levels, k) = (w.to_levels(), layer.kernel[0]);
    let c = w.cols() / (k * k);
    let mut turned = Vec::new();
    for out in 0..layer.channels {
        for channel in 0..c {
            turned.extend((0..k * k).map(|tap| levels[(out * k * k + tap) * c + channel]));
        }
    }
    turned
}

#[test]
fn how_images_are_made_is_in_the_files_metadata() {
    let entries = |fit: Option<Fit>| {
        let mut network = network(Activations::F32, BitWidth::B2, 5);
        network.input.fit = fit;
        let pairs = metadata(&network).into_iter();
        let pairs = pairs.map(|p| (p.key().to_owned(), p.value().to_owned()));
        (pairs.collect::<BTreeMap<_, _>>(), network)
    };
    let (said, network) = entries(None);
    assert_eq!(said["s3.mean"], format!("{:?}", network.input.mean));
    assert_eq!(said["s3.std"], format!("{:?}", network.input.std));
    assert_eq!(said["s3.classes"], network.classes.join("\n"));
    assert_eq!(said.len(), 3);
    let file = read(&onnx(&network, OnnxWeights::Int8).unwrap()).0;
    assert_eq!(file.metadata_props, metadata(&network));
    assert_eq!(entries(Some(Fit::AsIs {})).0["s3.fit"], "as_is");
    let [resize, crop] = [36, 32];
    let (said, _) = entries(Some(Fit::ResizeAndCrop { resize, crop }));
    assert_eq!(said["s3.fit"], "resize_and_crop 36 32");
}

#[test]
fn every_layers_levels_and_scales_are_in_the_file_in_onnx_layout() {
    let cases = [
        (OnnxWeights::Int8, BitWidth::B4, DataType::Int8, 8, (8, 13)),
        (OnnxWeights::Int4, BitWidth::B3, DataType::Int4, 4, (10, 21)),
        (OnnxWeights::Int2, BitWidth::B2, DataType::Int2, 2, (13, 25)),
    ];
    for (weights, width, data_type, bits, (ir, opset)) in cases {
        let network = network(Activations::F32, width, 1);
        let (model, graph) = read(&onnx(&network, weights).unwrap());
        assert_eq!(
            (model.ir_version(), model.opset_import[0].version()),
            (ir, opset)
        );
        let constants = constants(&graph);
        let levels = constants["layer2.0.conv1.weight_levels"];
        assert_eq!(levels.dims, [13, 8, 3, 3]);
        assert_eq!(levels.data_type(), i32::from(data_type));
        assert_eq!(
            levels.raw_data().len(),
            (13 * 8 * 9 * bits as usize).div_ceil(8)
        );
        assert_eq!(
            unpacked(levels, bits),
            levels_in_onnx_order(&network, "layer2.0.conv1")
        );
        assert_eq!(constants["layer2.0.conv1.weight_scale"].dims, [13]);
        assert_eq!(constants["conv1.scale"].dims, [1, 8, 1, 1]);
        let last = graph.node.last().unwrap();
        assert_eq!(
            (last.op_type(), last.output[0].as_str()),
            ("Flatten", "scores")
        );
    }
}

/// The ONNX nodes that a node has become, by what they make.
fn node<'a>(graph: &'a GraphProto, operator: &str, made: &str) -> &'a NodeProto {
    let mut nodes = graph.node.iter();
    let is_it = |n: &&NodeProto| n.op_type() == operator && n.output[0].starts_with(made);
    nodes.find(is_it).expect(operator)
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    let found = node.attribute.iter().find(|a| a.name() == name);
    found.expect(name)
}

#[test]
fn each_form_of_a_node_is_onnxs_own() {
    let network = forms(Activations::F32, BitWidth::B3, 1);
    for file in [onnx(&network, OnnxWeights::Int8), qonnx(&network)] {
        let (_, graph) = read(&file.unwrap());
        let constants = constants(&graph);
        let integers = |name: &str| -> Vec<i64> {
            let raw = constants[name].raw_data().as_chunks().0;
            raw.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
        };
        let floats = |name: &str| -> Vec<f32> {
            let raw = constants[name].raw_data().as_chunks().0;
            raw.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        };
        let depthwise = node(&graph, "Conv", "depthwise");
        assert_eq!(attribute(depthwise, "group").i(), 8);
        assert_eq!(constants["depthwise.weight_levels"].dims, [8, 1, 3, 3]);
        assert_eq!(constants["grouped.weight_levels"].dims, [12, 4, 3, 3]);
        assert_eq!(attribute(node(&graph, "Conv", "grouped"), "group").i(), 2);
        let stem = node(&graph, "Conv", "stem");
        assert_eq!(attribute(stem, "kernel_shape").ints, [3, 5]);
        assert!(stem.attribute.iter().all(|a| a.name() != "group"));
        let clip = node(&graph, "Clip", "sum");
        assert_eq!(clip.input[1..], ["sum.low", "sum.high"]);
        assert_eq!([floats("sum.low"), floats("sum.high")], [[0.0], [6.0]]);
        assert_eq!(node(&graph, "Concat", "both").input, ["other", "one"]);
        let mean = node(&graph, "AveragePool", "mean");
        assert_eq!(attribute(mean, "kernel_shape").ints, [2, 3]);
        assert_eq!(attribute(mean, "count_include_pad").i(), 1);
        let largest = node(&graph, "MaxPool", "largest");
        assert_eq!(attribute(largest, "kernel_shape").ints, [3, 2]);
        assert_eq!(node(&graph, "Pad", "pad").input, ["grouped", "pad.pads"]);
        assert_eq!(integers("pad.pads"), [0, 0, 1, 2, 0, 0, 0, 1]);
        assert_eq!(
            node(&graph, "Reshape", "flat").input,
            ["largest", "flat.shape"]
        );
        assert_eq!(integers("flat.shape"), [0, 102, 1, 1]);
    }
}

#[test]
fn a_name_that_the_file_needs_is_another_one_in_it() {
    let mut network = forms(Activations::F32, BitWidth::B3, 1);
    for (index, name) in ["sum.weight", "scores", "image", "fc.0", "one.bias"]
        .into_iter()
        .enumerate()
    {
        network.graph.nodes[index].name = name.to_owned();
    }
    for file in [onnx(&network, OnnxWeights::Int8), qonnx(&network)] {
        let (_, graph) = read(&file.unwrap());
        let made = graph.node.iter().map(|node| node.output[0].as_str());
        let all: Vec<&str> = constants(&graph).into_keys().chain(made).collect();
        let count = graph.initializer.len() + graph.node.len();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count);
        assert!(!all.contains(&"image"));
        assert_eq!(graph.node.last().unwrap().output, ["scores"]);
    }
}

#[test]
fn every_input_of_a_node_is_made_before_it() {
    let networks = [network, forms].map(|of| of(Activations::F32, BitWidth::B3, 2));
    let written = |network| [onnx(network, OnnxWeights::Int8), qonnx(network)];
    for file in networks.iter().flat_map(written) {
        let (_, graph) = read(&file.unwrap());
        let mut known: Vec<&str> = constants(&graph).into_keys().chain(["image"]).collect();
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(&input.as_str()), "{}: {input}", node.name());
            }
            assert!(
                !known.contains(&node.output[0].as_str()),
                "{} is made twice",
                node.output[0]
            );
            known.push(&node.output[0]);
        }
        assert!(known.contains(&"scores"));
    }
}

#[test]
fn a_qonnx_weight_is_a_minifloat_with_its_bias_written() {
    for width in BitWidth::ALL {
        let (model, graph) = read(&qonnx(&network(Activations::F32, width, 3)).unwrap());
        assert_eq!(model.opset_import[1].domain(), "qonnx.custom_op.general");
        let quantizer = graph
            .node
            .iter()
            .find(|n| n.op_type() == "FloatQuant")
            .unwrap();
        let constants = constants(&graph);
        let number = |name: &String| {
            let tensor = constants[name.as_str()];
            assert!(tensor.dims.is_empty(), "{name} is no scalar");
            f32::from_le_bytes(tensor.raw_data().try_into().unwrap())
        };
        let got: Vec<f32> = quantizer.input[1..].iter().map(number).collect();
        let most = (1 << width.t()) as f32;
        assert_eq!(got, [1.0, (width.bits() - 1) as f32, 0.0, 1.0, most]);
    }
}

#[test]
fn what_a_format_cannot_hold_is_refused_with_the_reason() {
    let four = network(Activations::F32, BitWidth::B4, 1);
    let expected =
        "node `layer1.0.conv1`: INT4 holds -8 to 7, 4-bit weights have levels up to ±64: use INT8";
    assert_eq!(
        onnx(&four, OnnxWeights::Int4).unwrap_err().to_string(),
        expected
    );
    let three = network(Activations::F32, BitWidth::B3, 1);
    assert!(
        onnx(&three, OnnxWeights::Int2)
            .unwrap_err()
            .to_string()
            .ends_with("use INT4")
    );
    let integer = network(Activations::U8, BitWidth::B3, 1);
    let refused = onnx(&integer, OnnxWeights::Int8).unwrap_err().to_string();
    assert!(refused.contains("half to even"));
}

/// Checked in full, run by onnxruntime or by qonnx's executor, and compared with the runtime's
/// scores.
#[test]
fn other_programs_compute_the_same_scores() {
    let Some(python) = programs::python("numpy, onnx, onnxruntime") else {
        return programs::skip("no Python with numpy, onnx and onnxruntime (S3_BENCH_PYTHON)");
    };
    let has_qonnx = programs::python("qonnx").is_some();
    if !has_qonnx {
        programs::skip("the QONNX files: no qonnx in S3_BENCH_PYTHON");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let x = images(5);
    std::fs::write(path("images"), programs::bytes(&x)).unwrap();
    let mut command = Command::new(python);
    command.arg(programs::root().join("tools/check_onnx.py"));
    command.arg("--images").arg(path("images"));
    let cases = BitWidth::ALL.into_iter().flat_map(|width| {
        let all = [network, forms].map(|of| of(Activations::F32, width, 4));
        all.map(|network| (width, network))
    });
    for (width, network) in cases {
        let bits = format!("{} {}", network.name, width.bits());
        let scores = model(&network).run(&x, 5).unwrap();
        std::fs::write(path(&format!("{bits}.scores")), programs::bytes(&scores)).unwrap();
        let mut files = vec![
            ("f32", onnx(&network, OnnxWeights::F32)),
            ("int8", onnx(&network, OnnxWeights::Int8)),
        ];
        if width < BitWidth::B4 {
            files.push(("int4", onnx(&network, OnnxWeights::Int4)));
        }
        if width == BitWidth::B2 {
            files.push(("int2", onnx(&network, OnnxWeights::Int2)));
        }
        if has_qonnx {
            files.push(("qonnx", qonnx(&network)));
        }
        for (name, file) in files {
            let file_path = path(&format!("{bits}-{name}.onnx"));
            std::fs::write(&file_path, file.unwrap()).unwrap();
            command.arg(file_path).arg(path(&format!("{bits}.scores")));
        }
    }
    let report = programs::output(&mut command);
    programs::say(&report);
    assert!(report.lines().count() >= 12, "{report}");
}
