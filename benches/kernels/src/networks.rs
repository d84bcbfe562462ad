//! `bench infer`: whole networks of random weights. Times do not depend on the weights, so nothing is
//! trained.

use anyhow::{Context, Result, bail};
use s3_kernel_benches::{Case, Program, Random};
use s3_kernels::model::{
    Activations, Conv, DenseMatrix, Input, MAX_TERMS, Model, Network, Node, Op, Requant, Then,
    Weight, terms,
};
use s3_kernels::{BitWidth, PackedMatrix};
use serde_json::json;

/// The network of the case, with f32, u8 and u8-shift activations.
pub(crate) fn programs(case: &Case, width: BitWidth) -> Result<Vec<Program>> {
    let name = case.fields["model"]
        .as_str()
        .context("a case has a model")?;
    let batch = case.field("batch")?;
    let kinds = [
        ("f32", Activations::F32),
        ("u8", Activations::U8),
        ("u8-shift", Activations::U8Shift),
    ];
    let program = |(word, activations)| {
        let model = Model::new(Maker::network(name, activations, width)?)?;
        let input = &model.network().input;
        let x = Random(1).floats(batch * input.height * input.width * input.channels);
        let call = move || {
            let scores = model.run(&x, batch).expect("the input fits");
            std::hint::black_box(scores);
        };
        Ok(Program {
            about: json!({ "activations": word, "dtype": word }),
            call: Box::new(call),
        })
    };
    kinds.into_iter().map(program).collect()
}

/// A network while it is built: convolutions that read the value made last, and shortcuts.
struct Maker {
    random: Random,
    activations: Activations,
    width: BitWidth,
    nodes: Vec<Node>,
    channels: usize,
}

impl Maker {
    fn network(name: &str, activations: Activations, width: BitWidth) -> Result<Network> {
        let mut maker = Maker {
            random: Random(7),
            activations,
            width,
            nodes: Vec::new(),
            channels: 3,
        };
        let (side, classes) = match name {
            "resnet18" => {
                maker.conv("conv1", 64, 7, 2, None, true);
                let pool = Op::MaxPool {
                    kernel: 3,
                    stride: 2,
                    padding: 1,
                };
                maker.push("maxpool", pool);
                for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
                    for block in 0..2 {
                        maker.block(&format!("layer{}.{block}", stage + 1), channels, true);
                    }
                }
                (224, 1000)
            }
            "resnet20" => {
                maker.conv("conv1", 16, 3, 1, None, true);
                for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
                    for block in 0..3 {
                        maker.block(&format!("layer{}.{block}", stage + 1), channels, false);
                    }
                }
                (32, 10)
            }
            other => bail!("no network `{other}`, expected resnet18 or resnet20"),
        };
        maker.push("avgpool", Op::MeanPool { shift: 0 });
        maker.conv("fc", classes, 1, 1, None, false);
        if let Some(Op::Conv(conv)) = maker.nodes.last_mut().map(|node| &mut node.op) {
            let (scale, bias) = (vec![0.01; classes], vec![0.0; classes]);
            conv.then = Then::Scale { scale, bias };
        }
        let f32 = activations == Activations::F32;
        Ok(Network {
            name: name.into(),
            input: Input {
                height: side,
                width: side,
                channels: 3,
                mean: vec![0.5; 3],
                std: vec![0.25; 3],
                scale: if f32 { 1.0 } else { 1.0 / 127.0 },
            },
            classes: (0..classes).map(|class| class.to_string()).collect(),
            activations,
            nodes: maker.nodes,
        })
    }

    /// Two convolutions and their shortcut: by a convolution where `projected`, else by every second
    /// pixel and channels of zeros.
    fn block(&mut self, name: &str, channels: usize, projected: bool) {
        let (from, before) = (self.nodes.len(), self.channels);
        let stride = if channels == before { 1 } else { 2 };
        self.conv(&format!("{name}.conv1"), channels, 3, stride, None, true);
        let main = self.nodes.len();
        let shortcut = if stride == 1 {
            from
        } else {
            let name = format!("{name}.shortcut");
            if projected {
                self.channels = before;
                self.conv(&name, channels, 1, stride, None, false);
            } else {
                self.push(&name, Op::SubsampleAndPad { stride, channels });
            }
            if let Some(node) = self.nodes.last_mut() {
                node.input = from;
            }
            self.nodes.len()
        };
        self.conv(
            &format!("{name}.conv2"),
            channels,
            3,
            1,
            Some(shortcut),
            true,
        );
        if let Some(node) = self.nodes.last_mut() {
            node.input = main;
        }
    }

    fn push(&mut self, name: &str, op: Op) {
        let (name, input) = (name.to_owned(), self.nodes.len());
        self.nodes.push(Node { name, input, op });
    }

    fn conv(
        &mut self,
        name: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
        residual: Option<usize>,
        relu: bool,
    ) {
        let columns = kernel * kernel * self.channels;
        let len = columns * channels;
        let inner = self.channels != 3 && name != "fc";
        let weight = if inner {
            let levels = self.random.levels(self.width.levels(), len);
            let w = PackedMatrix::from_levels(&levels, channels, columns, self.width);
            Weight::Packed(w.expect("the levels are of the alphabet"))
        } else if self.activations == Activations::F32 {
            Weight::F32(self.random.floats(len))
        } else {
            let level = |byte| (i16::from(byte % 129) - 64) as i8;
            let levels = self.random.bytes(len).into_iter().map(level).collect();
            let w = DenseMatrix::from_levels(levels, channels, columns);
            Weight::Dense(w.expect("the levels are at most 64"))
        };
        // Sums of this size become a sixth of a byte's range.
        let level = if inner { 2.0 } else { 37.0 };
        let sum = (columns as f32).sqrt() * level * 50.0;
        let then = if self.activations == Activations::F32 {
            let (scale, bias) = (vec![50.0 / sum; channels], vec![0.1; channels]);
            Then::Scale { scale, bias }
        } else {
            let shift = if self.activations == Activations::U8 {
                20
            } else {
                10
            };
            let wanted = 256.0 * 40.0 / sum * (1u32 << shift) as f32;
            let mut factor = wanted as i32;
            while self.activations == Activations::U8Shift
                && terms(factor).count() > MAX_TERMS as usize
            {
                factor &= factor - 1;
            }
            Then::Requant(Requant {
                bias: vec![100; channels],
                factor: vec![factor; channels],
                shift: vec![shift; channels],
                residual_factor: if residual.is_some() { 180 } else { 0 },
                offset: 0,
                zero_point: 0,
            })
        };
        let conv = Conv {
            weight,
            in_channels: self.channels,
            out_channels: channels,
            kernel,
            stride,
            padding: kernel / 2,
            residual,
            relu,
            then,
        };
        self.push(name, Op::Conv(conv));
        self.channels = channels;
    }
}
