//! The command `s3` with a method, an architecture and a data set of one's own:
//!
//! ```text
//! cargo run --release -p s3-train --example own -- train stripes.toml
//! ```
//!
//! where `stripes.toml` has `data = { name = "stripes" }`, `method = { name = "signs" }` and
//! `model = { name = "ladder", steps = 2 }`. Runs resume, are reported, evaluated and exported as
//! those of `s3`.

use candle_core::{Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer, Scale,
    WeightForm, ste,
};
use s3_layers::model::{Graph, Layer, Op, Size};
use s3_layers::zoo::{Architecture, Error, Example, Plan, Role};
use s3_train::app::App;
use s3_train::data::{DataConfig, DataError, DataSet, Dataset, Images, statistics};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    App::new()
        .method::<Signs>()
        .architecture::<Ladder>()
        .data::<Stripes>()
        .main()
}

/// A method: the sign of a weight, times one power of two a filter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signs {}

impl MethodConfig for Signs {
    const NAME: &'static str = "signs";
    const SUMMARY: &'static str = "signs times a power of two a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for Signs {
    fn quantizer(
        &self,
        layer: &LayerSpec,
        params: &Params,
    ) -> candle_core::Result<Box<dyn Quantizer>> {
        let (shape, init) = (layer.shape.as_slice(), Init::weight(&layer.shape));
        let w = params.get("", shape, init, ParamKind::Latent)?;
        Ok(Box::new(SignsOf(w)))
    }
}

/// The latent weight of a layer.
struct SignsOf(Var);

impl SignsOf {
    fn frozen(&self) -> candle_core::Result<Codes> {
        let w = self.0.flatten_all()?.to_vec1::<f32>()?;
        let filter = w.len() / self.0.dim(0)?;
        let scale = |w: &[f32]| {
            let mean = w.iter().map(|x| x.abs()).sum::<f32>() / w.len() as f32;
            mean.log2().round().exp2()
        };
        Ok(Codes {
            shape: self.0.dims().to_vec(),
            levels: w.iter().map(|&x| if x > 0.0 { 1 } else { -1 }).collect(),
            scale: Scale::Filter(w.chunks(filter).map(scale).collect()),
        })
    }
}

impl Quantizer for SignsOf {
    fn weight(&self) -> candle_core::Result<Tensor> {
        let values = self.frozen()?.decode();
        let q = Tensor::from_vec(values, self.0.shape(), self.0.device())?;
        ste::identity(&q, self.0.as_tensor())
    }

    fn start_from(&self, weight: &Tensor) -> candle_core::Result<()> {
        self.0.set(weight)
    }

    fn codes(&self) -> candle_core::Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::Discrete {
            bits: 1,
            op: KernelOp::SignFlip,
        }
    }
}

/// An architecture: convolutions, to every second of which the one before it is added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ladder {
    steps: usize,
}

impl Architecture for Ladder {
    const NAMES: &'static [&'static str] = &["ladder"];
    const SUMMARY: &'static str = "convolutions with a short way around every two";
    const EXAMPLES: &'static [Example] = &[Example::new("ladder", r#"{ "steps": 2 }"#)];

    fn resolved(self, _: &str) -> Result<Self, String> {
        match self.steps {
            1..=9 => Ok(self),
            steps => Err(format!("steps: expected 1 to 9, got {steps}")),
        }
    }

    fn graph(&self, _: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let mut graph = Graph::new(image);
        let stem = Layer::conv(8, 3).role(Role::First).norm("bn").relu();
        let mut x = graph.layer("conv", 0, stem);
        for step in 0..self.steps {
            let wide = Layer::conv(8, 3).norm(format!("{step}.bn1")).relu();
            let wide = graph.layer(format!("{step}.conv1"), x, wide);
            let rung = Layer::conv(8, 3).norm(format!("{step}.bn2")).adding(x);
            x = graph.layer(format!("{step}.conv2"), wide, rung.relu());
        }
        x = graph.push("mean", &[x], Op::MeanPool { shift: 0 });
        graph.layer("fc", x, Layer::linear(classes).role(Role::Last));
        graph.classifying(classes)
    }
}

/// A data set: stripes that lie or stand, at every offset and brightness.
struct Stripes;

/// Rows and columns of an image.
const SIDE: usize = 8;

impl DataSet for Stripes {
    const NAME: &'static str = "stripes";
    const IMAGE: Size = Size {
        height: SIDE,
        width: SIDE,
        channels: 1,
    };
    const CLASSES: usize = 2;

    fn load(_: &DataConfig, _: Option<&Path>) -> Result<[Dataset; 2], DataError> {
        let train = stripes("train", 0..256);
        // Of the training images, in the test split too.
        let (mean, std) = (train.mean.clone(), train.std.clone());
        let test = Dataset {
            mean,
            std,
            ..stripes("test", 256..320)
        };
        Ok([train, test])
    }
}

fn stripes(split: &str, numbers: std::ops::Range<usize>) -> Dataset {
    let pixel = |number: usize, at: usize| {
        let (row, column) = (at / SIDE, at % SIDE);
        let along = if number.is_multiple_of(2) {
            row
        } else {
            column
        };
        let light = 60 + number * 7 % 150;
        match (along + number / 2) % 4 {
            0 | 1 => light as u8,
            _ => (light / 4) as u8,
        }
    };
    let image = |number: usize| (0..SIDE * SIDE).map(move |at| pixel(number, at));
    let images = Images::Bytes(numbers.clone().flat_map(image).collect());
    let (mean, std) = statistics(&images, 1);
    Dataset {
        name: format!("stripes/{split}"),
        height: SIDE,
        width: SIDE,
        channels: 1,
        images,
        labels: numbers.map(|number| (number % 2) as u16).collect(),
        class_names: ["lying", "standing"].map(String::from).to_vec(),
        mean,
        std,
    }
}
