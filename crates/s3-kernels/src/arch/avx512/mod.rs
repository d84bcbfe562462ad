//! AVX-512.
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod float_panel;
pub(crate) mod float_table;
pub(crate) mod tile;
pub(crate) mod unpack;
