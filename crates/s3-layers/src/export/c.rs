//! C for processors without a multiplier: a header and one file, C99 and C++11, no heap.
//!
//! A sum is taken digit by digit. Each weight is a sum of signed powers of two, a packed one has
//! one digit; for each output channel the places of the digits in a window are listed once, by
//! their shift, and then, for every window,
//!
//! ```text
//! sum = 0
//! for each shift, the largest first:
//!     sum = sum + sum
//!     for each place with this digit: sum = sum + x[place] or sum - x[place]
//! ```
//!
//! so that a zero costs nothing and a packed weight one addition. A word of 32 bits has two such
//! sums (`lanes.rs`): `x` is a copy of some rows of the image in which a word holds two numbers,
//! and four words, eight results, are summed with one look at the list. A layer of one pixel would
//! use its lists once; it reads tables of what two weights can make of two inputs (`pixel.c`).
//!
//! No variable is ever multiplied: a product with a factor is four look-ups in a table of its
//! multiples (`narrow.rs`), addresses are running sums, and the mean is divided by subtractions.
//! With the macro S3_MULTIPLIER there are products, of factors (1), of weights as well (2), and of
//! pairs of weights (3, `pairs.c`), and the same results. The values between the layers share one
//! array with the lanes, laid out when the file is written (`plan.rs`).
//!
//! Functions are in the file where the network calls them. Lines of `parts` that begin with a mark,
//! `@wide@`, are there where it needs them: sums of 64 bits cost the others nothing.

mod lanes;
mod layers;
mod narrow;
mod nodes;
mod plan;
mod text;
mod windows;
mod writer;

use std::collections::BTreeSet;

use s3_kernels::model::{Activations, Network, Op};

use self::nodes::beside;
use self::plan::Plan;
use self::text::{is_identifier, is_of_the_system};
use self::writer::Writer;
use super::error::Error;

/// The two files of a network in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSource {
    /// `<name>.h`.
    pub header: String,
    /// `<name>.c`, which includes the header.
    pub source: String,
}

/// `network`, which has 8-bit activations, as `name.h` and `name.c`.
///
/// `void name_run(image, sums)` takes the 8-bit image, `[height][width][channels]`, and gives the
/// sums of the last layer, the runtime's integers for every image; `name_best(sums)` the class of
/// the largest score, one of them where the last layer's activation makes several the largest;
/// `name_quantize(pixels, image)` the 8-bit image of pixels of 0 to 255, by a table. With the macro
/// `NAME_FLOAT` there is `name_scores(sums, scores)`, the only function that uses floats; of a
/// network whose images are [floats](s3_kernels::model::Numbers::Floats)
/// `name_quantize(numbers, image)`, which takes them, is there as well and not without.
///
/// Memory is static, so that one call runs at a time. Compilers must shift negative numbers with
/// their sign, which the file checks.
///
/// ```
/// use s3_kernels::model::{
///     Activations, DenseMatrix, Frozen, Graph, Input, Layer, Network, Numbers, Op, Size, Then,
///     Weight,
/// };
/// use s3_layers::export;
///
/// let weight = Weight::Dense(DenseMatrix::from_levels(vec![3, -64], 1, 2)?);
/// let then = Then::Scale { scale: vec![0.5], bias: vec![0.0] };
/// let mut graph = Graph::new(Size { height: 1, width: 1, channels: 2 });
/// graph.push("fc", &[0], Op::Layer(Layer::new(1, [1, 1], Frozen { weight, then })));
/// let network = Network {
///     name: "linear".into(),
///     input: Input {
///         mean: vec![0.0; 2],
///         std: vec![1.0; 2],
///         scale: 0.02,
///         numbers: Numbers::Bytes,
///         fit: None,
///     },
///     classes: vec!["cat".into()],
///     activations: Activations::U8,
///     graph,
/// };
/// let files = export::c(&network, "net")?;
/// assert!(files.header.contains("void net_run(const int8_t *image, int32_t *sums);"));
/// assert!(files.source.starts_with("/* linear */\n#include \"net.h\"\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Network`] for f32 activations, a name that is no lower-case identifier of C, or a
/// network that does not fit together; [`Error::Node`] where a layer's numbers leave 32-bit sums or
/// 64-bit products.
pub fn c(network: &Network, name: &str) -> Result<CSource, Error> {
    if network.activations == Activations::F32 {
        return Err(Error::network(
            "C is written of networks with 8-bit activations, this one has f32 activations: choose \
             u8 or u8-shift activations when the run is exported",
        ));
    }
    if !is_identifier(name) {
        return Err(Error::network(format_args!(
            "name `{name}`: expected a lower-case letter, then lower-case letters, digits and _"
        )));
    }
    if is_of_the_system(name) {
        return Err(Error::network(format_args!(
            "name `{name}`: the headers of C have that name or its macro {}_WIDTH, expected \
             another",
            name.to_uppercase()
        )));
    }
    let sizes = network.sizes().map_err(Error::Invalid)?;
    let nodes = network.graph.nodes.iter().enumerate();
    let beside = nodes.map(|(index, node)| beside(node, sizes[node.input()], sizes[index + 1]));
    let beside: Vec<usize> = beside.collect::<Result<_, _>>()?;
    let mut writer = Writer {
        network,
        plan: Plan::new(&network.graph, &sizes, &beside),
        sizes: &sizes,
        zeros: network.zero_points().map_err(Error::Invalid)?,
        called: BTreeSet::new(),
        tables: String::new(),
        steps: String::new(),
        is_narrow: false,
        is_wide: false,
        is_one: false,
        is_paired: false,
        paired_bits: BTreeSet::new(),
        most_row: 1,
        most_unpaired: 1,
        most_taps: 1,
        most_columns: 1,
        most_channels: 1,
        last_place: 0,
    };
    for (index, node) in network.graph.nodes.iter().enumerate() {
        if let Op::Layer(layer) = &node.op {
            writer.sees(index, node, layer);
        }
    }
    for (index, node) in network.graph.nodes.iter().enumerate() {
        writer.node(index, node)?;
    }
    Ok(CSource {
        header: text::header(network, name),
        source: writer.source(name)?,
    })
}
