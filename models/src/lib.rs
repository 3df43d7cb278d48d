//! Pixels and strings in, numbers out.

mod batch;
pub mod card;
pub mod clip;
pub mod decode;
pub mod encode;
pub mod engine;
pub mod head;
pub mod onnx;
pub mod phash;
pub mod preprocess;
pub mod resample;
pub mod runtime;
pub mod session;
pub mod tiny;
pub mod tokenize;
