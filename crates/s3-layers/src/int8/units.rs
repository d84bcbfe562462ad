//! Which values share a unit, and what it is.
//!
//! What passes numbers on gives its results the unit of what it reads. A concatenation has one
//! unit, so all that it reads shares it: it is found from what all of these layers were seen to
//! make. Then nothing is rounded a second time, and each reader corrects its bias for one zero
//! point.

use super::histogram::{Calibration, Histogram, Stored, Unit};
use s3_kernels::model::{Act, Frozen, Graph, Op};

/// The units of a network's values.
pub(super) struct Units<'a> {
    graph: &'a Graph<Frozen>,
    observed: &'a [Histogram],
    calibration: Calibration,
    power_of_two: bool,
    /// What names the values that share a unit, for every value.
    classes: Vec<usize>,
}

impl<'a> Units<'a> {
    pub(super) fn new(
        graph: &'a Graph<Frozen>,
        observed: &'a [Histogram],
        calibration: Calibration,
        power_of_two: bool,
    ) -> Self {
        Units {
            graph,
            observed,
            calibration,
            power_of_two,
            classes: classes(graph),
        }
    }

    /// The unit of the image as layers read it: a symmetric i8.
    pub(super) fn image(&self) -> Unit {
        self.of(&self.observed[0], Stored::Signed)
    }

    /// The unit of `value`, which is the image or what a layer has made, as u8.
    pub(super) fn made(&self, value: usize) -> Unit {
        let class = self.classes[value];
        let all = (0..self.classes.len()).filter(|&other| self.classes[other] == class);
        let act = |value: usize| match value.checked_sub(1) {
            None => Some(Act::None),
            Some(node) => match &self.graph.nodes[node].op {
                Op::Layer(layer) => Some(layer.act),
                _ => None,
            },
        };
        let mut stored = Stored::Positive;
        let mut seen = Histogram::new();
        for (value, act) in all.filter_map(|value| Some((value, act(value)?))) {
            seen.merge(&self.observed[value]);
            if act == Act::None {
                stored = Stored::Shifted;
            }
        }
        self.of(&seen, stored)
    }

    /// Whether `value` has the unit of what is concatenated.
    pub(super) fn is_shared(&self, value: usize) -> bool {
        is_concatenated(self.graph, &self.classes, value)
    }

    /// The largest number of `value`, or 0.
    pub(super) fn high(&self, value: usize) -> f64 {
        self.observed[value].high()
    }

    /// Rounded as the file holds it.
    fn of(&self, seen: &Histogram, stored: Stored) -> Unit {
        let unit = seen.unit(stored, self.calibration, self.power_of_two);
        Unit {
            scale: f64::from(unit.scale as f32),
            ..unit
        }
    }
}

fn classes(graph: &Graph<Frozen>) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..=graph.nodes.len()).collect();
    let join = |classes: &mut Vec<usize>, a: usize, b: usize| {
        let (kept, gone) = (classes[a], classes[b]);
        let all = classes.iter_mut().filter(|class| **class == gone);
        all.for_each(|class| *class = kept);
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        if !matches!(node.op, Op::Layer(_) | Op::MeanPool { .. }) {
            let inputs = node.inputs.iter();
            inputs.for_each(|&value| join(&mut classes, value, index + 1));
        }
    }
    // A mean has a unit of its own, unless it is concatenated.
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let is_mean = matches!(node.op, Op::MeanPool { .. });
        if is_mean && is_concatenated(graph, &classes, index + 1) {
            join(&mut classes, node.input(), index + 1);
        }
    }
    classes
}

fn is_concatenated(graph: &Graph<Frozen>, classes: &[usize], value: usize) -> bool {
    let mut nodes = graph.nodes.iter().enumerate();
    nodes.any(|(index, node)| matches!(node.op, Op::Concat) && classes[index + 1] == classes[value])
}
