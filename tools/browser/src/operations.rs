//! What one image asks of a network, layer by layer.
//!
//! With `pixels` those of a layer's output,
//!
//! | weights | additions | shifts | multiplications |
//! | --- | --- | --- | --- |
//! | packed, 2 bits | active | 0 | 0 |
//! | packed, 3 or 4 bits | active | active | 0 |
//! | integers, floats | MACs | 0 | MACs |
//!
//! `MACs = weights pixels`, `active = weights that are not 0, times pixels`, as `s3 summary` counts
//! them: padding included, a shift by 0 counted. Behind the sum come, for each output: in 8 bits
//! one product with a factor, or the factor's shifts (at most 4) in a `u8-shift` network; in f32
//! and at the scores one product with a scale; one of these more where a shortcut is added. Pools
//! are not counted.
//!
//! This is what the network *asks for*. What a CPU does for it is the kernels' business: where it
//! multiplies eight numbers in one instruction, that is the fastest way to the same integers.

use s3_kernels::BitWidth;
use s3_kernels::model::{Activations, Network, Op, Requant, Size, Then, Weight, terms};

use crate::json;

/// Operations of one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// The layer's name.
    pub name: String,
    /// What its weights are: `3 bits`.
    pub weights: String,
    /// Weights that are not there because they are 0, times pixels.
    pub skipped: u64,
    /// Of integers, and of floats where activations are.
    pub additions: u64,
    /// By a number of places that is known before.
    pub shifts: u64,
    /// Products.
    pub multiplications: u64,
}

impl Operations {
    fn of(
        name: &str,
        layer: &s3_kernels::model::Layer<s3_kernels::model::Frozen>,
        out: Size,
        shift_network: bool,
    ) -> Operations {
        let pixels = (out.height * out.width) as u64;
        let outputs = pixels * out.channels as u64;
        let mut all = Operations {
            name: name.to_owned(),
            ..Operations::default()
        };
        match &layer.holds.weight {
            Weight::Packed(w) => {
                let levels = w.to_levels();
                let active = levels.iter().filter(|&&level| level != 0).count() as u64 * pixels;
                all.weights = format!("{} bits", w.bit_width().bits());
                all.additions = active;
                all.skipped = levels.len() as u64 * pixels - active;
                all.shifts = if w.bit_width() == BitWidth::B2 {
                    0
                } else {
                    active
                };
            }
            Weight::Dense(w) => {
                all.weights = "8 bits".to_owned();
                all.multiplications = (w.rows() * w.cols()) as u64 * pixels;
                all.additions = all.multiplications;
            }
            Weight::F32(w) => {
                all.weights = "32 bits".to_owned();
                all.multiplications = w.len() as u64 * pixels;
                all.additions = all.multiplications;
            }
        }
        // The bias, and the shortcut.
        all.additions += outputs * (1 + u64::from(layer.add.is_some()));
        match &layer.holds.then {
            Then::Requant(requant) if shift_network => all.by_shifts(requant, pixels),
            Then::Requant(_) => {
                all.multiplications += outputs * (1 + u64::from(layer.add.is_some()));
                // Behind the factor, and from fractions to a byte.
                all.shifts += 2 * outputs;
            }
            Then::Scale { .. } => all.multiplications += outputs,
        }
        all
    }

    /// The factors of `requant` as sums of shifts.
    fn by_shifts(&mut self, requant: &Requant, pixels: u64) {
        let residual = terms(requant.residual_factor).count() as u64;
        for &factor in &requant.factor {
            let count = terms(factor).count() as u64 + residual;
            self.shifts += pixels * (count + 2);
            self.additions += pixels * count.saturating_sub(1);
        }
    }
}

/// Those of each layer of a network whose value `i` has the size `sizes[i]`.
#[must_use]
pub fn count(network: &Network, sizes: &[Size]) -> Vec<Operations> {
    let by_shifts = network.activations == Activations::U8Shift;
    let nodes = network.graph.nodes.iter().zip(&sizes[1..]);
    let layers = nodes.filter_map(|(node, size)| match &node.op {
        Op::Layer(layer) => Some(Operations::of(&node.name, layer, *size, by_shifts)),
        _ => None,
    });
    layers.collect()
}

/// As JSON.
#[must_use]
pub fn to_json(layers: &[Operations]) -> String {
    json::array(layers.iter().map(|layer| {
        format!(
            r#"{{"name":{},"weights":{},"additions":{},"shifts":{},"multiplications":{},"skipped":{}}}"#,
            json::string(&layer.name),
            json::string(&layer.weights),
            layer.additions,
            layer.shifts,
            layer.multiplications,
            layer.skipped,
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    /// The network of the repository that is called `name`.
    fn network(name: &str) -> Network {
        let path = format!("{}/../../models/{name}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).expect("the network is in the repository");
        Network::from_bytes(&bytes).expect("it is one")
    }

    #[test]
    fn between_the_first_and_the_last_layer_a_shift_network_multiplies_nothing() {
        let network = network("mnist-resnet8-3bit-u8-shift.s3.safetensors");
        let layers = count(&network, &network.graph.sizes().expect("checked"));
        let [first, inner @ .., last] = &layers[..] else {
            panic!("layers")
        };
        // 3 x 3 weights of 16 channels on 28 x 28 pixels.
        assert_eq!(first.multiplications, 9 * 16 * 784);
        // As many products as weights, and ten scales.
        assert_eq!(last.multiplications, 640 + 10);
        for layer in inner {
            assert_eq!(
                (layer.multiplications, layer.weights.as_str()),
                (0, "3 bits")
            );
            assert!(layer.shifts > 0 && layer.additions > 0, "{layer:?}");
        }
    }

    #[test]
    fn ternary_weights_shift_nothing_but_behind_the_sums() {
        let network = network("mnist-resnet8-2bit-u8.s3.safetensors");
        let layers = count(&network, &network.graph.sizes().expect("checked"));
        // 16 channels on 28 x 28 pixels.
        let outputs = 16 * 784;
        let layer = &layers[1];
        assert_eq!(
            (layer.shifts, layer.multiplications),
            (2 * outputs, outputs)
        );
        assert_eq!(layer.additions - outputs + layer.skipped, 16 * 9 * outputs);
    }

    #[test]
    fn a_network_of_the_repository_answers_and_another_image_is_refused() {
        let mut session = Session::default();
        let network = network("mnist-resnet8-3bit-u8.s3.safetensors").to_bytes();
        let (number, _) = session.load(&network).expect("a network");
        let traced = session.trace(number, &[0; 784]).expect("an image");
        let scores = session.run(number, &[0; 784]).expect("an image");
        assert!(traced.starts_with(scores.trim_end_matches('}')), "{traced}");
        let refused = session.run(number, &[0; 3]).expect_err("too short");
        assert_eq!(
            refused,
            "image: expected 28x28x1 numbers in 784 bytes, got 3 bytes"
        );
        session.unload(number);
        let refused = session.run(number, &[0; 784]).expect_err("unloaded");
        assert_eq!(refused, "no network 0 is loaded");
    }
}
