//! The three formats: what is in the files, and what other programs compute with them.

mod c_source;
mod foreign;
mod forms;
mod integers;
mod networks;
mod onnx_file;
mod programs;
