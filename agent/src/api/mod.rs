//! gRPC: wire to types, types to the engine, answers back. Nothing is decided here.

mod agent;
mod guest;
mod host;
mod serve;

pub use serve::{ServeError, serve};
