//! He et al., "Deep Residual Learning for Image Recognition", 2015: the networks of depth 6n + 2
//! for small images, and those of ImageNet. Names are torch's (`layer2.0.downsample.0`, `fc`).

use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{Graph, Layer, Op, Size, Window};

/// The settings of a ResNet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNet {
    /// The shortcut between stages; by default A for the small networks, B for the large ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<Shortcut>,
    /// Channels of the first stage, which every later stage doubles; by default 16 for the small
    /// networks and 64 for the large ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
}

/// The shortcut between two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shortcut {
    /// Option A: every second pixel, zero channels added; no parameters.
    A,
    /// Option B: a 1x1 convolution (quantized like the others) and a batch norm.
    B,
}

/// A network's name, the blocks of each of its stages, and whether a block is a bottleneck of three
/// convolutions. Four stages are a network for large images, which go through a 7x7 convolution and
/// a max pool.
pub(super) type Form = (&'static str, &'static [usize], bool);

const FORMS: &[Form] = &[
    ("resnet8", &[1; 3], false),
    ("resnet14", &[2; 3], false),
    ("resnet20", &[3; 3], false),
    ("resnet32", &[5; 3], false),
    ("resnet44", &[7; 3], false),
    ("resnet56", &[9; 3], false),
    ("resnet110", &[18; 3], false),
    ("resnet18", &[2, 2, 2, 2], false),
    ("resnet34", &[3, 4, 6, 3], false),
    ("resnet50", &[3, 4, 6, 3], true),
    ("resnet101", &[3, 4, 23, 3], true),
    ("resnet152", &[3, 8, 36, 3], true),
];

const NAMES: [&str; FORMS.len()] = names(FORMS);

/// The names of `N` forms.
pub(super) const fn names<const N: usize>(forms: &[Form]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut i = 0;
    while i < N {
        names[i] = forms[i].0;
        i += 1;
    }
    names
}

/// The form of network `name`.
pub(super) fn find(forms: &[Form], name: &str) -> Result<Form, String> {
    let found = forms.iter().find(|form| form.0 == name).copied();
    let unknown = || Error::Unknown {
        name: name.to_owned(),
        expected: forms.iter().map(|form| form.0).collect(),
    };
    found.ok_or_else(|| format!("{}", unknown()))
}

/// The shortcut of network `name`: `default` where none is given.
pub(super) fn option(
    name: &str,
    given: Option<Shortcut>,
    default: Shortcut,
    bottleneck: bool,
) -> Result<Shortcut, String> {
    match given.unwrap_or(default) {
        // The first block widens without a stride, which option A does not define.
        Shortcut::A if bottleneck => Err(format!("shortcut: {name} has no option A: use B")),
        shortcut => Ok(shortcut),
    }
}

/// Channels of the first stage where none are given.
pub(super) fn width(stages: &[usize]) -> usize {
    if stages.len() == 4 { 64 } else { 16 }
}

/// The first convolution, with what `followed` puts behind it, and the pool of networks for large
/// images.
pub(super) fn start(
    graph: &mut Graph<Plan>,
    stages: &[usize],
    width: usize,
    followed: impl Fn(Layer<Plan>) -> Layer<Plan>,
) -> usize {
    let is_large = stages.len() == 4;
    let (kernel, stride) = if is_large { (7, 2) } else { (3, 1) };
    let stem = Layer::conv(width, kernel).stride(stride).role(Role::First);
    let x = graph.layer("conv1", 0, followed(stem));
    match is_large {
        true => graph.push("maxpool", &[x], Op::MaxPool(Window::square(3, 2, 1))),
        false => x,
    }
}

/// The path of each block, the channels inside of it and its stride.
pub(super) fn blocks(
    stages: &[usize],
    width: usize,
) -> impl Iterator<Item = (String, usize, usize)> {
    stages.iter().enumerate().flat_map(move |(stage, &blocks)| {
        (0..blocks).map(move |block| {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let at = format!("layer{}.{block}", stage + 1);
            (at, width.saturating_mul(1 << stage), stride)
        })
    })
}

/// The convolutions of a block: channels, kernel and stride.
pub(super) fn convs(bottleneck: bool, inner: usize, stride: usize) -> Vec<(usize, usize, usize)> {
    match bottleneck {
        true => vec![
            (inner, 1, 1),
            (inner, 3, stride),
            (inner.saturating_mul(4), 1, 1),
        ],
        false => vec![(inner, 3, stride), (inner, 3, 1)],
    }
}

/// Option A between stages: pixels left out and zero channels.
pub(super) fn subsampled(
    graph: &mut Graph<Plan>,
    at: &str,
    input: usize,
    stride: usize,
    channels: usize,
) -> usize {
    let op = Op::Subsample { stride, channels };
    graph.push(format!("{at}.downsample"), &[input], op)
}

impl Architecture for ResNet {
    const NAMES: &'static [&'static str] = &NAMES;
    const SUMMARY: &'static str = "residual networks of He et al., 2015";
    const EXAMPLES: &'static [Example] = &[
        Example::new("resnet8", r#"{ "width": 4 }"#),
        Example::new("resnet8", r#"{ "width": 4, "shortcut": "B" }"#),
        Example {
            side: 32,
            ..Example::new("resnet18", r#"{ "width": 8 }"#)
        },
    ];

    fn resolved(self, name: &str) -> Result<Self, String> {
        let (_, stages, bottleneck) = find(FORMS, name)?;
        let default = match stages.len() {
            4 => Shortcut::B,
            _ => Shortcut::A,
        };
        let shortcut = Some(option(name, self.shortcut, default, bottleneck)?);
        if self.width == Some(0) {
            return Err("width: expected a number > 0, got 0".to_owned());
        }
        Ok(Self { shortcut, ..self })
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let settings = self.clone().resolved(name)?;
        let (_, stages, bottleneck) = find(FORMS, name)?;
        let width = settings.width.unwrap_or(width(stages));
        let mut graph = Graph::new(image);
        let norm = |stem: Layer<Plan>| stem.norm("bn1").relu();
        let (mut x, mut channels) = (start(&mut graph, stages, width, norm), width);
        for (at, inner, stride) in blocks(stages, width) {
            let convs = convs(bottleneck, inner, stride);
            let made = convs[convs.len() - 1].0;
            let shortcut = match settings.shortcut {
                _ if made == channels && stride == 1 => x,
                Some(Shortcut::B) => {
                    let project = Layer::conv(made, 1).stride(stride).role(Role::Shortcut);
                    let project = project.norm(format!("{at}.downsample.1"));
                    graph.layer(format!("{at}.downsample.0"), x, project)
                }
                _ => subsampled(&mut graph, &at, x, stride, made),
            };
            for (i, &(made, kernel, stride)) in convs.iter().enumerate() {
                let conv = Layer::conv(made, kernel).stride(stride);
                let conv = conv.norm(format!("{at}.bn{}", i + 1)).relu();
                let is_last = i + 1 == convs.len();
                let conv = if is_last { conv.adding(shortcut) } else { conv };
                x = graph.layer(format!("{at}.conv{}", i + 1), x, conv);
            }
            channels = made;
        }
        graph.mean_and_classifier("fc", x, classes);
        graph.classifying(classes)
    }
}
