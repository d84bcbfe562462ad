//! Bytes are promises: what each ResNet trains to, freezes to and is exported as, to the last bit.
//!
//! The hashes hold on every CPU: kernels run their scalar code, and candle's product in the
//! classifier multiplies by powers of two alone, which a fused multiply-add rounds no differently.
//! That is why every classifier is quantized without a scale and the loss is linear with powers of
//! two.

use candle_core::{DType, Device, Result, Tensor, Var};
use s3_core::s3::{S3, Start};
use s3_core::{
    Codes, Init, LayerSpec, Method, ParamKind, Params, Progress, Quantizer, Role, WeightForm, ste,
};
use s3_layers::export::{self, OnnxWeights};
use s3_layers::int8::{Calibration, Observed, quantize};
use s3_layers::model::{Activations, Input, Model, Network, Numbers, Size};
use s3_layers::zoo::{Architecture, ResNet, Shortcut};
use s3_layers::{Mode, Net};
use std::fmt::Write;
use std::process::Command;

const CLASSES: usize = 4;
const IMAGES: usize = 4;
const STEPS: u64 = 3;

/// S3 of 3 bits; the first layer in full precision; hidden layers of `wide` networks are powers of
/// two so far apart that they freeze to several planes.
struct Mixed {
    wide: bool,
}

impl Method for Mixed {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (shape, kind) = (layer.shape.as_slice(), ParamKind::Latent);
        let is_float = layer.role == Role::First;
        let is_wide = self.wide && layer.role == Role::Hidden;
        if !is_float && !is_wide {
            let s3 = S3 {
                init: Start::Authors,
                ..S3::new(3)
            };
            return s3.quantizer(layer, params);
        }
        let latent = params.get("", shape, Init::weight(shape), kind)?;
        Ok(Box::new(Plain { latent, is_float }))
    }
}

/// A latent that is the weight, or is rounded down to a power of two, 2^-12 at least.
struct Plain {
    latent: Var,
    is_float: bool,
}

impl Plain {
    fn powers(&self) -> Result<Tensor> {
        let power = |v: f32| {
            let floor = f32::from_bits(v.to_bits() & 0xff80_0000);
            if v.abs() < 1.0 / 4096.0 { 0.0 } else { floor }
        };
        let latent = self.latent.as_detached_tensor();
        let values = latent.flatten_all()?.to_vec1::<f32>()?;
        let values = values.into_iter().map(power).collect();
        Tensor::from_vec(values, latent.shape(), latent.device())
    }
}

impl Quantizer for Plain {
    fn weight(&self) -> Result<Tensor> {
        match self.is_float {
            true => Ok(self.latent.as_tensor().clone()),
            false => ste::identity(&self.powers()?, self.latent.as_tensor()),
        }
    }
    fn codes(&self) -> Result<Option<Codes>> {
        match self.is_float {
            true => Ok(None),
            false => Codes::from_powers(&self.powers()?).map(Some),
        }
    }
    fn form(&self) -> WeightForm {
        match self.is_float {
            true => WeightForm::Float,
            false => WeightForm::discrete(5, s3_core::KernelOp::ShiftSignFlip),
        }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Names and values of all parameters and buffers.
fn parameters(params: &Params) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, param) in params.all() {
        bytes.extend(format!("{name} {:?}\n", param.var.dims()).into_bytes());
        let values = param.var.flatten_all()?.to_vec1::<f32>()?;
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    Ok(bytes)
}

/// An ONNX file without the version of the crate that wrote it.
fn unversioned(file: &[u8]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let at = file.windows(version.len()).position(|w| w == version);
    let at = at.expect("the producer's version");
    [&file[..at], &file[at + version.len()..]].concat()
}

struct Case {
    name: &'static str,
    network: &'static str,
    settings: ResNet,
    size: usize,
    dtype: DType,
    method: Mixed,
}

fn cases() -> Vec<Case> {
    let case = |name, network, shortcut, width, size, dtype| Case {
        name,
        network,
        settings: ResNet {
            shortcut: Some(shortcut),
            width: Some(width),
        },
        size,
        dtype,
        method: Mixed {
            wide: name == "resnet8 A wide",
        },
    };
    use Shortcut::{A, B};
    let of = |dtype| {
        [
            case("resnet8 A", "resnet8", A, 6, 9, dtype),
            case("resnet8 A wide", "resnet8", A, 4, 8, dtype),
            case("resnet8 B", "resnet8", B, 6, 9, dtype),
            case("resnet20 A", "resnet20", A, 5, 8, dtype),
            case("resnet20 B", "resnet20", B, 4, 8, dtype),
            case("resnet18 B", "resnet18", B, 4, 35, dtype),
            case("resnet18 A", "resnet18", A, 4, 32, dtype),
            case("resnet50 B", "resnet50", B, 3, 33, dtype),
        ]
    };
    of(DType::F32).into_iter().chain(of(DType::BF16)).collect()
}

impl Case {
    fn images(&self) -> Vec<f32> {
        let pixels = IMAGES * self.size * self.size * 3;
        let pixel = |i: usize| ((i * 7919 % 1009) as f32) / 504.0 - 1.0;
        (0..pixels).map(pixel).collect()
    }

    /// A line a file: network, type of the activations in training, what is hashed, the hash.
    fn lines(&self) -> Result<String> {
        let (params, size) = (Params::new(3, &Device::Cpu), self.size);
        let image = Size {
            height: size,
            width: size,
            channels: 3,
        };
        let plan = self.settings.graph(self.network, image, CLASSES);
        let plan = plan.expect("a network that fits");
        let mut net = Net::new(&plan, self.dtype, &self.method, &params)?;
        let images = Tensor::from_vec(self.images(), (IMAGES, size, size, 3), &Device::Cpu)?;
        let powers = |i: usize| [0.5f32, -0.25, 1.0, -1.0, 0.125][i % 5];
        let slope = (0..IMAGES * CLASSES).map(powers).collect();
        let slope = Tensor::from_vec(slope, (IMAGES, CLASSES), &Device::Cpu)?;
        for step in 0..STEPS {
            net.advance(Progress {
                step,
                steps: STEPS,
                epoch: 0,
                epochs: 1,
                seed: 3,
            })?;
            let loss = net.forward(&images, Mode::Train)?.mul(&slope)?.sum_all()?;
            let gradients = loss.backward()?;
            for (name, param) in params.trainable() {
                let gradient = gradients.get(&param.var);
                let step = (gradient.expect(&name) * 0.03125)?;
                param.var.set(&(param.var.as_detached_tensor() - step)?)?;
            }
        }
        let mut lines = String::new();
        let mut put = |what: &str, bytes: &[u8]| {
            let (name, dtype) = (self.name, self.dtype.as_str());
            let _ = writeln!(lines, "{name} {dtype} {what} {:016x}", hash(bytes));
        };
        put("trained", &parameters(&params)?);
        let input = Input {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
            scale: 1.0,
            numbers: Numbers::Bytes,
            fit: None,
        };
        let classes = (0..CLASSES).map(|c| c.to_string()).collect();
        let frozen = net.freeze(self.name, input, classes)?;
        put("packed", &frozen.to_bytes());
        let onnx = export::onnx(&frozen, OnnxWeights::Int8).expect("an ONNX file");
        put("onnx", &unversioned(&onnx));
        let qonnx = export::qonnx(&frozen).expect("a QONNX file");
        put("qonnx", &unversioned(&qonnx));
        for (word, activations) in [("u8", Activations::U8), ("u8-shift", Activations::U8Shift)] {
            let integer = self.integer(&frozen, activations)?;
            put(word, &integer.to_bytes());
            let c = export::c(&integer, "net").expect("a C file");
            put(&format!("{word} c"), (c.header + &c.source).as_bytes());
        }
        Ok(lines)
    }

    fn integer(&self, frozen: &Network, activations: Activations) -> Result<Network> {
        let model = Model::new(frozen.clone()).expect("a network that runs");
        let mut observed = Observed::new(frozen);
        observed.run(&model, &self.images(), IMAGES)?;
        quantize(frozen, &observed, activations, Calibration::MinMax)
    }
}

/// Kernels choose their instructions once a process, so a process of its own takes the scalar ones.
#[test]
fn the_bytes_of_every_resnet_are_the_golden_ones() -> Result<()> {
    const NAME: &str = "the_bytes_of_every_resnet_are_the_golden_ones";
    if std::env::var("S3_KERNELS_ISA").as_deref() != Ok("scalar") {
        for threads in ["1", "3"] {
            let program = std::env::current_exe().expect("this program's path");
            let output = Command::new(program)
                .args(["--exact", NAME, "--nocapture"])
                .env("S3_KERNELS_ISA", "scalar")
                .env("RAYON_NUM_THREADS", threads)
                .output()
                .expect("this program again");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{threads} threads: {said}");
        }
        return Ok(());
    }
    let mut lines = String::new();
    for case in cases() {
        lines += &case.lines()?;
    }
    let golden = include_str!("golden/networks.txt");
    let differ = lines.lines().zip(golden.lines()).find(|(a, b)| a != b);
    assert!(
        lines == golden,
        "first difference {differ:?}; all lines now:\n{lines}"
    );
    Ok(())
}
