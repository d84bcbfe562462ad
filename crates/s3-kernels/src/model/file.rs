//! The file of a packed network: safetensors, with the network's description in its metadata.
//! `docs/EXPORT-FORMAT.md` is the specification.
//!
//! The header is written and read here, not by the crate of that name: its metadata is a hash map, whose
//! order differs from run to run, and the same network is to be the same bytes.

mod config;
mod header;

use std::format;
use std::io;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use config::{Config, ConvConfig, Kind, OpConfig};
use header::{Dtype, Tensors, Writer};

use super::dense::DenseMatrix;
use super::error::Error;
use super::network::{Conv, Network, Node, Op, Requant, Then, Weight};
use super::run::Model;
use crate::PackedMatrix;

impl Network {
    /// The file. The same network gives the same bytes, on every machine.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Writer::default();
        for node in &self.nodes {
            if let Op::Conv(conv) = &node.op {
                conv.write(&node.name, &mut file);
            }
        }
        file.finish(&Config::of(self).to_json())
    }

    /// Reads a file. What it holds is then checked by [`Model::new`].
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the bytes are not of the format; [`Error::Node`] and [`Error::Kernel`] where
    /// a layer's tensors are missing or wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Network, Error> {
        let (json, mut tensors) = header::read(bytes)?;
        let config = Config::from_json(&json)?;
        let mut nodes = Vec::new();
        for node in config.nodes {
            let op = match node.op {
                OpConfig::Conv(conv) => Op::Conv(read_conv(&node.name, &conv, &mut tensors)?),
                OpConfig::MaxPool {
                    kernel,
                    stride,
                    padding,
                } => Op::MaxPool {
                    kernel,
                    stride,
                    padding,
                },
                OpConfig::SubsampleAndPad { stride, channels } => {
                    Op::SubsampleAndPad { stride, channels }
                }
                OpConfig::MeanPool { shift } => Op::MeanPool { shift },
            };
            nodes.push(Node {
                name: node.name,
                input: node.input,
                op,
            });
        }
        if let Some(name) = tensors.any() {
            return Err(Error::file(format_args!(
                "tensor `{name}`: belongs to no node"
            )));
        }
        Ok(Network {
            name: config.name,
            input: config.input.into(),
            classes: config.classes,
            activations: config.activations.into(),
            nodes,
        })
    }
}

impl Model {
    /// Reads and checks the file at `path`, which is a regular one: a pipe or a device may have no end.
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

    /// Reads and checks a file that is in memory. Any bytes may be given: they are refused with an error
    /// or they are a network that runs.
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

/// The bytes of a file that has an end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let what = match std::fs::metadata(path)?.file_type() {
        kind if kind.is_file() => return std::fs::read(path),
        kind if kind.is_dir() => "a folder",
        _ => "a named pipe, a socket or a device",
    };
    Err(io::Error::other(format!("{what}, no regular file")))
}

impl Conv {
    fn write(&self, name: &str, file: &mut Writer) {
        let channels = [self.out_channels];
        let shape = [
            self.out_channels,
            self.kernel,
            self.kernel,
            self.in_channels,
        ];
        let mut put = |suffix: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
            file.put(format!("{name}.{suffix}"), dtype, shape, bytes);
        };
        match &self.weight {
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
        match &self.then {
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

fn read_conv(name: &str, conv: &ConvConfig, tensors: &mut Tensors<'_>) -> Result<Conv, Error> {
    let mut take = |suffix: &str, dtype, shape: Option<&[usize]>| {
        tensors
            .take(&format!("{name}.{suffix}"), dtype, shape)
            .map_err(|what: String| Error::node(name, what))
    };
    let kernel = |error| Error::kernel(name, error);
    let channels = [conv.out_channels];
    let shape = [
        conv.out_channels,
        conv.kernel,
        conv.kernel,
        conv.in_channels,
    ];
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
        }),
    };
    Ok(Conv {
        weight,
        in_channels: conv.in_channels,
        out_channels: conv.out_channels,
        kernel: conv.kernel,
        stride: conv.stride,
        padding: conv.padding,
        residual: conv.residual,
        relu: conv.relu,
        then,
    })
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

/// What is wrong with a piece of JSON.
fn json_error(what: &str, error: &serde_json::Error) -> Error {
    Error::file(format_args!("{what}: {error}"))
}
