//! Activation functions: what is done to each number of a result.

/// What is done to each number of a result. A NaN stays one.
///
/// Its gradient, told from the result `y`, is that of torch: none passes where `y` is at an end, at
/// 0 of a ReLU, at 0 or 6 of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "model",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Act {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}
