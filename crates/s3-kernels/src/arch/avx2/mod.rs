//! AVX2.
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod float_panel;
pub(crate) mod tile;
pub(crate) mod unpack;
