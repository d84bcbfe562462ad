//! The file of a packed network: safetensors, with the network's description in its metadata.
//! `docs/EXPORT-FORMAT.md` is the specification.
//!
//! The header is written and read here, not by the crate of that name: its metadata is a hash map,
//! whose order differs from run to run, and the same network is to be the same bytes.

mod config;
mod header;

use std::format;
use std::io;
use std::path::Path;
use std::string::String;
use std::vec;
use std::vec::Vec;

use config::{Config, ConvConfig, Kind, OpConfig};
use header::{Dtype, Tensors, Writer};

use super::dense::DenseMatrix;
use super::error::{Error, expect};
use super::graph::{Act, Graph, Layer, Op, Size};
use super::network::{Frozen, Network, Then, Weight};
use super::run::Model;
use crate::PackedMatrix;
use crate::epilogue::requant::Requant;

impl Network {
    /// The file. The same network gives the same bytes, on every machine.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Writer::default();
        for (node, layer) in self.graph.layers() {
            layer.write(&node.name, &mut file);
        }
        let version = version(self);
        file.finish(version, &Config::of(self).to_json())
    }

    /// Reads a file. What it holds is then checked by [`Model::new`].
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the bytes are not of the format; [`Error::Node`] and [`Error::Kernel`]
    /// where a layer's tensors are missing or wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Network, Error> {
        let (given, json, mut tensors) = header::read(bytes)?;
        let config = Config::from_json(&json)?;
        let mut graph = Graph::new(Size {
            height: config.input.height,
            width: config.input.width,
            channels: config.input.channels,
        });
        for node in config.nodes {
            let mut inputs = vec![node.input];
            let op = match node.op {
                OpConfig::Conv(conv) => Op::Layer(read_layer(&node.name, &conv, &mut tensors)?),
                OpConfig::MaxPool(window) => Op::MaxPool(window.into()),
                OpConfig::AvgPool(window) => Op::AvgPool(window.into()),
                OpConfig::Concat { others } => {
                    inputs.extend(others);
                    Op::Concat
                }
                OpConfig::Pad { sides } => Op::Pad { sides },
                OpConfig::Flatten {} => Op::Flatten,
                OpConfig::SubsampleAndPad { stride, channels } => {
                    Op::Subsample { stride, channels }
                }
                OpConfig::MeanPool { shift } => Op::MeanPool { shift },
            };
            graph.push(node.name, &inputs, op);
        }
        if let Some(name) = tensors.any() {
            return Err(Error::file(format_args!(
                "tensor `{name}`: belongs to no node"
            )));
        }
        let network = Network {
            name: config.name,
            input: config.input.into(),
            classes: config.classes,
            activations: config.activations.into(),
            graph,
        };
        let least = version(&network);
        match given < least {
            true => Err(Error::file(format_args!(
                "metadata `s3.format_version`: expected {least}, which has what the network is, \
                 got {given}"
            ))),
            false => Ok(network),
        }
    }
}

impl Model {
    /// Reads and checks the file at `path`, which is a regular one: a pipe or a device may have no
    /// end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; else as [`Model::from_bytes`].
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        let bytes = read_regular(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Model::from_bytes(&bytes)
    }

    /// Reads and checks a file that is in memory. Any bytes may be given: they are refused with an
    /// error or they are a network that runs.
    ///
    /// # Errors
    ///
    /// As [`Network::from_bytes`] and [`Model::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, Error> {
        Model::new(Network::from_bytes(bytes)?)
    }

    /// The file: [`Network::to_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.network().to_bytes()
    }
}

/// The version of the file of `network`: the first that has all of it, so that older readers read
/// what they can.
fn version(network: &Network) -> u32 {
    if config::is_new(network) { 2 } else { 1 }
}

/// The bytes of a file that has an end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let what = match std::fs::metadata(path)?.file_type() {
        kind if kind.is_file() => return std::fs::read(path),
        kind if kind.is_dir() => "a folder",
        _ => "a named pipe, a socket or a device",
    };
    Err(io::Error::other(format!("{what}, no regular file")))
}

impl Layer<Frozen> {
    /// Channels that a group reads: what the weights have room for.
    fn in_channels(&self) -> usize {
        let columns = self.holds.weight.columns(self.channels);
        columns / self.kernel[0].saturating_mul(self.kernel[1]).max(1)
    }

    fn write(&self, name: &str, file: &mut Writer) {
        let channels = [self.channels];
        let [height, width] = self.kernel;
        let shape = [self.channels, height, width, self.in_channels()];
        let mut put = |suffix: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
            file.put(format!("{name}.{suffix}"), dtype, shape, bytes);
        };
        match &self.holds.weight {
            Weight::Packed(w) => {
                let bytes = w.to_bytes();
                put("weight_packed", Dtype::U8, &[bytes.len()], bytes);
            }
            Weight::Dense(w) => {
                let bytes = w.levels().iter().map(|&l| l as u8).collect();
                put("weight", Dtype::I8, &shape, bytes);
            }
            Weight::F32(w) => put("weight", Dtype::F32, &shape, f32_bytes(w)),
        }
        match &self.holds.then {
            Then::Scale { scale, bias } => {
                put("scale", Dtype::F32, &channels, f32_bytes(scale));
                put("bias", Dtype::F32, &channels, f32_bytes(bias));
            }
            Then::Requant(requant) => {
                put("bias", Dtype::I32, &channels, i32_bytes(&requant.bias));
                put("factor", Dtype::I32, &channels, i32_bytes(&requant.factor));
                put("shift", Dtype::U8, &channels, requant.shift.clone());
            }
        }
    }
}

fn read_layer(
    name: &str,
    conv: &ConvConfig,
    tensors: &mut Tensors<'_>,
) -> Result<Layer<Frozen>, Error> {
    let mut take = |suffix: &str, dtype, shape: Option<&[usize]>| {
        tensors
            .take(&format!("{name}.{suffix}"), dtype, shape)
            .map_err(|what: String| Error::node(name, what))
    };
    let kernel = |error| Error::kernel(name, error);
    let channels = [conv.out_channels];
    let [height, width] = conv.kernel.sides();
    let shape = [conv.out_channels, height, width, conv.in_channels];
    let weight = match conv.weight {
        Kind::Packed => {
            let bytes = take("weight_packed", Dtype::U8, None)?;
            Weight::Packed(PackedMatrix::from_bytes(bytes).map_err(kernel)?)
        }
        Kind::Dense => {
            let bytes = take("weight", Dtype::I8, Some(&shape))?;
            let levels: Vec<i8> = bytes.iter().map(|&b| b as i8).collect();
            let columns = levels.len() / conv.out_channels.max(1);
            let w = DenseMatrix::from_levels(levels, conv.out_channels, columns);
            Weight::Dense(w.map_err(kernel)?)
        }
        Kind::F32 => Weight::F32(f32s(take("weight", Dtype::F32, Some(&shape))?)),
    };
    let then = match &conv.requant {
        None => Then::Scale {
            scale: f32s(take("scale", Dtype::F32, Some(&channels))?),
            bias: f32s(take("bias", Dtype::F32, Some(&channels))?),
        },
        Some(requant) => Then::Requant(Requant {
            bias: i32s(take("bias", Dtype::I32, Some(&channels))?),
            factor: i32s(take("factor", Dtype::I32, Some(&channels))?),
            shift: take("shift", Dtype::U8, Some(&channels))?.to_vec(),
            residual_factor: requant.residual_factor,
            offset: requant.offset,
            zero_point: requant.zero_point,
            high: requant.high,
        }),
    };
    let act = match (conv.relu, conv.relu6) {
        (false, false) => Act::None,
        (true, false) => Act::Relu,
        (true, true) => Act::Relu6,
        (false, true) => {
            let what = "relu: expected true where relu6 is, got false";
            return Err(Error::node(name, what));
        }
    };
    let layer = Layer {
        stride: conv.stride,
        padding: conv.padding,
        add: conv.residual,
        groups: conv.groups,
        act,
        ..Layer::new(conv.out_channels, [height, width], Frozen { weight, then })
    };
    let fits = expect("in_channels", conv.in_channels, layer.in_channels());
    fits.map_err(|what| Error::node(name, what))?;
    Ok(layer)
}

fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn i32_bytes(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

fn i32s(bytes: &[u8]) -> Vec<i32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|&word| i32::from_le_bytes(word)).collect()
}
