//! Pipewright's contract: types that are valid by construction, the gRPC messages, the reasons of refusals, and a
//! client that takes and returns the types.

pub mod attachment;
pub mod client;

pub mod condition;
pub mod convert;
pub mod event;
pub mod host;
pub mod net;
pub mod operation;
pub mod reason;
pub mod request;
pub mod spec;

/// The messages and services of package `pipewright.v1`, generated from the `.proto` files beside this crate.
#[allow(clippy::all, missing_debug_implementations, unreachable_pub, unused_qualifications)]
pub mod wire {
    tonic::include_proto!("pipewright.v1");
    include!(concat!(env!("OUT_DIR"), "/pipewright.v1.serde.rs"));

    /// Every message and service of the package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
