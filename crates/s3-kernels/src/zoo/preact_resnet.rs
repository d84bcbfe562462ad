//! He et al., "Identity Mappings in Deep Residual Networks", 2016: ResNets whose batch norms and
//! ReLUs stand before the convolutions, and whose shortcuts are never activated.
//!
//! A projection of a shortcut reads what the block's first batch norm makes, and has no batch norm
//! itself.

use std::borrow::ToOwned;
use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use super::resnet::{Form, Shortcut, blocks, convs, find, names, option, start, subsampled, width};
use crate::model::{Act, Graph, Layer, Op, Size};

/// The settings of a pre-activation ResNet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreActResNet {
    /// The shortcut between stages; by default A for the networks of three stages without
    /// bottlenecks, else B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<Shortcut>,
    /// Channels of the first stage, which every later stage doubles; by default 16 for the small
    /// networks and 64 for the large ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
}

const FORMS: &[Form] = &[
    ("preact_resnet20", &[3; 3], false),
    ("preact_resnet32", &[5; 3], false),
    ("preact_resnet44", &[7; 3], false),
    ("preact_resnet56", &[9; 3], false),
    ("preact_resnet110", &[18; 3], false),
    ("preact_resnet164", &[18; 3], true),
    ("preact_resnet18", &[2, 2, 2, 2], false),
    ("preact_resnet34", &[3, 4, 6, 3], false),
    ("preact_resnet50", &[3, 4, 6, 3], true),
];

const NAMES: [&str; FORMS.len()] = names(FORMS);

impl Architecture for PreActResNet {
    const NAMES: &'static [&'static str] = &NAMES;
    const SUMMARY: &'static str = "pre-activation residual networks of He et al., 2016";
    const EXAMPLES: &'static [Example] = &[
        Example::new("preact_resnet20", r#"{ "width": 4 }"#),
        Example {
            side: 32,
            ..Example::new("preact_resnet18", r#"{ "width": 4 }"#)
        },
    ];

    fn resolved(self, name: &str) -> Result<Self, String> {
        let (_, stages, bottleneck) = find(FORMS, name)?;
        if self.width == Some(0) {
            return Err("width: expected a number > 0, got 0".to_owned());
        }
        let default = match stages.len() == 4 || bottleneck {
            true => Shortcut::B,
            false => Shortcut::A,
        };
        let shortcut = Some(option(name, self.shortcut, default, bottleneck)?);
        Ok(Self { shortcut, ..self })
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let settings = self.clone().resolved(name)?;
        let (_, stages, bottleneck) = find(FORMS, name)?;
        let width = settings.width.unwrap_or(width(stages));
        let mut graph = Graph::new(image);
        let (mut x, mut channels) = (start(&mut graph, stages, width, |stem| stem), width);
        for (at, inner, stride) in blocks(stages, width) {
            let convs = convs(bottleneck, inner, stride);
            let made = convs[convs.len() - 1].0;
            let mut y = activated(&mut graph, &format!("{at}.bn1"), x);
            let shortcut = match settings.shortcut {
                _ if made == channels && stride == 1 => x,
                Some(Shortcut::B) => {
                    let project = Layer::conv(made, 1).stride(stride).role(Role::Shortcut);
                    graph.layer(format!("{at}.downsample"), y, project)
                }
                _ => subsampled(&mut graph, &at, x, stride, made),
            };
            for (i, &(made, kernel, stride)) in convs.iter().enumerate() {
                let conv = Layer::conv(made, kernel).stride(stride);
                // The batch norm of the next convolution stands behind this one.
                let conv = match i + 1 == convs.len() {
                    true => conv.adding(shortcut),
                    false => conv.norm(format!("{at}.bn{}", i + 2)).relu(),
                };
                y = graph.layer(format!("{at}.conv{}", i + 1), y, conv);
            }
            x = y;
            channels = made;
        }
        x = activated(&mut graph, "bn", x);
        graph.mean_and_classifier("fc", x, classes);
        graph.classifying(classes)
    }
}

/// A batch norm and a ReLU of their own.
fn activated(graph: &mut Graph<Plan>, name: &str, input: usize) -> usize {
    let holds = Layer::conv(1, 1).norm(name).holds;
    let act = Act::Relu;
    graph.push(name, &[input], Op::Norm { holds, act })
}
